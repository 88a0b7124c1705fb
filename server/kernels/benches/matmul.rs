//! Products of SmolLM2-135M's shapes, and their share of what the machine can do: arithmetic by a
//! loop of nothing but dot products of vectors, which matrix tiles exceed, memory by reading, both
//! measured first. Every product is compared with plain loops before it is timed.
#![expect(unsafe_code, reason = "products are told that threads are apart")]
#![expect(clippy::print_stdout, reason = "shares are what this bench is for")]

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::hadamard;
use kernels::matmul::{
    Activations, Arena, Arrangement, Join, Matrix, Output, Source, SourceKind, WeightKind, multiply,
};
use kernels::simd::{Isa, Kernel, Simd};
use kernels::threads::{Member, Team};

/// [N, K] of a layer's four products.
const SHAPES: [(usize, usize); 4] = [(960, 576), (576, 576), (3072, 576), (576, 1536)];
/// So many that a pass over a product's weights finds none in a cache.
const COLD_LAYERS: usize = 30;
/// Enough for a time that can be measured, where arithmetic is the limit.
const WARM_LAYERS: usize = 3;
const ROWS: [usize; 9] = [1, 2, 4, 8, 12, 16, 32, 64, 512];

/// What the machine can do with a number of threads.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Operations a second, a multiplication and an addition being two.
    bf16: f64,
    int8: f64,
    /// Bytes a second.
    memory: f64,
}

impl Limits {
    fn measure(isa: Isa, team: &mut Team) -> Self {
        let bytes = vec![1u8; 256 << 20];
        let members = team.count() as f64;
        let bf16 = best(team, |_| isa.run(Peak::<true>)) / (members * f64::from(ROUNDS * 14 * 64));
        let int8 =
            best(team, |_| isa.run(Peak::<false>)) / (members * f64::from(ROUNDS * 14 * 128));
        let memory = best(team, |member| {
            let part = &bytes[member.share(bytes.len(), 4096)];
            isa.run(Read(part));
        });
        Self {
            bf16: 1.0 / bf16,
            int8: 1.0 / int8,
            memory: bytes.len() as f64 / memory,
        }
    }

    /// The operations a second that a kind's loop allows: in groups, floating-point work takes turns
    /// with the dot products, 8 of which serve a group.
    fn operations(&self, kind: WeightKind) -> f64 {
        match kind {
            WeightKind::Bf16 => self.bf16,
            WeightKind::Int8 => self.int8,
            WeightKind::Int8Group => self.int8 * 8.0 / 10.0,
            WeightKind::Int4Group | WeightKind::Int4Wide => self.int8 * 8.0 / 11.0,
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [bf16, int8, memory] = [self.bf16, self.int8, self.memory].map(|x| x / 1e9);
        write!(
            f,
            "limits: bf16 {bf16:.0} GFLOP/s, int8 {int8:.0} GOP/s, memory {memory:.1} GB/s"
        )
    }
}

/// Whether a product came as near to a limit as is asked of it, if anything is, by its shares of
/// memory and of arithmetic.
fn verdict(kind: WeightKind, rows: usize, [memory, arithmetic]: [f64; 2]) -> String {
    let (share, goal) = match (kind, rows) {
        (_, 1) => (memory, 0.85),
        (WeightKind::Bf16, 12..32) => (arithmetic, 0.80),
        (WeightKind::Bf16, 32..) => (arithmetic, 0.90),
        (_, 12..) => (arithmetic, 0.85),
        _ => return String::new(),
    };
    let word = if share >= goal { "pass" } else { "miss" };
    format!("; {word}: goal {:.0}%", 100.0 * goal)
}

/// Seconds of the fastest of a few runs.
fn best(team: &mut Team, work: impl Fn(&Member<'_>) + Sync) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..8 {
        let start = Instant::now();
        team.run(&work).expect("nothing fails");
        best = best.min(start.elapsed());
    }
    best.as_secs_f64()
}

const ROUNDS: u32 = 400_000;

/// 14 independent chains of dot products: bfloat16, or 8 bits.
struct Peak<const FLOAT: bool>;

impl<const FLOAT: bool> Kernel for Peak<FLOAT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let (a, b) = (
            S::splat_i(0x3f80_3f80),
            S::splat_i(std::hint::black_box(0x0101_0101)),
        );
        let mut floats = [S::splat(0.0); 14];
        let mut integers = [S::splat_i(0); 14];
        for _ in 0..ROUNDS {
            for i in 0..14 {
                if FLOAT {
                    floats[i] = S::dot_bf16(floats[i], a, b);
                } else {
                    integers[i] = S::dot_u8i8(integers[i], a, b);
                }
            }
        }
        for i in 0..14 {
            std::hint::black_box((S::sum(floats[i]), S::sum(S::to_f(integers[i]))));
        }
    }
}

