//! What packing keeps, and what it refuses.

use half::{bf16, f16};

use super::super::{Arena, Arrangement, Matrix, Source, SourceError, SourceKind, WeightKind};
use super::{PackError, Packing, QuantizeError, quantize};
use crate::simd::Isa;

/// Bytes without pattern.
fn noise(count: usize) -> Vec<u8> {
    (0..count as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// A source of noise whose half-precision scales, at the given places of its blocks, are usual.
fn blocks(kind: SourceKind, rows: usize, cols: usize, scales: &[usize]) -> Vec<u8> {
    let (block, bytes) = match kind {
        SourceKind::Q8_0 => (32, 34),
        SourceKind::Q4_0 => (32, 18),
        SourceKind::Q4_1 => (32, 20),
        SourceKind::Q5_0 => (32, 22),
        SourceKind::Q4K => (256, 144),
        SourceKind::Q5K => (256, 176),
        SourceKind::Q6K => (256, 210),
        other => panic!("{other:?} has no blocks"),
    };
    let mut data = noise(rows * cols / block * bytes);
    for (number, block) in data.chunks_mut(bytes).enumerate() {
        for &at in scales {
            let scale = f16::from_f32(0.01 + (number % 7 + at) as f32 * 0.003);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    data
}

fn pack(kind: WeightKind, source: Source<'_>) -> Result<Matrix, PackError> {
    let isa = Isa::detect();
    Matrix::pack(
        isa,
        kind,
        &[source],
        Arrangement::Stacked,
        &mut [Arena::new()],
    )
}

fn rows_of(source: &Source<'_>) -> Vec<Vec<f32>> {
    let mut row = vec![0.0; source.cols()];
    let mut read = |index| {
        source.row(index, &mut row);
        row.clone()
    };
    (0..source.rows()).map(&mut read).collect()
}

fn packed_rows(matrix: &Matrix) -> Vec<Vec<f32>> {
    let mut row = vec![0.0; matrix.cols()];
    let mut read = |index| {
        matrix.row(Isa::detect(), index, &mut row);
        row.clone()
    };
    (0..matrix.rows()).map(&mut read).collect()
}

#[test]
fn natural_kinds_of_four_bits_and_q8_0_lose_nothing() {
    for (kind, scales) in [
        (SourceKind::Q4_0, &[0][..]),
        (SourceKind::Q4_1, &[0, 2]),
        (SourceKind::Q4K, &[0, 2]),
        (SourceKind::Q8_0, &[0]),
    ] {
        let (rows, cols) = (35, 512);
        let data = blocks(kind, rows, cols, scales);
        let source = Source::new(kind, rows, cols, &data).unwrap();
        let matrix = pack(WeightKind::natural(kind), source).unwrap();
        assert_eq!(packed_rows(&matrix), rows_of(&source), "{kind:?}");
    }
}

#[test]
fn groups_of_awq_and_gptq_lose_nothing() {
    let (rows, cols) = (33, 256);
    for group in [32, 64, 128] {
        let groups = rows * cols / group;
        let scales: Vec<u8> = (0..groups)
            .flat_map(|i| f16::from_f32(0.01 + i as f32 * 1e-4).to_le_bytes())
            .collect();
        let (codes, zeros) = (noise(rows * cols / 2), noise(groups));
        let zeros: Vec<u8> = zeros.iter().map(|zero| zero & 15).collect();
        let source = Source::int4((rows, cols), group, &codes, &scales, &zeros).unwrap();
        let expected = |row: usize, col: usize| {
            let at = row * cols + col;
            let code = codes[at / 2] >> (4 * (at % 2)) & 15;
            let number = at / group;
            let scale = f16::from_le_bytes([scales[2 * number], scales[2 * number + 1]]).to_f32();
            scale * (f32::from(code) - f32::from(zeros[number]))
        };
        let matrix = pack(WeightKind::Int4Wide, source).unwrap();
        for (row, values) in packed_rows(&matrix).iter().enumerate() {
            for (col, &value) in values.iter().enumerate() {
                assert_eq!(value, expected(row, col), "group {group}");
            }
        }
    }
}

#[test]
fn rounding_errors_are_bounded() {
    let (rows, cols) = (40, 192);
    for kind in [SourceKind::Q5_0, SourceKind::Q8_0] {
        let data = blocks(kind, rows, cols, &[0]);
        let source = Source::new(kind, rows, cols, &data).unwrap();
        let exact = rows_of(&source);
        for (to, bound) in [
            (WeightKind::Bf16, 1.0 / 256.0),
            (WeightKind::Int8, 1.0 / 20.0),
            (WeightKind::Int8Group, 1.0 / 250.0),
            (WeightKind::Int4Group, 1.0 / 12.0),
        ] {
            let matrix = pack(to, source).unwrap();
            for (x, y) in exact.iter().zip(packed_rows(&matrix)) {
                let largest = x.iter().fold(0f32, |a, b| a.max(b.abs()));
                for (x, y) in x.iter().zip(y) {
                    assert!((x - y).abs() <= bound * largest, "{kind:?} {to:?}: {x} {y}");
                }
            }
        }
    }
}

#[test]
fn float_sources_become_bfloat16_rounded_to_nearest() {
    let values: Vec<f32> = (0..64).map(|i| (i as f32 - 30.0) * 0.011).collect();
    let f16s: Vec<u8> = values
        .iter()
        .flat_map(|&x| f16::from_f32(x).to_le_bytes())
        .collect();
    let bf16s: Vec<u8> = values
        .iter()
        .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
        .collect();
    for (kind, data) in [(SourceKind::F16, &f16s), (SourceKind::Bf16, &bf16s)] {
        let source = Source::new(kind, 2, 32, data).unwrap();
        let matrix = pack(WeightKind::natural(kind), source).unwrap();
        for (x, y) in rows_of(&source)
            .concat()
            .iter()
            .zip(packed_rows(&matrix).concat())
        {
            assert_eq!(bf16::from_f32(*x).to_f32(), y);
        }
    }
}

#[test]
fn what_is_not_finite_is_refused_with_its_row() {
    for kind in WeightKind::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![0.5f32; 3 * 40];
            values[2 * 40 + 7] = bad;
            let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let source = Source::new(SourceKind::F32, 3, 40, &data).unwrap();
            let error = pack(kind, source).unwrap_err();
            assert_eq!(
                error,
                PackError::NotFinite { index: 0, row: 2 },
                "{kind:?} {bad}"
            );
        }
    }
    for (kind, scales) in [
        (SourceKind::Q4_0, &[0][..]),
        (SourceKind::Q4_1, &[0, 2]),
        (SourceKind::Q4K, &[0, 2]),
        (SourceKind::Q5_0, &[0]),
        (SourceKind::Q5K, &[0, 2]),
        (SourceKind::Q6K, &[208]),
        (SourceKind::Q8_0, &[0]),
    ] {
        for &at in scales {
            let mut data = blocks(kind, 1, 256, scales);
            data[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
            let source = Source::new(kind, 1, 256, &data).unwrap();
            assert!(
                pack(WeightKind::natural(kind), source).is_err(),
                "{kind:?} at {at}"
            );
        }
    }
}

#[test]
fn threads_may_pack_in_any_order_and_nothing_twice() {
    let data: Vec<u8> = (0..200 * 64)
        .flat_map(|i| (i as f32).to_le_bytes())
        .collect();
    let source = Source::new(SourceKind::F32, 200, 64, &data).unwrap();
    let mut arenas = [Arena::new(), Arena::new(), Arena::new()];
    let isa = Isa::detect();
    let packing = Packing::new(
        WeightKind::Bf16,
        &[source],
        Arrangement::Stacked,
        &mut arenas,
    )
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| packing.pack(isa, 0..7).unwrap());
        }
    });
    let together = packing.finish().unwrap();
    let alone = pack(WeightKind::Bf16, source).unwrap();
    assert_eq!(packed_rows(&together), packed_rows(&alone));
    let threads: Vec<_> = (0..4)
        .map(|thread| together.thread_panels(thread, 4))
        .collect();
    assert_eq!(threads, [0..2, 2..4, 4..7, 0..0]);
    assert_eq!(together.thread_panels(0, 1), 0..7);
}

