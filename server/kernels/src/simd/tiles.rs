//! Matrix tiles: eight registers of up to 16 rows of 64 bytes, and products of two of them (Intel
//! AMX; Intel 64 Architectures Software Developer's Manual, volume 1, chapter 18).
//!
//! A product takes a left tile [rows][K] and a right one [K / n][16][n], n being the values in four
//! bytes, which is how weights, keys and values lie in memory, and adds to sums [rows][16]. Rows do
//! not depend on each other, so the same row has the same result in tiles of any height.
//!
//! All functions may be called only where [`Simd::TILES`](super::Simd::TILES) says so, and those with
//! addresses have the contract of a read or write of the tile's rows there, `stride` bytes apart.
#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there are none")
)]

#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// Bytes of a row at most.
pub(crate) const ROW_BYTES: usize = 64;
/// Rows at most.
pub(crate) const ROWS: usize = 16;

/// Rows and bytes of a row of each register, as the processor reads them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Rows and bytes of a row of the eight registers; one of which either is 0 is not used.
    pub(crate) fn new(shapes: [(usize, usize); 8]) -> Self {
        let mut all = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (register, (rows, bytes)) in shapes.into_iter().enumerate() {
            debug_assert!(rows <= ROWS && bytes <= ROW_BYTES && bytes.is_multiple_of(4));
            // The processor refuses a register that has rows of no bytes, or bytes in no rows.
            if rows > 0 && bytes > 0 {
                all.rows[register] = rows as u8;
                all.row_bytes[register] = bytes as u16;
            }
        }
        all
    }

    /// Gives the registers these shapes and makes them zero.
    #[inline(always)]
    pub(crate) unsafe fn set(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the module's contract; the shapes are valid.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) self, options(nostack, readonly, preserves_flags));
        }
    }
}

macro_rules! instruction {
    ($($operands:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the module's contract. The compiler uses no tiles and keeps these in order.
        unsafe {
            asm!($($operands)*, options(nostack, preserves_flags));
        }
    };
}

/// Leaves the registers to others: they hold nothing, and cost nothing when threads change.
#[inline(always)]
pub(crate) unsafe fn release() {
    instruction!("tilerelease");
}

/// Makes register `T` zero.
#[inline(always)]
pub(crate) unsafe fn zero<const T: u8>() {
    instruction!("tilezero tmm{t}", t = const T);
}

/// Reads register `T`.
#[inline(always)]
pub(crate) unsafe fn load<const T: u8>(from: *const u8, stride: usize) {
    instruction!("tileloadd tmm{t}, [{from} + {stride}]", t = const T, from = in(reg) from, stride = in(reg) stride);
}

/// Writes register `T`.
#[inline(always)]
pub(crate) unsafe fn store<const T: u8>(to: *mut u8, stride: usize) {
    instruction!("tilestored [{to} + {stride}], tmm{t}", t = const T, to = in(reg) to, stride = in(reg) stride);
}

/// Adds products of signed bytes of `L` and unsigned ones of `R` to the 32-bit integers of `SUM`.
#[inline(always)]
pub(crate) unsafe fn dot_i8u8<const SUM: u8, const L: u8, const R: u8>() {
    instruction!("tdpbsud tmm{s}, tmm{l}, tmm{r}", s = const SUM, l = const L, r = const R);
}

/// Adds products of unsigned bytes of `L` and signed ones of `R` to the 32-bit integers of `SUM`.
#[inline(always)]
pub(crate) unsafe fn dot_u8i8<const SUM: u8, const L: u8, const R: u8>() {
    instruction!("tdpbusd tmm{s}, tmm{l}, tmm{r}", s = const SUM, l = const L, r = const R);
}

/// Adds products of bfloat16 to the floats of `SUM`.
#[inline(always)]
pub(crate) unsafe fn dot_bf16<const SUM: u8, const L: u8, const R: u8>() {
    instruction!("tdpbf16ps tmm{s}, tmm{l}, tmm{r}", s = const SUM, l = const L, r = const R);
}

/// Whether the processor has tiles of bfloat16 and 8 bits, and the system lets this process use them,
/// for which it is asked once.
#[cfg(target_arch = "x86_64")]
pub(super) fn are_permitted() -> bool {
    static PERMITTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *PERMITTED.get_or_init(|| {
        // Leaf 7: bits 22, 24 and 25 of EDX are bfloat16, tiles and 8 bits.
        const NEEDED: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        // From linux/arch/x86/include/uapi/asm/prctl.h and the number of the tiles' state component.
        const REQUEST_PERMISSION: i32 = 0x1023;
        const TILE_DATA: i32 = 18;
        if std::arch::x86_64::__cpuid_count(7, 0).edx & NEEDED != NEEDED {
            return false;
        }
        #[cfg(target_os = "linux")]
        {
            // SAFETY: asks for permission, and changes nothing when it is refused.
            unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
        }
        #[cfg(not(target_os = "linux"))]
        false
    })
}
