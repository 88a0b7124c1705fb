//! Tiny random decoders and the pages of their sequences.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::attention::{KvKind, PAGE_TOKENS, Pages};
use crate::decoder::{
    Activation, Decoder, Options, Plan, QkNorm, Rope, Spec, Tensors, WeightChoice,
};
use crate::matmul::{Source, SourceKind};
use crate::simd::Isa;

const VOCAB: usize = 90;
const HIDDEN: usize = 72;
const INNER: usize = 104;
const LAYERS: usize = 2;
const NUM_PAGES: usize = 160;

/// What is random about a decoder beside its weights.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) weights: WeightChoice,
    pub(super) kv: KvKind,
    pub(super) isa: Isa,
    /// Query heads, key-value heads, cells of a head.
    pub(super) heads: (usize, usize, usize),
    /// Of the second layer.
    pub(super) window: Option<usize>,
    pub(super) qk_norm: QkNorm,
    pub(super) post_norms: bool,
    pub(super) biases: bool,
    pub(super) tied: bool,
    pub(super) softcaps: bool,
}

/// A decoder over pages that hold NaN until they are written, handed out in random order.
pub(super) struct Rig {
    decoder: Decoder,
    free: Vec<i32>,
    copies: Vec<i32>,
    _memory: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "reached by address")] [u8; 64]);

/// Tokens and the pages of those computed.
pub(super) struct Sequence {
    tokens: Vec<u32>,
    computed: usize,
    pages: Vec<i32>,
}

/// Some more tokens of a sequence.
pub(super) struct Work<'a> {
    sequence: &'a mut Sequence,
    count: usize,
}

impl Sequence {
    pub(super) fn is_done(&self) -> bool {
        self.computed == self.tokens.len()
    }
}

impl<'a> Work<'a> {
    /// Up to `count` tokens.
    pub(super) fn new(sequence: &'a mut Sequence, count: usize) -> Self {
        let count = count.min(sequence.tokens.len() - sequence.computed);
        Self { sequence, count }
    }
}

impl Rig {
    pub(super) fn new(shape: &Shape, threads: usize, sharing: bool, seed: u64) -> Self {
        let spec = spec(shape);
        let data = weights(&spec);
        let tensors: Tensors<'_> = data
            .iter()
            .map(|(name, rows, cols, bytes)| {
                let source = Source::new(SourceKind::F32, *rows, *cols, bytes);
                (name.clone(), source.expect("the sizes are right"))
            })
            .collect();
        let options = Options {
            weights: shape.weights,
            kv: shape.kv,
            num_threads: NonZeroUsize::new(threads).expect("not 0"),
            isa: shape.isa,
            sharing,
        };
        let mut decoder = Decoder::load(spec, &tensors, options, |_, _| {}).expect("it loads");
        let page_bytes = decoder.layout().page_bytes();
        let mut memory = vec![Line([0xff; 64]); NUM_PAGES * page_bytes / 64];
        let base = NonNull::new(memory.as_mut_ptr().cast()).expect("memory");
        // SAFETY: the memory has that many bytes and lives as long as the rig.
        let pages = unsafe { Pages::new(*decoder.layout(), base, NUM_PAGES) };
        decoder.bind(pages, 1);
        let mut free: Vec<i32> = (0..NUM_PAGES as i32).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for i in (1..free.len()).rev() {
            free.swap(i, random.next_u32() as usize % (i + 1));
        }
        Self {
            decoder,
            free,
            copies: Vec::new(),
            _memory: memory,
        }
    }

    pub(super) fn start(&mut self, tokens: Vec<u32>) -> Sequence {
        Sequence {
            tokens,
            computed: 0,
            pages: Vec::new(),
        }
    }

    pub(super) fn end(&mut self, sequence: Sequence) {
        self.free.extend(sequence.pages);
    }

    /// Takes all pages behind the first `kept` tokens from a sequence, and has another one write to
    /// them.
    pub(super) fn evict(&mut self, sequence: &mut Sequence, kept: usize, seed: u64) {
        let kept_pages = kept.div_ceil(PAGE_TOKENS).min(sequence.pages.len());
        let freed = sequence.pages.split_off(kept_pages);
        let length = freed.len() * PAGE_TOKENS;
        self.free.extend(freed);
        sequence.computed = sequence.computed.min(kept);
        if length > 0 {
            let mut other = self.start(sequences(&[length], 0, !seed).remove(0));
            self.step(&mut [Work::new(&mut other, length)]);
            self.end(other);
        }
    }

    /// A sequence that finds the first tokens it has in common with `other` computed, `most` of them
    /// at most, and never its last one. As after a hit: a page that it goes on within is copied, those
    /// before are shared.
    pub(super) fn go_on(&mut self, other: &Sequence, tokens: &[u32], most: usize) -> Sequence {
        let pairs = other.tokens[..other.computed].iter().zip(tokens);
        let common = pairs.take_while(|(a, b)| a == b).count();
        let cut = common.min(most).min(tokens.len() - 1);
        let mut pages = other.pages[..cut.div_ceil(PAGE_TOKENS)].to_vec();
        if !cut.is_multiple_of(PAGE_TOKENS) {
            let last = pages.last_mut().expect("a page");
            let copy = self.free.pop().expect("a free page");
            self.copies.extend([*last, copy]);
            *last = copy;
        }
        Sequence {
            tokens: tokens.to_vec(),
            computed: cut,
            pages,
        }
    }