struct Read<'a>(&'a [u8]);

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut sums = [S::splat_i(0); 4];
        for block in self.0.chunks_exact(256) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: within the block.
                *sum = S::add_i(*sum, unsafe { S::load_i(block.as_ptr().add(64 * i)) });
            }
        }
        std::hint::black_box(sums.map(|sum| S::sum(S::to_f(sum))));
    }
}

fn numbers(count: usize) -> Vec<f32> {
    let hash = |i: u32| (i.wrapping_mul(2_654_435_761) ^ i >> 7) as f32 / u32::MAX as f32;
    (0..count as u32).map(|i| hash(i) - 0.5).collect()
}

/// Weights between -0.5 and 0.5 of a kind that is packed without a search.
fn source(kind: WeightKind, n: usize, k: usize) -> (SourceKind, Vec<u8>) {
    // Half-precision scale, and minimum where there is one, of the blocks of GGUF files.
    let (kind, header, codes) = match kind {
        WeightKind::Bf16 | WeightKind::Int8 => {
            let values = numbers(n * k).into_iter();
            return (SourceKind::F32, values.flat_map(f32::to_le_bytes).collect());
        }
        WeightKind::Int8Group => (SourceKind::Q8_0, &[0x00, 0x1c][..], 32),
        _ => (SourceKind::Q4_1, &[0x00, 0x2c, 0x00, 0xb8][..], 16),
    };
    let noise = numbers(n * k / 32 * codes);
    let block = |noise: &[f32]| {
        let codes = noise.iter().map(|x| (x * 255.0) as i8 as u8);
        header.iter().copied().chain(codes).collect::<Vec<u8>>()
    };
    (kind, noise.chunks(codes).flat_map(block).collect())
}

/// Layers one after the other in each thread's memory.
fn layers(isa: Isa, kind: WeightKind, count: usize, threads: usize) -> Vec<[Matrix; 4]> {
    let mut arenas: Vec<Arena> = (0..threads).map(|_| Arena::new()).collect();
    let sources = SHAPES.map(|(n, k)| source(kind, n, k));
    let mut pack = |shape: usize| {
        let (n, k) = SHAPES[shape];
        let (of, data) = &sources[shape];
        let source = Source::new(*of, n, k, data).expect("a whole matrix");
        Matrix::pack(isa, kind, &[source], Arrangement::Stacked, &mut arenas).expect("finite")
    };
    (0..count).map(|_| std::array::from_fn(&mut pack)).collect()
}

fn activations(isa: Isa, kind: WeightKind, rows: usize, cols: usize) -> Activations {
    let values = numbers(rows * cols);
    let mut packed = Activations::new(isa, kind.activations());
    packed.resize(rows, cols);
    // SAFETY: no other thread knows them.
    unsafe { packed.quantize(0..rows, None, |row| &values[row * cols..][..cols]) };
    packed
}

/// All products of one kind with a number of rows.
struct Pass<'a> {
    isa: Isa,
    layers: &'a [[Matrix; 4]],
    inputs: [Activations; 4],
    outputs: [Vec<f32>; 4],
}

impl<'a> Pass<'a> {
    fn new(isa: Isa, layers: &'a [[Matrix; 4]], rows: usize) -> Self {
        let kind = layers[0][0].kind();
        let pass = Self {
            isa,
            layers,
            inputs: SHAPES.map(|(_, k)| activations(isa, kind, rows, k)),
            outputs: SHAPES.map(|(n, _)| vec![0.0; rows * n]),
        };
        assert_eq!(pass.inputs[0].rows(), rows);
        pass
    }

