use proptest::prelude::*;

use super::*;

/// A row of a few blocks, with ties, impossible tokens and a rest that fills no vector.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        6 => -30.0f32..30.0,
        2 => (-4i8..4).prop_map(f32::from),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
    ];
    prop::collection::vec(logit, 1..3 * BLOCK)
}

/// The possible ones, from the largest, by id among equals.
fn sorted(logits: &[f32]) -> Vec<(u32, f32)> {
    let all = (0..).zip(logits.iter().copied());
    let mut possible: Vec<(u32, f32)> = all.filter(|(_, x)| *x > f32::NEG_INFINITY).collect();
    possible.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("no NaN"));
    possible
}

fn weight_of(logit: f32, best: f32) -> f64 {
    Isa::detect().run(Weights {
        logits: &[logit],
        best,
        scale: Scale::UNMODIFIED,
    })[0]
        .into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_largest_are_those_of_a_sort(logits in rows(), n in 0..2000usize) {
        let expected = sorted(&logits);
        for isa in Isa::supported() {
            let scan = Scan::new(isa, &logits, Scale::UNMODIFIED);
            let largest = scan.largest(isa, &logits, n);
            prop_assert_eq!(&largest[..], &expected[..n.min(expected.len())]);
            if let Some((id, logit)) = expected.first() {
                prop_assert_eq!(scan.best(), *logit);
                prop_assert_eq!(scan.argmax(&logits), *id);
            }
        }
    }

    #[test]
    fn those_above_a_number_are_those_of_a_filter(logits in rows(), least in -35.0f32..35.0) {
        let least = least.round();
        let expected: Vec<(u32, f32)> =
            (0..).zip(logits.iter().copied()).filter(|&(_, logit)| logit >= least).collect();
        for isa in Isa::supported() {
            let scan = Scan::new(isa, &logits, Scale::UNMODIFIED);
            prop_assert_eq!(scan.at_least(isa, &logits, least), expected.clone());
        }
    }

    #[test]
    fn the_sum_is_close_to_the_exact_one_and_equal_on_all_processors(
        logits in rows(),
        temperature in 0.1f32..3.0,
    ) {
        let finite = || logits.iter().copied().filter(|logit| logit.is_finite());
        prop_assume!(finite().next().is_some());
        let best = f64::from(finite().fold(f32::NEG_INFINITY, f32::max));
        let temperature = f64::from(temperature);
        let exact: f64 = finite().map(|x| ((f64::from(x) - best) / temperature).exp()).sum();
        let totals: Vec<f64> = Isa::supported()
            .map(|isa| Scan::new(isa, &logits, Scale::of_temperature(temperature as f32)).total())
            .collect();
        prop_assert!((totals[0] - exact).abs() < 2e-6 * exact, "{} is not {exact}", totals[0]);
        prop_assert!(totals.iter().all(|total| *total == totals[0]), "{totals:?}");
    }

    #[test]
    fn a_draw_follows_the_cumulative_weights(logits in rows(), point in 0.0f64..1.0) {
        let scan = Scan::new(Isa::detect(), &logits, Scale::UNMODIFIED);
        prop_assume!(scan.best().is_finite());
        let weights: Vec<f64> = logits.iter().map(|&x| weight_of(x, scan.best())).collect();
        let total: f64 = weights.iter().sum();
        let picked = scan.pick(Isa::detect(), &logits, point) as usize;
        let before: f64 = weights[..picked].iter().sum();
        prop_assert!(weights[picked] > 0.0);
        prop_assert!(before / total <= point + 1e-5);
        prop_assert!((before + weights[picked]) / total >= point - 1e-5);
    }
}

#[test]
fn weights_are_close_to_the_exact_ones() {
    for step in 0..2000 {
        let x = -80.0 * step as f32 / 2000.0;
        let exact = f64::from(x).exp();
        let error = (weight_of(x, 0.0) - exact).abs() / exact;
        // The rounding of the exponent grows with it.
        assert!(error < 2e-7 + 8e-8 * f64::from(x.abs()), "{x}: {error}");
    }
    assert_eq!(weight_of(3.0, 3.0), 1.0);
    for x in [-1e30, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
        assert_eq!(weight_of(x, 0.0), 0.0);
    }
}

#[test]
fn the_largest_leave_out_what_is_impossible_and_zeros_are_equal() {
    let logits = [f32::NAN, -0.0, f32::NEG_INFINITY, 0.0, -1.0, f32::MIN];
    let scan = Scan::new(Isa::detect(), &logits, Scale::UNMODIFIED);
    let largest = scan.largest(Isa::detect(), &logits, 9);
    assert_eq!(largest, [(1, -0.0), (3, 0.0), (4, -1.0), (5, f32::MIN)]);
}

#[test]
fn a_row_without_any_possible_token_has_no_best() {
    for logits in [vec![f32::NAN; 700], vec![f32::NEG_INFINITY; 700]] {
        let scan = Scan::new(Isa::detect(), &logits, Scale::UNMODIFIED);
        assert_eq!(scan.best(), f32::NEG_INFINITY);
        assert!(scan.largest(Isa::detect(), &logits, 3).is_empty());
    }
}

#[test]
fn the_smallest_temperature_leaves_the_largest_logits_alone() {
    let mut logits = vec![1.0f32; 700];
    (logits[5], logits[600]) = (1.000_001, 1.000_001);
    let scan = Scan::new(Isa::detect(), &logits, Scale::of_temperature(1e-45));
    assert_eq!(scan.total(), 2.0);
    assert_eq!(scan.pick(Isa::detect(), &logits, 0.4), 5);
    assert_eq!(scan.pick(Isa::detect(), &logits, 0.6), 600);
}
