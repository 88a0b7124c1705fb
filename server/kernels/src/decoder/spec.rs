//! What a decoder is, as the shard's translation of a model's configuration says it.

use serde::Deserialize;

/// A decoder with RMS norms, causal attention over grouped queries and a gated MLP.
///
/// One JSON object; `models/spec.py` (`DecoderSpec.resolved`) owns the meaning of its fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Hugging Face's name of the model's class.
    pub architecture: String,
    /// Tokens there are.
    pub vocab_size: usize,
    /// Cells of a hidden state.
    pub hidden_size: usize,
    /// Cells between the two halves of the MLP.
    pub intermediate_size: usize,
    /// Layers there are.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Cells of a head.
    pub head_dim: usize,
    /// Longest sequence the model was made for.
    pub max_positions: usize,
    /// Added to the mean square in norms.
    pub norm_eps: f32,
    /// Multiplies the scores of queries and keys.
    pub attention_scale: f32,
    /// [num_layers] tokens that a token attends to, itself included; all, if absent.
    pub layer_windows: Vec<Option<usize>>,
    /// The rotary embeddings there are.
    pub ropes: Vec<Rope>,
    /// [num_layers] index into `ropes`; not rotated, if absent.
    pub layer_ropes: Vec<Option<usize>>,
    /// The gate's activation.
    pub activation: Activation,
    /// Whether attention and MLP read a normalised input.
    pub pre_norms: bool,
    /// Whether what attention and MLP add is normalised.
    pub post_norms: bool,
    /// Added to the weight of every norm.
    pub norm_offset: f32,
    /// What of queries and keys is normalised before the rope.
    pub qk_norm: QkNorm,
    /// Bends attention scores s to cap * tanh(s / cap).
    pub attention_softcap: Option<f32>,
    /// The same for logits, after their multiplier.
    pub logit_softcap: Option<f32>,
    /// Multiplies the token's embedding.
    pub embedding_multiplier: f32,
    /// Multiplies what attention and MLP add.
    pub residual_multiplier: f32,
    /// Multiplies the logits.
    pub logit_multiplier: f32,
    /// Whether the projections before attention have a bias.
    pub qkv_bias: bool,
    /// Whether the projection after attention has a bias.
    pub output_bias: bool,
    /// Whether the projections of the MLP have a bias.
    pub mlp_bias: bool,
    /// Whether the head is the embedding matrix.
    pub tied_embeddings: bool,
}

/// A rotary embedding, its scaling resolved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Radians per position, one for each pair of cells.
    pub frequencies: Vec<f32>,
    /// Multiplies cosines and sines.
    pub attention_factor: f32,
}

/// The gate's activation in the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x * sigmoid(x)
    Silu,
    /// x * Φ(x)
    Gelu,
    /// The approximation of GELU by a hyperbolic tangent.
    GeluTanh,
}

/// What of the queries and keys an RMS norm spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// Nothing.
    None,
    /// Each head by itself.
    Head,
    /// All heads of a token together.
    Projection,
}

impl Spec {
    /// Cells of all query heads.
    #[must_use]
    pub fn query_size(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Cells of all key heads, and of all value heads.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// Checks what `models/spec.py` promises, so that nothing behind needs to.
    ///
    /// # Errors
    /// The first number that describes no decoder.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 24),
            ("intermediate_size", self.intermediate_size, 1 << 24),
            ("num_layers", self.num_layers, 1 << 12),
            ("num_heads", self.num_heads, 1 << 16),
            ("num_kv_heads", self.num_kv_heads, 1 << 16),
            ("head_dim", self.head_dim, 1 << 16),
            ("max_positions", self.max_positions, 1 << 30),
        ];
        for (name, size, limit) in sizes {
            if !(1..=limit).contains(&size) {
                return Err(format!("{name} is {size}, expected 1 to {limit}"));
            }
        }
        let (heads, kv_heads) = (self.num_heads, self.num_kv_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} heads are no multiple of {kv_heads} kv heads"
            ));
        }
        self.check_numbers()?;
        self.check_layers()
    }

    fn check_numbers(&self) -> Result<(), String> {
        let positive = [
            ("attention_scale", Some(self.attention_scale)),
            ("attention_softcap", self.attention_softcap),
            ("logit_softcap", self.logit_softcap),
            ("embedding_multiplier", Some(self.embedding_multiplier)),
            ("residual_multiplier", Some(self.residual_multiplier)),
            ("logit_multiplier", Some(self.logit_multiplier)),
        ];
        for (name, number) in positive {
            if let Some(number) = number
                && !(number > 0.0 && number.is_finite())
            {
                return Err(format!("{name} is {number}, expected a number above 0"));
            }
        }
        let (eps, offset) = (self.norm_eps, self.norm_offset);
        if !(eps >= 0.0 && eps.is_finite()) {
            return Err(format!("norm_eps is {eps}, expected a number from 0 on"));
        }
        match offset.is_finite() {
            true => Ok(()),
            false => Err(format!("norm_offset is {offset}, expected a number")),
        }
    }

    fn check_layers(&self) -> Result<(), String> {
        for (name, length) in [
            ("layer_windows", self.layer_windows.len()),
            ("layer_ropes", self.layer_ropes.len()),
        ] {
            if length != self.num_layers {
                let expected = self.num_layers;
                return Err(format!("{name} has {length} entries, expected {expected}"));
            }
        }
        if let Some(rope) = self
            .layer_ropes
            .iter()
            .flatten()
            .find(|&&r| r >= self.ropes.len())
        {
            return Err(format!("a layer has rope {rope} of {}", self.ropes.len()));
        }
        if self.layer_windows.contains(&Some(0)) {
            return Err("an attention window is 0, expected at least 1".to_owned());
        }
        self.ropes
            .iter()
            .try_for_each(|rope| rope.check(self.head_dim))
    }
}

impl Rope {
    fn check(&self, head_dim: usize) -> Result<(), String> {
        let cells = 2 * self.frequencies.len();
        if cells > head_dim {
            return Err(format!(
                "a rope turns {cells} cells of a head of {head_dim}"
            ));
        }
        let mut numbers = self.frequencies.iter().chain([&self.attention_factor]);
        match numbers.find(|number| !number.is_finite()) {
            Some(number) => Err(format!(
                "a rope has the number {number}, expected a finite one"
            )),
            None => Ok(()),
        }
    }
}
