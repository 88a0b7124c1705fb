//! What a plan refuses, and how it splits and shares.

use super::*;

fn shape_of(num_heads: usize, num_kv_heads: usize) -> PlanShape {
    PlanShape {
        num_heads,
        num_kv_heads,
        num_pages: 1000,
        window: None,
        num_threads: 2,
        sharing: true,
    }
}

fn decoding(first_row: usize, context: usize, pages: &[i32]) -> SequenceRows<'_> {
    SequenceRows {
        first_row,
        num_rows: 1,
        context,
        pages,
    }
}

#[test]
fn impossible_shapes_are_refused() {
    for (heads, kv_heads) in [(0, 1), (3, 0), (4, 3), (49, 1)] {
        let error = AttentionPlan::new(&[], shape_of(heads, kv_heads)).err();
        assert_eq!(error, Some(PlanError::Heads { heads, kv_heads }));
    }
    assert!(AttentionPlan::new(&[], shape_of(48, 1)).is_ok());
    let no_keys = PlanShape {
        window: Some(0),
        ..shape_of(1, 1)
    };
    assert_eq!(
        AttentionPlan::new(&[], no_keys).err(),
        Some(PlanError::EmptyWindow)
    );
    let no_threads = PlanShape {
        num_threads: 0,
        ..shape_of(1, 1)
    };
    assert_eq!(
        AttentionPlan::new(&[], no_threads).err(),
        Some(PlanError::NoThreads)
    );
}

#[test]
fn bad_tables_are_refused() {
    let plan = |context, pages: &[i32]| {
        AttentionPlan::new(&[decoding(0, context, pages)], shape_of(9, 3)).err()
    };
    assert_eq!(plan(63, &[1, 2]), None);
    let short = PlanError::ShortTable {
        row: 0,
        pages: 2,
        needed: 3,
    };
    assert_eq!(plan(64, &[1, 2]), Some(short));
    for page in [-1, 1000] {
        let refused = PlanError::PageOutOfRange {
            row: 0,
            page,
            pool: 1000,
        };
        assert_eq!(plan(40, &[1, page]), Some(refused));
    }
    assert!(matches!(
        plan(usize::MAX, &[]),
        Some(PlanError::TooLong { .. })
    ));
}

#[test]
fn unusual_layouts_are_refused() {
    for head_dim in [0, 257] {
        let layout = KvLayout::new(KvKind::Bf16, 1, 1, head_dim);
        assert_eq!(layout, Err(LayoutError::HeadDim(head_dim)));
    }
    assert!(KvLayout::new(KvKind::Bf16, 0, 1, 64).is_err());
    let layout = KvLayout::new(KvKind::Int8, 30, 3, 64).expect("a valid layout");
    assert_eq!(layout.page_bytes(), 30 * 3 * 2 * (32 * 64 + 32 * 4));
}

#[test]
fn threads_get_equal_parts() {
    let pages: Vec<i32> = (0..224).collect();
    let many: Vec<SequenceRows<'_>> = (0..32).map(|i| decoding(i, 511, &pages[i..])).collect();
    let shape = shape_of(9, 3);
    let plan = AttentionPlan::new(&many, shape).expect("a valid step");
    let blocks = |plan: &AttentionPlan, thread| -> usize {
        plan.pieces(thread)
            .iter()
            .map(|piece| piece.blocks.len())
            .sum()
    };
    assert_eq!([blocks(&plan, 0), blocks(&plan, 1)], [96, 96]);
    assert!(!plan.needs_fold(), "borders of sequences are near enough");
    let plan = AttentionPlan::new(&[decoding(0, 7167, &pages)], shape).expect("a valid step");
    assert_eq!([blocks(&plan, 0), blocks(&plan, 1)], [42, 42]);
    assert!(plan.needs_fold());
}

#[test]
fn a_plan_without_rows_has_no_work() {
    let plan = AttentionPlan::new(&[], shape_of(9, 3)).expect("a valid step");
    assert!(plan.pieces(0).is_empty() && plan.pieces(1).is_empty() && !plan.needs_fold());
}

#[test]
fn equal_pages_are_read_once() {
    let shared: Vec<i32> = (0..32).collect();
    let tables: Vec<Vec<i32>> = (0..8).map(|i| [&shared[..], &[100 + i]].concat()).collect();
    let sequences: Vec<SequenceRows<'_>> = (0..8).map(|i| decoding(i, 1030, &tables[i])).collect();
    let keys = |sharing| -> usize {
        let shape = PlanShape {
            sharing,
            ..shape_of(3, 1)
        };
        let plan = AttentionPlan::new(&sequences, shape).expect("a valid step");
        let pieces = (0..2).flat_map(|thread| plan.pieces(thread));
        pieces.map(|piece| piece.blocks.len()).sum()
    };
    assert_eq!([keys(false), keys(true)], [8 * 5, 4 + 8]);
}