#[test]
fn a_matrix_with_a_missing_panel_is_refused() {
    let data = vec![0; 4 * 64 * 64];
    let source = Source::new(SourceKind::F32, 64, 64, &data).unwrap();
    let mut arenas = [Arena::new()];
    let packing = Packing::new(
        WeightKind::Bf16,
        &[source],
        Arrangement::Stacked,
        &mut arenas,
    )
    .unwrap();
    packing.pack(Isa::detect(), 1..2).unwrap();
    assert_eq!(packing.finish().unwrap_err(), PackError::Unpacked(0));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let data = vec![0; 4 * 64];
    let wide = Source::new(SourceKind::F32, 2, 32, &data).unwrap();
    let narrow = Source::new(SourceKind::F32, 4, 16, &data).unwrap();
    let new = |sources: &[Source<'_>], arrangement| {
        Packing::new(WeightKind::Bf16, sources, arrangement, &mut [Arena::new()]).err()
    };
    assert_eq!(new(&[], Arrangement::Stacked), Some(PackError::Empty));
    let columns = PackError::Columns {
        index: 1,
        found: 16,
        expected: 32,
    };
    assert_eq!(new(&[wide, narrow], Arrangement::Stacked), Some(columns));
    assert_eq!(
        new(&[wide], Arrangement::GateUp),
        Some(PackError::GateUp(vec![2]))
    );
    assert!(new(&[wide, wide], Arrangement::GateUp).is_none());
    let matrix = pack(WeightKind::Bf16, wide).unwrap();
    let bias = PackError::Bias {
        found: 1,
        expected: 2,
    };
    assert_eq!(matrix.with_bias(&[1.0, f32::NAN]).unwrap_err(), bias);
}

