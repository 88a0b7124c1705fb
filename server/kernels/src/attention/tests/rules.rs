//! Rules that exactness rests on, one test each.

use std::num::NonZeroUsize;

use super::*;
use crate::threads::Team;

fn every_setting() -> impl Iterator<Item = Setting> {
    let kinds = [KvKind::Bf16, KvKind::Int8];
    Isa::supported().flat_map(move |isa| {
        kinds.map(|kind| Setting {
            isa,
            ..Setting::new(kind, 1, 2, 32)
        })
    })
}

/// A row of a stream's output.
fn row<'a>(setting: &Setting, out: &'a [f32], position: usize) -> &'a [f32] {
    let width = setting.heads() * setting.head_dim;
    &out[position * width..(position + 1) * width]
}

/// Cells of one position of `cells`, which are those of `stream`'s keys or values.
fn cells_mut<'a>(setting: &Setting, cells: &'a mut [f32], position: usize) -> &'a mut [f32] {
    let width = setting.kv_heads * setting.head_dim;
    &mut cells[position * width..(position + 1) * width]
}

#[test]
fn what_is_not_written_is_not_seen() {
    for setting in every_setting() {
        for window in [None, Some(3)] {
            let setting = Setting { window, ..setting };
            let stream = Stream::new(&setting, 41, 3);
            for size in [1, 7, 41] {
                let out = alone(&setting, &stream, size);
                assert!(
                    out.iter().all(|value| value.is_finite()),
                    "{setting:?} by {size}"
                );
            }
        }
    }
}

#[test]
fn later_tokens_of_a_chunk_change_nothing() {
    for setting in every_setting() {
        let stream = Stream::new(&setting, 300, 4);
        let mut other = stream.clone();
        for position in 150..300 {
            cells_mut(&setting, &mut other.k, position).fill(90.0);
            cells_mut(&setting, &mut other.v, position).fill(-7e4);
        }
        let [a, b] = [stream, other].map(|stream| alone(&setting, &stream, 300));
        for position in 0..150 {
            let [a, b] = [&a, &b].map(|out| bits(row(&setting, out, position)));
            assert_eq!(a, b, "{setting:?} at {position}");
        }
        assert_ne!(bits(row(&setting, &a, 150)), bits(row(&setting, &b, 150)));
    }
}

#[test]
fn tokens_before_the_window_change_nothing() {
    for setting in every_setting() {
        let setting = Setting {
            window: Some(20),
            ..setting
        };
        let stream = Stream::new(&setting, 290, 5);
        let mut other = stream.clone();
        for position in 0..241 {
            cells_mut(&setting, &mut other.k, position).fill(90.0);
            cells_mut(&setting, &mut other.v, position).fill(-7e4);
        }
        let [a, b] = [stream, other].map(|stream| alone(&setting, &stream, 290));
        for position in 260..290 {
            let [a, b] = [&a, &b].map(|out| bits(row(&setting, out, position)));
            assert_eq!(a, b, "{setting:?} at {position}");
        }
        assert_ne!(bits(row(&setting, &a, 259)), bits(row(&setting, &b, 259)));
    }
}

#[test]
fn no_zero_is_negative() {
    for setting in every_setting() {
        let mut stream = Stream::new(&setting, 4, 6);
        // The second key's weight is 2^-100, and what it adds is below the normal numbers.
        let scale = setting.scale() * std::f32::consts::LOG2_E;
        stream.q.fill(0.0);
        stream.k.fill(0.0);
        stream.v.fill(0.0);
        for cell in stream.q.iter_mut().step_by(setting.head_dim) {
            *cell = 1.0;
        }
        cells_mut(&setting, &mut stream.k, 1)[0] = -100.0 / scale;
        cells_mut(&setting, &mut stream.v, 1).fill(-(2f32.powi(-30)));
        for size in [1, 2, 4] {
            let out = alone(&setting, &stream, size);
            let is_negative = |value: &f32| *value == 0.0 && value.is_sign_negative();
            assert!(!out.iter().any(is_negative), "{setting:?} by {size}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for setting in every_setting() {
        for (of_value, bad) in [(false, f32::NAN), (true, f32::NAN), (true, f32::INFINITY)] {
            let mut stream = Stream::new(&setting, 40, 7);
            let cells = if of_value {
                &mut stream.v
            } else {
                &mut stream.k
            };
            cells_mut(&setting, cells, 21)[3] = bad;
            let out = alone(&setting, &stream, 1);
            for position in 0..40 {
                let is_finite = row(&setting, &out, position).iter().all(|x| x.is_finite());
                assert_eq!(
                    is_finite,
                    position < 21,
                    "{setting:?} {of_value} {bad} at {position}"
                );
            }
        }
    }
}

#[test]
fn pages_before_the_window_may_be_gone() {
    let setting = Setting {
        window: Some(40),
        ..Setting::new(KvKind::Bf16, 1, 2, 32)
    };
    let stream = Stream::new(&setting, 700, 8);
    let expected = alone(&setting, &stream, 50);
    let mut pool = Pool::new(&setting, 22);
    let mut table = Table::in_order(stream.len);
    let mut out = Vec::new();
    for context in 0..stream.len {
        let gone = (context + 1).saturating_sub(40) / PAGE_TOKENS;
        table.ids[..gone].fill(-1);
        let chunk = Chunk {
            stream: &stream,
            table: &table,
            context,
            len: 1,
        };
        out.extend(step(&setting, &mut pool, &[chunk], ALONE).remove(0));
    }
    assert_eq!(bits(&out), bits(&expected));
}

#[test]
fn real_threads_give_the_same_bits() {
    let setting = Setting::new(KvKind::Bf16, 3, 3, 64);
    let stream = Stream::new(&setting, 1500, 9);
    let expected = alone(&setting, &stream, 300);
    let mut pool = Pool::new(&setting, 47);
    let table = Table::in_order(stream.len);
    let chunk = |context, len| Chunk {
        stream: &stream,
        table: &table,
        context,
        len,
    };
    step(&setting, &mut pool, &[chunk(0, 1499)], ALONE);
    let chunk = chunk(1499, 1);
    step(&setting, &mut pool, std::slice::from_ref(&chunk), ALONE);
    let pages = pool.pages();
    let sequence = SequenceRows {
        first_row: 0,
        num_rows: 1,
        context: 1499,
        pages: &table.ids,
    };
    let mut team = Team::new(NonZeroUsize::new(3).expect("not 0")).expect("threads");
    let shape = shape(&setting, pages.count(), team.count());
    let plan = AttentionPlan::new(&[sequence], shape).expect("a valid step");
    let mut scratch = Scratch::new(pages.layout(), team.count());
    scratch.prepare(&plan);
    let layer = layer(&setting, &pages, &plan, &scratch);
    let width = setting.heads() * setting.head_dim;
    let mut out = vec![f32::NAN; width];
    let (q, rows) = (&stream.q[1499 * width..], RowsMut::new(&mut out, width));
    team.run(|member| {
        unsafe { layer.attend(setting.isa, member.index(), Rows::new(q, width), rows) };
        member.wait();
        unsafe { layer.fold(setting.isa, member.index(), rows) };
    })
    .expect("nobody panics");
    assert_eq!(bits(&out), bits(row(&setting, &expected, 1499)));
}
