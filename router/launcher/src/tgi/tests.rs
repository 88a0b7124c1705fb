//! What is given in vain is said once; what cannot be honoured is a mistake.

use clap::CommandFactory;

use super::*;
use crate::args::Args;
use crate::parse::{Parsed, parse};

fn parsed(flags: &[&str]) -> Parsed {
    parse([&["launcher"], flags].concat()).expect("the flags parse")
}

#[test]
fn one_line_names_all_that_has_no_effect() {
    let tgi = parsed(&[
        "--cuda-graphs",
        "1,2",
        "--speculate=3",
        "--trust-remote-code",
    ])
    .args
    .tgi;
    let notice = tgi.notice().expect("three flags have no effect");
    for flag in ["--cuda-graphs", "--speculate", "--trust-remote-code"] {
        assert_eq!(notice.matches(flag).count(), 1, "{notice}");
    }
    assert!(!notice.contains('\n'));
    assert_eq!(tgi.mistakes().count(), 0);
}

#[test]
fn what_is_absent_or_switched_off_needs_no_word() {
    for flags in [&[][..], &["--trust-remote-code", "false"], &["--ngrok=0"]] {
        let tgi = parsed(flags).args.tgi;
        assert_eq!(tgi.notice(), None, "{flags:?}");
        assert_eq!(tgi.mistakes().count(), 0, "{flags:?}");
    }
}

#[test]
fn what_would_change_the_service_is_a_mistake_that_names_another_way() {
    let tgi = parsed(&["--lora-adapters", "a,b", "--ngrok"]).args.tgi;
    let mistakes: Vec<_> = tgi.mistakes().collect();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    assert!(
        mistakes
            .iter()
            .any(|mistake| mistake.contains("--model-id"))
    );
}

#[test]
fn a_value_of_another_kind_is_a_mistake() {
    assert_eq!(parsed(&["--speculate", "many"]).mistakes.0.len(), 1);
    assert_eq!(
        parsed(&["--cuda-memory-fraction", "half"]).mistakes.0.len(),
        1
    );
}

#[test]
fn the_table_holds_no_flag_of_our_own_and_none_twice() {
    let command = Args::command();
    for foreign in TABLE.iter().filter(|foreign| foreign.has_flag()) {
        let flags = command
            .get_arguments()
            .filter(|arg| arg.get_long() == Some(foreign.name));
        assert_eq!(flags.count(), 1, "{}", foreign.name);
    }
}