    /// The bits of the logits of every row, sequence by sequence.
    pub(super) fn step(&mut self, work: &mut [Work<'_>]) -> Vec<Vec<Vec<u32>>> {
        let (mut tokens, mut query_starts, mut contexts) = (Vec::new(), vec![0], Vec::new());
        let (mut pages, mut page_starts) = (Vec::new(), vec![0]);
        for Work { sequence, count } in &mut *work {
            let end = sequence.computed + *count;
            while sequence.pages.len() * PAGE_TOKENS < end {
                sequence.pages.push(self.free.pop().expect("a free page"));
            }
            tokens.extend(&sequence.tokens[sequence.computed..end]);
            query_starts.push(tokens.len() as i32);
            contexts.push(sequence.computed as i32);
            pages.extend(&sequence.pages);
            page_starts.push(pages.len() as i32);
            sequence.computed = end;
        }
        let plan = Plan {
            copies: &std::mem::take(&mut self.copies),
            tokens: &tokens,
            query_starts: &query_starts,
            context_lengths: &contexts,
            page_starts: &page_starts,
            pages: &pages,
            sample_rows: &(0..tokens.len() as i32).collect::<Vec<_>>(),
        };
        let logits = self.decoder.logits(&plan).expect("the plan fits");
        let mut rows = logits
            .chunks_exact(VOCAB)
            .map(|row| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        assert!(logits.iter().all(|x| x.is_finite()), "logits are numbers");
        work.iter()
            .map(|work| rows.by_ref().take(work.count).collect())
            .collect()
    }
}

/// Random tokens: sequences that begin with the same `shared` ones, each with as many of its own.
pub(super) fn sequences(lengths: &[usize], shared: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut token = || random.next_u32() % VOCAB as u32;
    let common: Vec<u32> = (0..shared).map(|_| token()).collect();
    lengths
        .iter()
        .map(|&length| {
            let own: Vec<u32> = (0..length).map(|_| token()).collect();
            [common.clone(), own].concat()
        })
        .collect()
}

fn spec(shape: &Shape) -> Spec {
    let (num_heads, num_kv_heads, head_dim) = shape.heads;
    Spec {
        architecture: "Test".to_owned(),
        vocab_size: VOCAB,
        hidden_size: HIDDEN,
        intermediate_size: INNER,
        num_layers: LAYERS,
        num_heads,
        num_kv_heads,
        head_dim,
        max_positions: 640,
        norm_eps: 1e-5,
        attention_scale: (head_dim as f32).sqrt().recip(),
        layer_windows: vec![None, shape.window],
        ropes: vec![Rope {
            frequencies: (0..head_dim / 2).map(|i| 0.5f32.powi(i as i32)).collect(),
            attention_factor: 1.0,
        }],
        layer_ropes: vec![Some(0), None],
        activation: Activation::Silu,
        pre_norms: true,
        post_norms: shape.post_norms,
        norm_offset: 1.0,
        qk_norm: shape.qk_norm,
        attention_softcap: shape.softcaps.then_some(20.0),
        logit_softcap: shape.softcaps.then_some(30.0),
        embedding_multiplier: 1.5,
        residual_multiplier: 0.7,
        logit_multiplier: 1.0,
        qkv_bias: shape.biases,
        output_bias: shape.biases,
        mlp_bias: shape.biases,
        tied_embeddings: shape.tied,
    }
}

/// Name, rows, columns and bytes of every tensor that the description wants.
fn weights(spec: &Spec) -> Vec<(String, usize, usize, Vec<u8>)> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut tensors = Vec::new();
    let mut add = |name: String, rows: usize, cols: usize| {
        let scale = if rows == 1 {
            0.2
        } else {
            2.0 / (cols as f32).sqrt()
        };
        let value = |x: u32| (x as f32 / u32::MAX as f32 - 0.5) * scale;
        let cells = (0..rows * cols).flat_map(|_| value(random.next_u32()).to_le_bytes());
        tensors.push((name, rows, cols, cells.collect()));
    };
    let (queries, shared) = (spec.query_size(), spec.kv_size());
    add("model.embed_tokens.weight".to_owned(), VOCAB, HIDDEN);
    add("lm_head.weight".to_owned(), VOCAB, HIDDEN);
    add("model.norm.weight".to_owned(), 1, HIDDEN);
    let per_head = spec.qk_norm == QkNorm::Head;
    for layer in 0..LAYERS {
        let prefix = format!("model.layers.{layer}");
        for (name, rows, cols) in [
            ("self_attn.q_proj", queries, HIDDEN),
            ("self_attn.k_proj", shared, HIDDEN),
            ("self_attn.v_proj", shared, HIDDEN),
            ("self_attn.o_proj", HIDDEN, queries),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.up_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
        ] {
            add(format!("{prefix}.{name}.weight"), rows, cols);
            add(format!("{prefix}.{name}.bias"), 1, rows);
        }
        for name in [
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ] {
            add(format!("{prefix}.{name}.weight"), 1, HIDDEN);
        }
        let [q, k] = if per_head {
            [spec.head_dim; 2]
        } else {
            [queries, shared]
        };
        add(format!("{prefix}.self_attn.q_norm.weight"), 1, q);
        add(format!("{prefix}.self_attn.k_norm.weight"), 1, k);
    }
    tensors
}
