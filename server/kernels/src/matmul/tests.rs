//! Products against plain loops over the dequantized operands, and against themselves: the same bits
//! however the rows and panels are split.

#![expect(unsafe_code, reason = "products are told that threads are apart")]

use proptest::prelude::*;

use super::*;
use crate::hadamard;
use crate::simd::Isa;

/// Numbers in [-1, 1) that depend on all bits of the seed.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let hash = |i: u64| {
        let x = (i ^ seed << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
    };
    (0..count as u64)
        .map(|i| hash(i) as f32 / 2f32.powi(23) - 1.0)
        .collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Weights of floats [n, k], packed for `threads` threads.
fn pack(isa: Isa, kind: WeightKind, n: usize, k: usize, threads: usize) -> Matrix {
    let data = bytes(&numbers(7, n * k));
    let source = Source::new(SourceKind::F32, n, k, &data).unwrap();
    let mut arenas: Vec<Arena> = (0..threads).map(|_| Arena::new()).collect();
    Matrix::pack(isa, kind, &[source], Arrangement::Stacked, &mut arenas).unwrap()
}

fn quantize(isa: Isa, format: ActivationFormat, rows: &[&[f32]]) -> Activations {
    let mut activations = Activations::new(isa, format);
    activations.resize(rows.len(), rows[0].len());
    // SAFETY: no other thread has them.
    unsafe { activations.quantize(0..rows.len(), None, |row| rows[row]) };
    activations
}

/// [m, n], computed in calls that end at the panels of `borders`.
fn product(isa: Isa, matrix: &Matrix, rows: &[&[f32]], borders: &[usize]) -> Vec<f32> {
    let activations = quantize(isa, matrix.kind().activations(), rows);
    let n = matrix.rows();
    let mut out = vec![f32::NAN; rows.len() * n];
    let output = Output::new(&mut out, n, Join::Store);
    let mut first = 0;
    for &border in borders.iter().chain([&matrix.num_panels()]) {
        let last = border.clamp(first, matrix.num_panels());
        // SAFETY: no other thread has them.
        unsafe { multiply(isa, matrix, &activations, first..last, &output) };
        first = last;
    }
    out
}

