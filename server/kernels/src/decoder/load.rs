//! Packs a model's tensors in the order in which a step reads them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use super::model::{Layer, Model, Part, Projection};
use super::spec::{QkNorm, Spec};
use super::{LoadError, Options};
use crate::matmul::{Arena, Arrangement, Matrix, Packing, Source, WeightKind};
use crate::threads::Team;

/// A model's tensors by Hugging Face's names; a vector is a matrix of one row.
pub type Tensors<'a> = HashMap<String, Source<'a>>;

impl Model {
    /// Packs the weights with all threads of the team.
    ///
    /// `progress` is told after each layer how many of all are packed.
    pub(super) fn load(
        spec: Spec,
        tensors: &Tensors<'_>,
        options: &Options,
        team: &mut Team,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, LoadError> {
        let windows: Vec<_> = BTreeSet::from_iter(spec.layer_windows.iter().copied())
            .into_iter()
            .collect();
        let mut loader = Loader::new(&spec, tensors, options, team);
        let embedding = match spec.tied_embeddings {
            true => None,
            false => Some(loader.embedding()?),
        };
        let mut layers = Vec::with_capacity(spec.num_layers);
        for index in 0..spec.num_layers {
            layers.push(loader.layer(index, &windows)?);
            progress(index + 1, spec.num_layers);
        }
        let norm = loader.norm("model.norm.weight", spec.hidden_size)?;
        let head = loader.head()?;
        Ok(Self {
            spec,
            isa: options.isa,
            windows,
            embedding,
            layers,
            norm,
            head,
        })
    }
}

/// Takes tensors by name and packs them, in the order of its calls.
struct Loader<'a, 't> {
    spec: &'a Spec,
    tensors: &'a Tensors<'t>,
    options: &'a Options,
    team: &'a mut Team,
    arenas: Vec<Arena>,
}

impl<'a, 't> Loader<'a, 't> {
    fn new(
        spec: &'a Spec,
        tensors: &'a Tensors<'t>,
        options: &'a Options,
        team: &'a mut Team,
    ) -> Self {
        let arenas = (0..team.count()).map(|_| Arena::new()).collect();
        Self {
            spec,
            tensors,
            options,
            team,
            arenas,
        }
    }

    fn layer(&mut self, index: usize, windows: &[Option<usize>]) -> Result<Layer, LoadError> {
        let spec = self.spec;
        let prefix = format!("model.layers.{index}.");
        let (hidden, inner) = (spec.hidden_size, spec.intermediate_size);
        let (queries, shared) = (spec.query_size(), spec.kv_size());
        let [pre_attention, post_attention, pre_mlp, post_mlp] = self.layer_norms(&prefix)?;
        let (q_length, k_length) = match spec.qk_norm {
            QkNorm::Projection => (queries, shared),
            QkNorm::Head | QkNorm::None => (spec.head_dim, spec.head_dim),
        };
        let has_qk_norm = spec.qk_norm != QkNorm::None;
        let attention = |name: &str| format!("{prefix}self_attn.{name}");
        let mlp = |name: &str| format!("{prefix}mlp.{name}_proj");
        Ok(Layer {
            pre_attention,
            post_attention,
            pre_mlp,
            post_mlp,
            q_norm: self.norm_if(has_qk_norm, &attention("q_norm.weight"), q_length)?,
            k_norm: self.norm_if(has_qk_norm, &attention("k_norm.weight"), k_length)?,
            qkv: self.stacked(
                &[
                    (attention("q_proj"), queries),
                    (attention("k_proj"), shared),
                    (attention("v_proj"), shared),
                ],
                hidden,
                spec.qkv_bias,
            )?,
            output: self.stacked(&[(attention("o_proj"), hidden)], queries, spec.output_bias)?,
            gate_up: self.gate_up(&[mlp("gate"), mlp("up")], (inner, hidden))?,
            down: self.stacked(&[(mlp("down"), hidden)], inner, spec.mlp_bias)?,
            rope: spec.layer_ropes[index],
            window: windows
                .iter()
                .position(|window| *window == spec.layer_windows[index])
                .expect("every layer's window is among them"),
        })
    }

    /// Before and after attention, before and after the MLP. The names are those of
    /// `DecoderSpec.layer_norms`.
    fn layer_norms(&self, prefix: &str) -> Result<[Option<Vec<f32>>; 4], LoadError> {
        let (pre, post) = (self.spec.pre_norms, self.spec.post_norms);
        let norm = |wanted, name: &str| {
            let name = format!("{prefix}{name}_layernorm.weight");
            self.norm_if(wanted, &name, self.spec.hidden_size)
        };
        let pre_mlp = if post {
            "pre_feedforward"
        } else {
            "post_attention"
        };
        Ok([
            norm(pre, "input")?,
            norm(post, "post_attention")?,
            norm(pre, pre_mlp)?,
            norm(post, "post_feedforward")?,
        ])
    }

    fn embedding(&mut self) -> Result<Matrix, LoadError> {
        let name = "model.embed_tokens";
        let source = self.matrix(name, self.spec.vocab_size, self.spec.hidden_size)?;
        let kind = self.options.weights.outer(source.kind());
        self.pack(kind, &[source], Arrangement::Stacked, name)
    }

