//! Rows that read the same pages together have the bits they have alone.

use proptest::prelude::*;

use super::exact::settings;
use super::pool::Random;
use super::*;

/// Sequences that begin with the same tokens and pages: each branches off the one before it.
#[derive(Debug, Clone)]
struct Family {
    /// Pages that a sequence has in common with the one before it.
    common: Vec<usize>,
    /// Tokens of each after those.
    own: Vec<usize>,
    seed: u64,
}

fn families() -> impl Strategy<Value = Family> {
    let common = prop::collection::vec(prop::sample::select(vec![0, 7, 8, 9, 16, 27, 32]), 5);
    (common, prop::collection::vec(2..300usize, 5), any::<u64>())
        .prop_map(|(common, own, seed)| Family { common, own, seed })
}

fn streams(setting: &Setting, family: &Family) -> (Vec<Stream>, Vec<Table>, usize) {
    let mut streams: Vec<Stream> = Vec::new();
    let mut tables: Vec<Table> = Vec::new();
    let mut next_page = 0;
    for (i, own) in family.own.iter().enumerate() {
        let common = match streams.last() {
            // Not those that its last two tokens are still to be written to.
            Some(last) => family.common[i].min((last.len - 2) / PAGE_TOKENS),
            None => 0,
        };
        let len = common * PAGE_TOKENS + if i == 0 { own + 600 } else { *own };
        let mut stream = Stream::new(setting, len, family.seed ^ i as u64);
        let mut ids = Vec::new();
        if let (Some(last), Some(table)) = (streams.last(), tables.last()) {
            stream = stream.with_prefix(last, common * PAGE_TOKENS);
            ids = table.ids[..common].to_vec();
        }
        let more = len.div_ceil(PAGE_TOKENS) - common;
        ids.extend(next_page..next_page + more as i32);
        next_page += more as i32;
        streams.push(stream);
        tables.push(Table { ids });
    }
    (streams, tables, next_page as usize)
}

proptest! {
    // A twelfth of PROPTEST_CASES, which is 256 by default.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 12))]

    #[test]
    fn sharing_changes_no_bit(setting in settings(), family in families(), steps in 1..3usize) {
        let setting = Setting { window: None, isa: Isa::detect(), ..setting };
        let (streams, tables, pages) = streams(&setting, &family);
        let mut pool = Pool::new(&setting, pages);
        let mut random = Random(family.seed);
        let chunk = |i: usize, context: usize, len: usize| Chunk {
            stream: &streams[i],
            table: &tables[i],
            context,
            len,
        };
        for (i, stream) in streams.iter().enumerate() {
            step(&setting, &mut pool, &[chunk(i, 0, stream.len - 2)], ALONE);
        }
        // The last two tokens of all, in one step or in two.
        let mut out = vec![Vec::new(); streams.len()];
        for round in 0..steps {
            let chunks: Vec<Chunk<'_>> = streams
                .iter()
                .enumerate()
                .map(|(i, stream)| chunk(i, stream.len - 2 + round, 3 - steps))
                .collect();
            let way = Way { threads: 1 + random.below(6), sharing: true, write_border: 0 };
            for (out, rows) in out.iter_mut().zip(step(&setting, &mut pool, &chunks, way)) {
                out.extend(rows);
            }
        }
        for (stream, rows) in streams.iter().zip(out) {
            let all = alone(&setting, stream, 64);
            prop_assert_eq!(bits(&all[all.len() - rows.len()..]), bits(&rows));
        }
    }
}