/// Result and sum of magnitudes by plain loops over the dequantized operands.
fn reference(isa: Isa, matrix: &Matrix, x: &Activations, row: usize, col: usize) -> (f64, f64) {
    let mut weights = vec![0.0; matrix.cols()];
    let mut inputs = weights.clone();
    matrix.row(isa, col, &mut weights);
    x.packed_row(row, &mut inputs);
    if matrix.kind() == WeightKind::Int8 {
        hadamard::rotate(isa, &mut weights);
    }
    let products = weights
        .iter()
        .zip(&inputs)
        .map(|(&w, &x)| f64::from(w) * f64::from(x));
    products.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn kinds() -> impl Strategy<Value = WeightKind> {
    prop::sample::select(WeightKind::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_plain_loops(kind in kinds(), n in 1usize..100, k in 1usize..400, m in 1usize..32) {
        let inputs = numbers(3, m * k);
        let rows: Vec<&[f32]> = inputs.chunks(k).collect();
        for isa in Isa::supported() {
            let matrix = pack(isa, kind, n, k, 1);
            let activations = quantize(isa, kind.activations(), &rows);
            let out = product(isa, &matrix, &rows, &[]);
            for (i, &y) in out.iter().enumerate() {
                let (expected, size) = reference(isa, &matrix, &activations, i / n, i % n);
                let error = (f64::from(y) - expected).abs();
                prop_assert!(error <= 2e-6 * size + 1e-9, "{isa}: {y}, not {expected}, at {i}");
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_number_or_on_any_split(
        kind in kinds(),
        n in 1usize..200,
        k in prop_oneof![1usize..200, Just(640), Just(2048)],
        m in 1usize..=70,
        threads in 1usize..4,
        borders in prop::array::uniform3(0usize..7),
    ) {
        let inputs = numbers(5, m * k);
        let rows: Vec<&[f32]> = inputs.chunks(k).collect();
        for isa in Isa::supported() {
            let matrix = pack(isa, kind, n, k, threads);
            let whole = product(isa, &pack(isa, kind, n, k, 1), &rows, &[]);
            let split = product(isa, &matrix, &rows, &borders);
            prop_assert_eq!(bits(&whole), bits(&split), "{}", isa);
            let some = rows.iter().enumerate().step_by(1 + m / 8);
            for (row, &inputs) in some {
                let alone = product(isa, &matrix, &[inputs], &[]);
                let together = &whole[row * n..(row + 1) * n];
                prop_assert_eq!(bits(&alone), bits(together), "{} row {}", isa, row);
            }
        }
    }

    #[test]
    fn tiles_give_8_bits_what_vectors_give(
        n in 1usize..100,
        k in prop_oneof![1usize..200, Just(640), Just(2048)],
        m in 1usize..=70,
    ) {
        let inputs = numbers(5, m * k);
        let rows: Vec<&[f32]> = inputs.chunks(k).collect();
        let [tiles, vectors] = [Isa::Amx, Isa::Avx512Dot].map(|isa| {
            isa.is_supported().then(|| {
                let matrix = pack(isa, WeightKind::Int8, n, k, 1);
                bits(&product(isa, &matrix, &rows, &[]))
            })
        });
        if tiles.is_some() {
            prop_assert_eq!(tiles, vectors);
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let k = 96;
    let inputs = numbers(1, 9 * k);
    let rows: Vec<&[f32]> = inputs.chunks(k).collect();
    for (kind, isa) in WeightKind::ALL
        .into_iter()
        .flat_map(|kind| Isa::supported().map(move |isa| (kind, isa)))
    {
        let matrix = pack(isa, kind, 40, k, 1);
        let clean = product(isa, &matrix, &rows, &[]);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut poisoned = inputs.clone();
            poisoned[4 * k + 50] = bad;
            let poisoned: Vec<&[f32]> = poisoned.chunks(k).collect();
            let out = product(isa, &matrix, &poisoned, &[]);
            for (row, (out, clean)) in out.chunks(40).zip(clean.chunks(40)).enumerate() {
                if row == 4 {
                    assert!(out.iter().all(|y| !y.is_finite()), "{isa} {kind:?} {bad}");
                } else {
                    assert_eq!(bits(out), bits(clean), "{isa} {kind:?} {bad}");
                }
            }
        }
    }
}

#[test]
fn a_gate_joins_its_factor_and_its_bias() {
    let (half, k, m) = (41, 64, 9);
    let (gate, up) = (bytes(&numbers(1, half * k)), bytes(&numbers(2, half * k)));
    let source = |data| Source::new(SourceKind::F32, half, k, data).unwrap();
    let sources = [source(&gate), source(&up)];
    let bias = numbers(4, 2 * half);
    let inputs = numbers(3, m * k);
    let rows: Vec<&[f32]> = inputs.chunks(k).collect();
    for (kind, isa) in WeightKind::ALL
        .into_iter()
        .flat_map(|kind| Isa::supported().map(move |isa| (kind, isa)))
    {
        let pack = |arrangement| {
            let mut arenas = [Arena::new(), Arena::new()];
            let matrix = Matrix::pack(isa, kind, &sources, arrangement, &mut arenas).unwrap();
            matrix.with_bias(&bias).unwrap()
        };
        let paired = pack(Arrangement::GateUp);
        let apart = product(isa, &pack(Arrangement::Stacked), &rows, &[]);
        let activations = quantize(isa, kind.activations(), &rows);
        let mut out = vec![0.0; m * half];
        let output = Output::new(&mut out, half, Join::Gated(Activation::Silu));
        // SAFETY: no other thread has them.
        unsafe { multiply(isa, &paired, &activations, 0..paired.num_panels(), &output) };
        for (i, &y) in out.iter().enumerate() {
            let row = &apart[i / half * 2 * half..];
            let (gate, up) = (row[i % half], row[half + i % half]);
            let expected = gate / (1.0 + (-gate).exp()) * up;
            assert!(
                (y - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                "{isa} {kind:?}"
            );
        }
        let (mut one, mut other) = (vec![0.0; k], vec![0.0; k]);
        for row in 0..2 * half {
            paired.row(isa, row, &mut one);
            pack(Arrangement::Stacked).row(isa, row, &mut other);
            assert_eq!(one, other, "{isa} {kind:?} row {row}");
        }
    }
}

#[test]
fn a_residual_is_added_with_its_factor() {
    let (n, k) = (50, 64);
    let inputs = numbers(3, 2 * k);
    let rows: Vec<&[f32]> = inputs.chunks(k).collect();
    for isa in Isa::supported() {
        let matrix = pack(isa, WeightKind::Bf16, n, k, 1);
        let plain = product(isa, &matrix, &rows, &[]);
        let activations = quantize(isa, ActivationFormat::Bf16, &rows);
        let before = numbers(9, 2 * (n + 3));
        let mut out = before.clone();
        let output = Output::new(&mut out, n + 3, Join::Add { factor: 0.5 });
        // SAFETY: no other thread has them.
        unsafe { multiply(isa, &matrix, &activations, 0..matrix.num_panels(), &output) };
        for (i, (&y, &x)) in out.iter().zip(&before).enumerate() {
            let (row, col) = (i / (n + 3), i % (n + 3));
            let added = if col < n { plain[row * n + col] } else { 0.0 };
            assert_eq!(y, added.mul_add(0.5, x), "{isa}");
        }
    }
}
