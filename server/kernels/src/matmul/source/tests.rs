//! Blocks of noise against what the `gguf` package (0.17) makes of them.

use half::f16;

use super::{Source, SourceKind};

/// A block of noise with scales 0.01 + 0.003 * place at the given places.
fn block(bytes: usize, scales: &[usize]) -> Vec<u8> {
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let mut block: Vec<u8> = (0..bytes as u32).map(noise).collect();
    for &at in scales {
        let scale = f16::from_f32(0.01 + at as f32 * 0.003);
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }
    block
}

/// Checks some values and the sum of all weighted by their index.
fn check(kind: SourceKind, block: &[u8], values: &[(usize, f64)], weighted: f64) {
    let cols = kind.block().0;
    let source = Source::new(kind, 1, cols, block).unwrap();
    let mut row = vec![0.0; cols];
    source.row(0, &mut row);
    for &(at, expected) in values {
        let error = (f64::from(row[at]) - expected).abs();
        assert!(
            error <= 1e-6 * expected.abs().max(1.0),
            "{kind:?} at {at}: {}",
            row[at]
        );
    }
    let sum: f64 = row
        .iter()
        .enumerate()
        .map(|(i, &x)| i as f64 * f64::from(x))
        .sum();
    assert!(
        (sum - weighted).abs() <= 1e-5 * weighted.abs(),
        "{kind:?}: {sum}"
    );
}

#[test]
fn blocks_of_32_are_read_as_gguf_reads_them() {
    let q8_0 = [
        (0, 1.190_254),
        (15, 1.200_256),
        (16, 0.520_111),
        (31, 0.530_113),
    ];
    check(SourceKind::Q8_0, &block(34, &[0]), &q8_0, 23.144_943);
    let q4_0 = [(0, -0.010_002_136), (15, 0.0), (16, -0.010_002_136)];
    check(SourceKind::Q4_0, &block(18, &[0]), &q4_0, -4.751_014_7);
    let q4_1 = [(0, 0.166_038_51), (15, 0.016_006_47), (16, 0.156_036_38)];
    check(SourceKind::Q4_1, &block(20, &[0, 2]), &q4_1, 43.026_703);
    let q5_0 = [(0, 0.060_012_817), (15, -0.090_019_23), (31, 0.060_012_817)];
    check(SourceKind::Q5_0, &block(22, &[0]), &q5_0, 8.641_846);
}

#[test]
fn blocks_of_256_are_read_as_gguf_reads_them() {
    let q4_k = [
        (0, 5.161_010_7),
        (16, 3.750_709_5),
        (32, 4.314_842_2),
        (77, 5.349_075_3),
        (128, -0.960_388_2),
        (160, 3.870_704_7),
        (200, 1.360_229_5),
        (255, 0.140_029_9),
    ];
    check(SourceKind::Q4K, &block(144, &[0, 2]), &q4_k, 59_371.983);
    let q5_k = [
        (0, 2.340_408_3),
        (16, 8.451_713_6),
        (32, 0.874_107_4),
        (77, 9.149_887),
        (128, 14.292_87),
        (160, 6.741_317_7),
        (200, 0.099_960_33),
        (255, 0.060_012_82),
    ];
    check(SourceKind::Q5K, &block(176, &[0, 2]), &q5_k, 138_908.67);
    let q6_k = [
        (0, 0.0),
        (15, -409.427_73),
        (32, -359.358_4),
        (77, -836.601_56),
        (128, 1_323.351_6),
        (160, -578.015_6),
        (200, -1_635.809_6),
        (255, 703.505_86),
    ];
    check(SourceKind::Q6K, &block(210, &[208]), &q6_k, -144_271.94);
}