    fn run(&mut self, team: &mut Team) {
        let Self {
            isa,
            layers,
            inputs,
            outputs,
        } = self;
        let outputs: Vec<Output<'_>> = outputs
            .iter_mut()
            .zip(SHAPES)
            .map(|(out, (n, _))| Output::new(out, n, Join::Store))
            .collect();
        let work = |member: &Member<'_>| {
            for ((matrix, input), output) in layers
                .iter()
                .flat_map(|layer| layer.iter().zip(&*inputs).zip(&outputs))
            {
                let panels = matrix.thread_panels(member.index(), member.count());
                // SAFETY: threads have panels of their own.
                unsafe { multiply(*isa, matrix, input, panels, output) };
            }
        };
        team.run(work).expect("nothing fails");
    }

    /// Compares some results with plain loops.
    fn check(&self) {
        for ((matrix, x), out) in self.layers[0].iter().zip(&self.inputs).zip(&self.outputs) {
            let (n, k) = (matrix.rows(), matrix.cols());
            let (mut weights, mut inputs) = (vec![0.0; k], vec![0.0; k]);
            for index in (0..x.rows() * n).step_by(97) {
                matrix.row(self.isa, index % n, &mut weights);
                if matrix.kind() == WeightKind::Int8 {
                    hadamard::rotate(self.isa, &mut weights);
                }
                x.packed_row(index / n, &mut inputs);
                let products = weights.iter().zip(&inputs);
                let products = products.map(|(&w, &x)| f64::from(w) * f64::from(x));
                let expected: f64 = products.clone().sum();
                let size: f64 = products.map(f64::abs).sum();
                let (kind, found) = (matrix.kind(), f64::from(out[index]));
                let close = (found - expected).abs() < 1e-5 * size;
                assert!(close, "{kind:?}: {found}, not {expected}, at {index}");
            }
        }
    }

    fn operations(&self) -> f64 {
        let weights: usize = SHAPES.iter().map(|(n, k)| n * k).sum();
        (2 * weights * self.layers.len() * self.inputs[0].rows()) as f64
    }

    fn bytes(&self) -> f64 {
        let bytes: usize = self.layers.iter().flatten().map(Matrix::bytes).sum();
        bytes as f64
    }
}

fn bench_products(criterion: &mut Criterion) {
    let isa = Isa::detect();
    for threads in [1, 2] {
        let count = NonZeroUsize::new(threads).expect("not 0");
        let mut team = Team::new(count).expect("threads can be had");
        for kind in WeightKind::ALL {
            let limits = Limits::measure(isa, &mut team);
            println!("{isa}, {threads} threads, {limits}");
            let layers = layers(isa, kind, COLD_LAYERS, threads);
            for rows in ROWS {
                let few = if rows <= 6 { COLD_LAYERS } else { WARM_LAYERS };
                let mut pass = Pass::new(isa, &layers[..few], rows);
                pass.run(&mut team);
                pass.check();
                let name = format!("{kind:?}/{threads} threads/{rows} rows");
                let seconds = time(criterion, &name, || pass.run(&mut team));
                let Some(seconds) = seconds else { continue };
                let (done, read) = (pass.operations() / seconds, pass.bytes() / seconds);
                let shares = [read / limits.memory, done / limits.operations(kind)];
                println!(
                    "{name}: {:.1} GB/s, {:.0}% of memory; {:.0} GOP/s, {:.0}% of arithmetic{}",
                    read / 1e9,
                    100.0 * shares[0],
                    done / 1e9,
                    100.0 * shares[1],
                    verdict(kind, rows, shares),
                );
            }
        }
    }
}

/// Has criterion time `work`; seconds of the fastest sample, unless it is filtered out.
fn time(criterion: &mut Criterion, name: &str, mut work: impl FnMut()) -> Option<f64> {
    let best = Cell::new(f64::INFINITY);
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Instant::now();
            (0..rounds).for_each(|_| work());
            let elapsed = start.elapsed();
            best.set(best.get().min(elapsed.as_secs_f64() / rounds as f64));
            elapsed
        });
    });
    Some(best.get()).filter(|seconds| seconds.is_finite())
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(20))
        .measurement_time(Duration::from_millis(100));
    targets = bench_products
}
criterion_main!(benches);
