//! Activations packed for a product.
#![expect(unsafe_code, reason = "threads write their rows of one buffer")]

mod quantize;

use std::cell::UnsafeCell;
use std::ops::Range;

use self::quantize::Quantize;
use super::layout::{ActivationFormat, Blocks, CHUNK};
use super::product::{Bf16, Int4, Int8, MAX_ROWS, Weights};
use crate::norm::Norm;
use crate::simd::{Isa, Kernel, Simd};

/// Rows of activations in one format, packed in blocks as the products read them. The buffer is
/// kept between uses.
///
/// A block of R rows is, for each chunk of 32 inputs, [R][32] values, and where a chunk has scales
/// [R] scales and [R] offsets; where a row has one, it is [R][64] values for each two chunks, then [R]
/// scales and [R] offsets.
#[derive(Debug)]
pub struct Activations {
    isa: Isa,
    format: ActivationFormat,
    rows: usize,
    cols: usize,
    max_rows: usize,
    lines: Vec<Line>,
}

/// A cache line that threads share.
#[derive(Debug)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "reached by address")] UnsafeCell<[u8; 64]>);

// SAFETY: written only by `quantize`, whose contract keeps writers and readers apart.
unsafe impl Sync for Line {}

/// Where the values of a row lie.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// First byte of the block.
    block: *mut u8,
    /// The row's number in it, and how many it has.
    row: usize,
    rows: usize,
    chunks: usize,
}

impl Activations {
    /// No rows yet.
    #[must_use]
    pub fn new(isa: Isa, format: ActivationFormat) -> Self {
        Self {
            isa,
            format,
            rows: 0,
            cols: 0,
            max_rows: isa.run(MaxRows(format)),
            lines: Vec::new(),
        }
    }

    /// Makes room for `rows` rows of `cols` values, which say nothing until they are quantized.
    pub fn resize(&mut self, rows: usize, cols: usize) {
        let bytes = rows * self.format.row_bytes(cols);
        self.rows = rows;
        self.cols = cols;
        let lines = bytes.div_ceil(64);
        if self.lines.len() < lines {
            self.lines
                .resize_with(lines, || Line(UnsafeCell::new([0; 64])));
        }
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> ActivationFormat {
        self.format
    }

    /// The instruction set that the blocks are for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a row.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Packs the given rows from floats, normalised if there is a norm. NaN and infinities make all
    /// results of their row NaN or infinite, and of no other.
    ///
    /// # Safety
    /// While it runs nobody else packs or reads these rows.
    ///
    /// # Panics
    /// When a row is out of range, or norm or `values` have another number of values.
    pub unsafe fn quantize<'x>(
        &self,
        rows: Range<usize>,
        norm: Option<Norm<'_>>,
        values: impl Fn(usize) -> &'x [f32],
    ) {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        self.isa.run(Quantize {
            to: self,
            rows,
            norm,
            values,
        });
    }

    /// The values that a packed row stands for, as floats; behind the rotation where there is one.
    ///
    /// # Panics
    /// When the row is out of range or `out` has another length.
    pub fn packed_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row}");
        let place = self.place(row);
        for (col, value) in out.iter_mut().enumerate() {
            *value = place.value(self.format, col);
        }
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks::new(self.rows, self.max_rows)
    }

    pub(super) fn block(&self, first_row: usize) -> *const u8 {
        self.start()
            .wrapping_add(first_row * self.format.row_bytes(self.cols))
    }

    fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.lines.as_ptr().cast::<UnsafeCell<u8>>())
    }

    fn place(&self, row: usize) -> Place {
        let blocks = self.blocks();
        let (first, rows) = blocks.get(blocks.of_row(row));
        Place {
            block: self.block(first).cast_mut(),
            row: row - first,
            rows,
            chunks: self.cols.div_ceil(CHUNK),
        }
    }
}

impl Place {
    /// The values of a chunk.
    fn values(self, format: ActivationFormat, chunk: usize) -> *mut u8 {
        let value = match format {
            ActivationFormat::Bf16 => 2,
            ActivationFormat::Int8 | ActivationFormat::Int8Group => 1,
        };
        let first = chunk * CHUNK;
        let (span, within) = (first / format.span(), first % format.span());
        let start = span * self.rows * format.span_bytes();
        let row = self.row * format.span() + within;
        self.block.wrapping_add(start + row * value)
    }

    /// The scale of a chunk, or of the row; the offset lies `rows` floats behind.
    fn scale(self, format: ActivationFormat, chunk: usize) -> *mut f32 {
        let spans = (self.chunks * CHUNK).div_ceil(format.span());
        let before = match format {
            ActivationFormat::Int8Group => chunk * format.span_bytes() + CHUNK,
            ActivationFormat::Bf16 | ActivationFormat::Int8 => spans * format.span_bytes(),
        };
        self.block
            .wrapping_add(self.rows * before + self.row * 4)
            .cast()
    }

    fn value(self, format: ActivationFormat, col: usize) -> f32 {
        let (chunk, within) = (col / CHUNK, col % CHUNK);
        let values = self.values(format, chunk);
        // SAFETY: within the block.
        unsafe {
            if format == ActivationFormat::Bf16 {
                let bits = values.cast::<u16>().add(within).read_unaligned();
                return half::bf16::from_bits(bits).to_f32();
            }
            let code = f32::from(values.cast::<i8>().add(within).read());
            code * self.scale(format, chunk).read_unaligned()
        }
    }
}

struct MaxRows(ActivationFormat);

impl Kernel for MaxRows {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self) -> usize {
        match self.0 {
            ActivationFormat::Bf16 | ActivationFormat::Int8 if S::TILES => MAX_ROWS,
            ActivationFormat::Bf16 => Bf16::max_rows::<S>(),
            ActivationFormat::Int8 => Int8::max_rows::<S>(),
            ActivationFormat::Int8Group => Int4::<false>::max_rows::<S>(),
        }
    }
}
