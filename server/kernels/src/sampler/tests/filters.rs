//! Nucleus and typical tokens, by their definitions.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn top_p_finds_the_same_set_however_large_the_vocabulary(seed in any::<u64>(), top_p in 0.01f32..0.999) {
        // More candidates than the first look, nearly flat: several looks are needed.
        let logits: Vec<f32> = (0..5000u64).map(|i| (uniform(seed, i as u32) * 0.5) as f32).collect();
        let scan = Scan::new(Isa::detect(), &logits, Scale::UNMODIFIED);
        let mut candidates = Candidates::nucleus(Isa::detect(), &logits, &scan, top_p);
        candidates.keep_top_p(top_p, scan.total());
        let probabilities = softmax(&logits);
        let mut sorted = probabilities.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let drawn: Vec<u32> = (0..50).map(|i| candidates.pick(f64::from(i) / 50.0)).collect();
        let mut sum = 0.0;
        let last = sorted.iter().find(|&&p| { sum += p; sum >= f64::from(top_p) - 1e-6 });
        let least = last.copied().unwrap_or(0.0) * (1.0 - 1e-4);
        prop_assert!(drawn.iter().all(|&id| probabilities[id as usize] >= least));
    }

    #[test]
    fn typical_keeps_the_tokens_nearest_to_the_entropy(
        logits in prop::collection::vec(-4.0f32..4.0, 1000),
        typical_p in 0.05f32..0.999,
    ) {
        let scan = Scan::new(Isa::detect(), &logits, Scale::UNMODIFIED);
        let candidates = Candidates::typical(Isa::detect(), &logits, &scan, typical_p);
        let probabilities = softmax(&logits);
        let entropy: f64 = probabilities.iter().map(|p| -p * p.ln()).sum();
        let distance = |id: usize| (-probabilities[id].ln() - entropy).abs();
        let mut ids: Vec<usize> = (0..logits.len()).collect();
        ids.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        let mut mass = 0.0;
        let last = ids.iter().find(|&&id| {
            mass += probabilities[id];
            mass >= f64::from(typical_p) - 1e-6
        });
        let furthest = distance(*last.expect("all have a mass of 1")) + 1e-4;
        for step in 0..50 {
            let id = candidates.pick(f64::from(step) / 50.0) as usize;
            prop_assert!(distance(id) <= furthest, "{} beyond {furthest}", distance(id));
        }
    }
}

#[test]
fn typical_drops_the_least_surprising_token_too() {
    // One likely token and many equal ones: the expected surprise is near that of the many.
    let mut logits = vec![0.0f32; VOCAB];
    logits[3] = 2.0;
    let params = SamplingParams {
        temperature: 1.0,
        typical_p: 0.5,
        ..SamplingParams::default()
    };
    let drawn: Vec<u32> = (0..200)
        .map(|position| one(params, &logits, position).token)
        .collect();
    assert!(!drawn.contains(&3));
}
