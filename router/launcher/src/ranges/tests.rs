//! Every number has a range, both of whose ends are checked.

use std::any::TypeId;

use clap::{Arg, CommandFactory};

use super::*;
use crate::args::Args;
use crate::parse::parse;

fn numbers() -> Vec<Arg> {
    let types = [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<ByteSize>(),
    ];
    let command = Args::command();
    let own = command.get_arguments().filter(|arg| {
        let of_tgi = arg.get_help_heading() == Some(crate::tgi::HEADING);
        !of_tgi
            && types
                .iter()
                .any(|kind| arg.get_value_parser().type_id() == *kind)
    });
    own.cloned().collect()
}

fn mistakes(flag: &str, value: u64) -> usize {
    let parsed = parse(["launcher".to_owned(), format!("--{flag}={value}")]);
    let parsed = parsed.expect("the value parses");
    assert!(
        parsed
            .mistakes
            .0
            .iter()
            .all(|mistake| mistake.contains(flag))
    );
    parsed.mistakes.0.len()
}

#[test]
fn every_number_has_a_range_and_its_default_is_inside() {
    let numbers = numbers();
    assert!(numbers.len() > 20);
    for arg in &numbers {
        let flag = arg.get_long().expect("every argument is a flag");
        let range = of(flag).unwrap_or_else(|| panic!("--{flag} has no range in ranges.rs"));
        for default in arg.get_default_values() {
            let default = default.to_str().and_then(number).expect("a number");
            assert!(range.contains(&default), "--{flag} is {default} by default");
        }
    }
    assert_eq!(numbers.len(), RANGES.len(), "a range without a flag");
}

#[test]
fn both_ends_of_every_range_are_taken_and_what_lies_beyond_is_not() {
    for (flag, range) in RANGES {
        assert_eq!(mistakes(flag, *range.start()), 0, "--{flag}");
        assert_eq!(mistakes(flag, *range.end()), 0, "--{flag}");
        if *range.start() > 0 {
            assert_eq!(mistakes(flag, range.start() - 1), 1, "--{flag}");
        }
        // One more is a mistake even where the flag's type cannot hold it.
        assert_eq!(mistakes(flag, range.end() + 1), 1, "--{flag}");
    }
}

#[test]
fn sizes_are_compared_as_bytes() {
    let parsed = parse(["launcher", "--kv-memory", "0KB"]).expect("it parses");
    assert_eq!(parsed.mistakes.0.len(), 1);
    let parsed = parse(["launcher", "--kv-memory", "2GiB"]).expect("it parses");
    assert!(parsed.mistakes.0.is_empty());
}
