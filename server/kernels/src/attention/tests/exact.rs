//! A row's bits depend on its query and the tokens it sees, and on nothing else.

use proptest::prelude::*;

use super::pool::Random;
use super::*;

/// What the bits must not depend on.
#[derive(Debug, Clone)]
struct Arrangement {
    lens: Vec<usize>,
    seed: u64,
    largest_chunk: usize,
}

pub(super) fn settings() -> impl Strategy<Value = Setting> {
    let isas: Vec<Isa> = Isa::supported().collect();
    let shape = (
        1..3usize,
        prop::sample::select(vec![1, 2, 3, 4, 8]),
        prop::sample::select(vec![32, 64, 80, 128, 256]),
    );
    (
        prop::sample::select(isas),
        prop::sample::select(vec![KvKind::Bf16, KvKind::Int8]),
        shape,
        prop::option::weighted(0.4, 1..600usize),
        prop::option::weighted(0.3, 1f32..50.0),
    )
        .prop_map(
            |(isa, kind, (kv_heads, group, head_dim), window, softcap)| {
                // The portable one is slow.
                let most = if isa == Isa::Portable { 64 } else { 256 };
                Setting {
                    isa,
                    window,
                    softcap,
                    ..Setting::new(kind, kv_heads, group, head_dim.min(most))
                }
            },
        )
}

fn arrangements() -> impl Strategy<Value = Arrangement> {
    (
        prop::collection::vec(1..700usize, 1..4),
        any::<u64>(),
        prop::sample::select(vec![1, 2, 5, 40, 150, 700]),
    )
        .prop_map(|(lens, seed, largest_chunk)| Arrangement {
            lens,
            seed,
            largest_chunk,
        })
}

/// Runs all sequences to their ends in steps of random chunks on shuffled pages.
fn run_arranged(setting: &Setting, streams: &[Stream], arrangement: &Arrangement) -> Vec<Vec<f32>> {
    let mut random = Random(arrangement.seed);
    let (mut pool, tables) = shuffled(setting, streams, &mut random);
    let mut out: Vec<Vec<f32>> = vec![Vec::new(); streams.len()];
    let mut done = vec![0; streams.len()];
    while done
        .iter()
        .zip(streams)
        .any(|(done, stream)| *done < stream.len)
    {
        let mut ids = Vec::new();
        let mut chunks = Vec::new();
        for (id, stream) in streams.iter().enumerate() {
            let len = random
                .below(arrangement.largest_chunk + 1)
                .min(stream.len - done[id]);
            if len > 0 {
                ids.push(id);
                chunks.push(Chunk {
                    stream,
                    table: &tables[id],
                    context: done[id],
                    len,
                });
            }
        }
        let rows: usize = chunks.iter().map(|chunk| chunk.len).sum();
        let way = Way {
            threads: 1 + random.below(6),
            sharing: random.below(2) == 1,
            write_border: random.below(rows + 1),
        };
        for (id, rows) in ids.into_iter().zip(step(setting, &mut pool, &chunks, way)) {
            done[id] += chunks_len(&rows, setting);
            out[id].extend(rows);
        }
    }
    out
}

fn chunks_len(rows: &[f32], setting: &Setting) -> usize {
    rows.len() / (setting.heads() * setting.head_dim)
}

fn shuffled(setting: &Setting, streams: &[Stream], random: &mut Random) -> (Pool, Vec<Table>) {
    let counts = streams
        .iter()
        .map(|stream| stream.len.div_ceil(PAGE_TOKENS));
    let total: usize = counts.clone().sum();
    let mut ids: Vec<i32> = (0..total as i32).collect();
    for i in (1..total).rev() {
        ids.swap(i, random.below(i + 1));
    }
    let tables = counts.map(|count| Table {
        ids: ids.drain(..count).collect(),
    });
    let tables = tables.collect();
    (Pool::new(setting, total), tables)
}

proptest! {
    // A sixth of PROPTEST_CASES, which is 256 by default.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 6))]

    #[test]
    fn bits_depend_on_nothing_but_query_and_tokens(
        setting in settings(),
        arrangement in arrangements(),
    ) {
        let streams: Vec<Stream> = arrangement
            .lens
            .iter()
            .enumerate()
            .map(|(i, &len)| Stream::new(&setting, len, arrangement.seed ^ i as u64))
            .collect();
        let arranged = run_arranged(&setting, &streams, &arrangement);
        for (stream, rows) in streams.iter().zip(arranged) {
            prop_assert_eq!(bits(&alone(&setting, stream, 1)), bits(&rows));
        }
    }

    #[test]
    fn tiles_give_8_bits_what_vectors_give(
        setting in settings(),
        len in 1..700usize,
        seed in any::<u64>(),
    ) {
        let setting = Setting { kind: KvKind::Int8, ..setting };
        let [tiles, vectors] = [Isa::Amx, Isa::Avx512Dot].map(|isa| {
            let setting = Setting { isa, ..setting };
            let stream = Stream::new(&setting, len, seed);
            isa.is_supported().then(|| bits(&alone(&setting, &stream, 1)))
        });
        if tiles.is_some() {
            prop_assert_eq!(tiles, vectors);
        }
    }
}
