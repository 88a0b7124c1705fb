//! Columns of panels: where each weight of an output lies.

use half::{bf16, f16};

use super::super::layout::{CHUNK, PANEL, WeightKind};
use super::super::source::{Group4, Group8, Source};
use super::encode;
use crate::hadamard;
use crate::simd::Isa;

/// Packs outputs one by one; keeps its buffers.
#[derive(Debug)]
pub(super) struct Column {
    isa: Isa,
    kind: WeightKind,
    values: Vec<f32>,
    codes: Vec<i8>,
    groups8: Vec<Group8>,
    groups4: Vec<Group4>,
}

impl Column {
    pub(super) fn new(isa: Isa, kind: WeightKind, cols: usize) -> Self {
        Self {
            isa,
            kind,
            values: vec![0.0; cols],
            codes: Vec::new(),
            groups8: Vec::new(),
            groups4: Vec::new(),
        }
    }

    /// Packs one row of a source into a column of a panel; says whether all is finite.
    pub(super) fn pack(
        &mut self,
        source: &Source<'_>,
        row: usize,
        panel: &mut [u8],
        column: usize,
    ) -> bool {
        let tiles = panel.chunks_exact_mut(self.kind.tile_bytes());
        match self.kind {
            WeightKind::Bf16 => {
                source.row(row, &mut self.values);
                let pairs = tiles.zip(self.values.chunks(CHUNK));
                all(pairs.map(|(tile, values)| put_bf16(tile, column, values)))
            }
            WeightKind::Int8 => {
                let scale = self.codes8(source, row);
                for (tile, codes) in tiles.zip(self.codes.chunks(CHUNK)) {
                    put_codes8(tile, column, codes);
                }
                let scales = panel.len() - 4 * PANEL;
                put(&mut panel[scales + 4 * column..], scale.to_le_bytes());
                scale.is_finite()
            }
            WeightKind::Int8Group => match source.groups8(row) {
                Some(groups) => all(tiles
                    .zip(groups)
                    .map(|(tile, x)| put_group8(tile, column, &x))),
                None => {
                    source.row(row, &mut self.values);
                    encode::groups8(self.isa, &self.values, &mut self.groups8);
                    let groups = self.groups8.iter();
                    all(tiles
                        .zip(groups)
                        .map(|(tile, x)| put_group8(tile, column, x)))
                }
            },
            WeightKind::Int4Group | WeightKind::Int4Wide => {
                let put = |(tile, group)| put_group4(self.kind, tile, column, &group);
                match source.groups4(row) {
                    Some(groups) => all(tiles.zip(groups).map(put)),
                    None => {
                        source.row(row, &mut self.values);
                        encode::groups4(self.isa, &self.values, &mut self.groups4);
                        let groups = self.groups4.iter().copied();
                        all(tiles.zip(groups).map(put))
                    }
                }
            }
        }
    }
}

impl Column {
    /// Has `codes` hold a row, and gives their scale.
    fn codes8(&mut self, source: &Source<'_>, row: usize) -> f32 {
        if let Some((codes, scale)) = source.codes8(row) {
            self.codes.clear();
            self.codes
                .extend(codes.iter().map(|code| code.cast_signed()));
            self.codes.resize(codes.len().next_multiple_of(CHUNK), 0);
            return scale;
        }
        source.row(row, &mut self.values);
        hadamard::rotate(self.isa, &mut self.values);
        encode::int8(self.isa, &self.values, &mut self.codes)
    }
}

/// Whether all are true; every one is asked for.
fn all(results: impl Iterator<Item = bool>) -> bool {
    results.fold(true, |all, result| all & result)
}

fn put<const N: usize>(to: &mut [u8], bytes: [u8; N]) {
    to[..N].copy_from_slice(&bytes);
}

fn get<const N: usize>(from: &[u8]) -> [u8; N] {
    std::array::from_fn(|i| from[i])
}

/// [pair][output][2]
fn at_bf16(column: usize, input: usize) -> usize {
    (input / 2 * PANEL + column) * 4 + input % 2 * 2
}

/// [quad][output][4]
fn at_int8(column: usize, input: usize) -> usize {
    (input / 4 * PANEL + column) * 4 + input % 4
}