#[test]
fn sources_of_the_wrong_length_are_refused() {
    let data = vec![0; 1024];
    let length = Source::new(SourceKind::Q4_0, 2, 64, &data).unwrap_err();
    assert!(
        matches!(
            length,
            SourceError::Length {
                found: 1024,
                expected: 72,
                ..
            }
        ),
        "{length}"
    );
    let columns = Source::new(SourceKind::Q4K, 1, 128, &data).unwrap_err();
    assert_eq!(
        columns,
        SourceError::Columns {
            cols: 128,
            block: 256
        }
    );
    let size = Source::new(SourceKind::F32, usize::MAX / 2, 8, &data).unwrap_err();
    assert!(matches!(size, SourceError::Size { .. }), "{size}");
    let group = Source::int4((1, 48), 48, &data[..24], &data[..2], &data[..1]).unwrap_err();
    assert_eq!(group, SourceError::Group(48));
    assert!(Source::int4((1, 0), 0, &[], &[], &[]).is_err());
    assert!(Source::int4((1, 64), 64, &data[..32], &data[..1], &data[..1]).is_err());
}

#[test]
fn quantized_rows_pack_to_the_panels_of_their_source() {
    // The rotation is in blocks of 32 and of 1.
    for (kind, to, cols) in [
        (WeightKind::Int8, SourceKind::Int8, 96),
        (WeightKind::Int8, SourceKind::Int8, 45),
        (WeightKind::Int4Group, SourceKind::Q4_1, 96),
    ] {
        let rows = 35;
        let floats = |x: &u8| bf16::from_f32(f32::from(*x) / 100.0 - 1.2).to_le_bytes();
        let data: Vec<u8> = noise(rows * cols).iter().flat_map(floats).collect();
        let source = Source::new(SourceKind::Bf16, rows, cols, &data).unwrap();
        let quantized = quantize(Isa::detect(), &source, to).unwrap();
        let again = Source::new(to, rows, cols, &quantized).unwrap();
        assert_eq!(WeightKind::natural(to), kind);
        let [one, other] = [source, again].map(|source| pack(kind, source).unwrap());
        assert_eq!(packed_rows(&one), packed_rows(&other), "{to:?} {cols}");
        assert_eq!(packed_rows(&other), rows_of(&again), "{to:?} {cols}");
    }
}

#[test]
fn what_cannot_be_quantized_is_refused() {
    let data: Vec<u8> = [1.0, f32::NAN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let source = Source::new(SourceKind::F32, 2, 1, &data).unwrap();
    let refusal = |to| quantize(Isa::detect(), &source, to).unwrap_err();
    assert_eq!(refusal(SourceKind::Int8), QuantizeError::NotFinite);
    assert_eq!(
        refusal(SourceKind::Q4_1),
        QuantizeError::Columns { cols: 1 }
    );
    assert_eq!(
        refusal(SourceKind::Q6K),
        QuantizeError::Kind(SourceKind::Q6K)
    );
}
