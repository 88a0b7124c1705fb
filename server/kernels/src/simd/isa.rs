//! Which instruction set runs.
#![expect(unsafe_code, reason = "enters code that needs its instruction set")]

use std::fmt;
use std::str::FromStr;

use super::Simd;
use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512, tiles};

/// An instruction set, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// The same with matrix tiles of bfloat16 and 8 bits (AMX; Sapphire Rapids and later). Whole
    /// numbers give the same bits as [`Isa::Avx512Dot`], bfloat16 does not.
    Amx,
    /// AVX-512 with bfloat16 and 8-bit dot products (Zen 4, Sapphire Rapids and later).
    Avx512Dot,
    /// AVX-512 F, BW, VL, DQ.
    Avx512,
    /// AVX2, FMA and F16C.
    Avx2,
    /// Any processor.
    Portable,
}

/// A name that no instruction set has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no instruction set {0:?}: expected amx, avx512-dot, avx512, avx2 or portable")]
pub struct UnknownIsa(String);

/// Code that is compiled for every instruction set.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Does the work; `#[inline(always)]`, or the vector operations become calls.
    fn run<S: Simd>(self) -> Self::Output;
}

impl Isa {
    /// All, best first.
    pub const ALL: [Self; 5] = [
        Self::Amx,
        Self::Avx512Dot,
        Self::Avx512,
        Self::Avx2,
        Self::Portable,
    ];

    /// The best one that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        let best = Self::ALL.into_iter().find(|isa| isa.is_supported());
        best.unwrap_or(Self::Portable)
    }

    /// Those that this processor has, best first.
    pub fn supported() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_supported())
    }

    /// Whether this processor has it, and the system lets the process use it.
    #[must_use]
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            let avx512 =
                avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq");
            let dot = avx512 && has!("avx512bf16") && has!("avx512vnni");
            match self {
                Self::Amx => dot && tiles::are_permitted(),
                Self::Avx512Dot => dot,
                Self::Avx512 => avx512,
                Self::Avx2 => avx2,
                Self::Portable => true,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// Runs a kernel compiled for this instruction set.
    ///
    /// # Panics
    /// When the processor lacks it: see [`Isa::is_supported`].
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        debug_assert!(self.is_supported(), "{self} is not there");
        match self {
            // SAFETY: an `Isa` other than `Portable` is made by `detect` and `supported`, or named
            // by a caller that asked `is_supported`.
            #[cfg(target_arch = "x86_64")]
            Self::Amx => unsafe { amx(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Dot => unsafe { avx512_dot(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(kernel) },
            _ => kernel.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma,f16c,avx2")]
unsafe fn amx<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512<true, true>>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma,f16c,avx2")]
unsafe fn avx512_dot<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512<true, false>>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,avx2")]
unsafe fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512<false, false>>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amx => "amx",
            Self::Avx512Dot => "avx512-dot",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.to_string() == name)
            .ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}