/// Where the parameters of a column are that follow the codes, `index` * 32 of them before.
fn at_parameter(kind: WeightKind, column: usize, index: usize) -> usize {
    let (codes, width) = match kind {
        WeightKind::Int8Group => (CHUNK * PANEL, 2),
        WeightKind::Int4Group => (CHUNK * PANEL / 2, 2),
        _ => (CHUNK * PANEL / 2, 4),
    };
    codes + (index * PANEL + column) * width
}

fn put_bf16(tile: &mut [u8], column: usize, values: &[f32]) -> bool {
    let mut finite = true;
    for (input, &value) in values.iter().enumerate() {
        let value = bf16::from_f32(value);
        finite &= value.is_finite();
        put(&mut tile[at_bf16(column, input)..], value.to_le_bytes());
    }
    finite
}

fn put_codes8(tile: &mut [u8], column: usize, codes: &[i8]) {
    for (input, &code) in codes.iter().enumerate() {
        tile[at_int8(column, input)] = code.cast_unsigned() ^ 0x80;
    }
}

fn put_group8(tile: &mut [u8], column: usize, group: &Group8) -> bool {
    put_codes8(tile, column, &group.codes);
    put_f16(
        &mut tile[at_parameter(WeightKind::Int8Group, column, 0)..],
        group.scale,
    )
}

fn put_group4(kind: WeightKind, tile: &mut [u8], column: usize, group: &Group4) -> bool {
    for input in 0..CHUNK / 2 {
        let both = group.codes[input] | group.codes[input + CHUNK / 2] << 4;
        tile[at_int8(column, input)] = both;
    }
    let parameters = [group.scale, group.minimum];
    all(parameters.into_iter().enumerate().map(|(index, value)| {
        let to = &mut tile[at_parameter(kind, column, index)..];
        if kind == WeightKind::Int4Wide {
            put(to, value.to_le_bytes());
            value.is_finite()
        } else {
            put_f16(to, value)
        }
    }))
}

fn put_f16(to: &mut [u8], value: f32) -> bool {
    let value = f16::from_f32(value);
    put(to, value.to_le_bytes());
    value.is_finite()
}

/// Reads a column of a panel back as floats.
pub(in super::super) fn unpack_row(
    isa: Isa,
    kind: WeightKind,
    panel: &[u8],
    column: usize,
    out: &mut [f32],
) {
    let tiles = panel.chunks_exact(kind.tile_bytes());
    for (tile, out) in tiles.zip(out.chunks_mut(CHUNK)) {
        for (input, out) in out.iter_mut().enumerate() {
            *out = weight(kind, tile, column, input);
        }
    }
    if kind == WeightKind::Int8 {
        let scales = &panel[panel.len() - 4 * PANEL..];
        let scale = f32::from_le_bytes(get(&scales[4 * column..]));
        out.iter_mut().for_each(|x| *x *= scale);
        hadamard::rotate(isa, out);
    }
}

/// One weight of a tile; for [`WeightKind::Int8`] its code.
fn weight(kind: WeightKind, tile: &[u8], column: usize, input: usize) -> f32 {
    let code8 = || f32::from((tile[at_int8(column, input)] ^ 0x80).cast_signed());
    let half = |index| {
        let at = at_parameter(kind, column, index);
        f16::from_le_bytes(get(&tile[at..])).to_f32()
    };
    let code4 = || {
        let both = tile[at_int8(column, input % (CHUNK / 2))];
        f32::from(both >> (input / (CHUNK / 2) * 4) & 15)
    };
    match kind {
        WeightKind::Bf16 => bf16::from_le_bytes(get(&tile[at_bf16(column, input)..])).to_f32(),
        WeightKind::Int8 => code8(),
        WeightKind::Int8Group => code8() * half(0),
        WeightKind::Int4Group => half(0).mul_add(code4(), half(1)),
        WeightKind::Int4Wide => {
            let wide = |index| {
                let at = at_parameter(kind, column, index);
                f32::from_le_bytes(get(&tile[at..]))
            };
            wide(0).mul_add(code4(), wide(1))
        }
    }
}