    fn head(&mut self) -> Result<Projection, LoadError> {
        let name = match self.spec.tied_embeddings {
            true => "model.embed_tokens",
            false => "lm_head",
        };
        let source = self.matrix(name, self.spec.vocab_size, self.spec.hidden_size)?;
        let kind = self.options.weights.outer(source.kind());
        let matrix = self.pack(kind, &[source], Arrangement::Stacked, name)?;
        Ok(Projection::whole(matrix))
    }

    /// Neighbours whose weights are of one kind become one matrix.
    fn stacked(
        &mut self,
        wanted: &[(String, usize)],
        cols: usize,
        has_bias: bool,
    ) -> Result<Projection, LoadError> {
        let mut parts = Vec::new();
        let mut first_output = 0;
        let sources = wanted
            .iter()
            .map(|(name, rows)| self.matrix(name, *rows, cols))
            .collect::<Result<Vec<_>, _>>()?;
        let kinds: Vec<_> = sources
            .iter()
            .map(|source| self.options.weights.inner(source.kind()))
            .collect();
        let mut start = 0;
        for group in kinds.chunk_by(PartialEq::eq) {
            let (kind, range) = (group[0], start..start + group.len());
            start = range.end;
            let names: Vec<&str> = wanted[range.clone()]
                .iter()
                .map(|(name, _)| &**name)
                .collect();
            let matrix = self.pack(
                kind,
                &sources[range],
                Arrangement::Stacked,
                &names.join(", "),
            )?;
            let matrix = self.with_biases(matrix, &names, has_bias)?;
            let rows = matrix.rows();
            parts.push(Part {
                matrix,
                first_output,
            });
            first_output += rows;
        }
        Ok(Projection { parts })
    }

    fn gate_up(
        &mut self,
        names: &[String; 2],
        (rows, cols): (usize, usize),
    ) -> Result<Projection, LoadError> {
        let gate = self.matrix(&names[0], rows, cols)?;
        let up = self.matrix(&names[1], rows, cols)?;
        let kind = self.options.weights.gate_up([gate.kind(), up.kind()]);
        let matrix = self.pack(kind, &[gate, up], Arrangement::GateUp, &names.join(", "))?;
        let names = names.each_ref().map(String::as_str);
        let matrix = self.with_biases(matrix, &names, self.spec.mlp_bias)?;
        Ok(Projection::whole(matrix))
    }

    fn with_biases(
        &self,
        matrix: Matrix,
        names: &[&str],
        has_bias: bool,
    ) -> Result<Matrix, LoadError> {
        if !has_bias {
            return Ok(matrix);
        }
        let mut bias = Vec::with_capacity(matrix.rows());
        for name in names {
            let length = self.source(&format!("{name}.weight"))?.rows();
            bias.extend(self.vector(&format!("{name}.bias"), length)?);
        }
        matrix.with_bias(&bias).map_err(|error| LoadError::Pack {
            names: names.join(", "),
            error,
        })
    }

    fn pack(
        &mut self,
        kind: WeightKind,
        sources: &[Source<'t>],
        arrangement: Arrangement,
        names: &str,
    ) -> Result<Matrix, LoadError> {
        let failed = |error| LoadError::Pack {
            names: names.to_owned(),
            error,
        };
        let packing = Packing::new(kind, sources, arrangement, &mut self.arenas).map_err(failed)?;
        let outcome = Mutex::new(Ok(()));
        self.team.run(|member| {
            let panels = member.share(packing.matrix().num_panels(), 1);
            if let Err(error) = packing.pack(self.options.isa, panels) {
                *outcome.lock().unwrap_or_else(|lock| lock.into_inner()) = Err(error);
            }
        })?;
        let outcome = outcome
            .into_inner()
            .unwrap_or_else(|lock| lock.into_inner());
        outcome.and_then(|()| packing.finish()).map_err(failed)
    }

    fn norm_if(
        &self,
        wanted: bool,
        name: &str,
        length: usize,
    ) -> Result<Option<Vec<f32>>, LoadError> {
        wanted.then(|| self.norm(name, length)).transpose()
    }

    fn norm(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let mut weight = self.vector(name, length)?;
        weight.iter_mut().for_each(|x| *x += self.spec.norm_offset);
        Ok(weight)
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        let source = self.source(name)?;
        self.check_shape(name, source, 1, length)?;
        let mut values = vec![0.0; length];
        source.row(0, &mut values);
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(LoadError::NotFinite(name.to_owned())),
        }
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Source<'t>, LoadError> {
        let name = format!("{name}.weight");
        let source = self.source(&name)?;
        self.check_shape(&name, source, rows, cols)?;
        Ok(*source)
    }

    fn source(&self, name: &str) -> Result<&'a Source<'t>, LoadError> {
        self.tensors
            .get(name)
            .ok_or_else(|| LoadError::Missing(name.to_owned()))
    }

    fn check_shape(
        &self,
        name: &str,
        source: &Source<'_>,
        expected_rows: usize,
        expected_cols: usize,
    ) -> Result<(), LoadError> {
        let (rows, cols) = (source.rows(), source.cols());
        if (rows, cols) == (expected_rows, expected_cols) {
            return Ok(());
        }
        Err(LoadError::Shape {
            name: name.to_owned(),
            rows,
            cols,
            expected_rows,
            expected_cols,
        })
    }
}
