//! Mistakes are found together, and help is no mistake.

use super::*;

fn parsed(flags: &[&str]) -> Parsed {
    parse([&["launcher"], flags].concat()).expect("all can be read")
}

#[test]
fn what_cannot_be_read_is_reported_together_and_the_rest_is_read() {
    let parsed = parsed(&[
        "--port",
        "high",
        "--max-batch-size=-1",
        "--no-such-flag",
        "--executor",
        "gpu",
        "--num-shard",
        "65",
        "--model-id",
        "owner/model",
    ]);
    let mistakes = parsed.mistakes.0;
    assert_eq!(mistakes.len(), 5, "{mistakes:#?}");
    for mention in [
        "'high' for '--port <PORT>'",
        "--max-batch-size",
        "--no-such-flag",
        "possible values: auto, native, torch, oracle",
        "--num-shard is 65: give 1 to 64",
    ] {
        let found = mistakes.iter().any(|mistake| mistake.contains(mention));
        assert!(found, "{mention} is not in {mistakes:#?}");
    }
    assert!(mistakes.iter().all(|mistake| !mistake.contains('\n')));
    assert_eq!(parsed.args.model.model_id, "owner/model");
    assert_eq!(parsed.args.server.port, 3000);
}

#[test]
fn a_short_flag_with_a_mistake_is_one_too() {
    assert_eq!(parsed(&["-p", "x", "-g", "y"]).mistakes.0.len(), 2);
    assert_eq!(parsed(&["-p", "7"]).args.server.port, 7);
}

#[test]
fn words_and_short_flags_that_nobody_knows_are_mistakes_beside_others() {
    let mistakes = parsed(&["serve", "it", "-x", "--port", "y"]).mistakes.0;
    assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    for mention in ["'serve'", "'-x'", "--port"] {
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(mention)),
            "{mistakes:#?}"
        );
    }
}

#[test]
fn help_is_asked_for_and_no_mistake() {
    for flag in ["-h", "--help", "--version"] {
        let stop = parse(["launcher", flag]).expect_err("no arguments");
        assert!(matches!(stop, Stop::Asked(_)), "{flag}");
    }
}

#[test]
fn a_flag_says_that_it_was_given() {
    let origins = parsed(&["--port", "1"]).origins;
    assert_eq!(origins["port"], Origin::Flag("--port".to_owned()));
    assert_eq!(origins["num_shard"], Origin::Default);
}

#[test]
fn switches_take_both_of_their_forms() {
    for (flags, json) in [
        (&["--json-output"][..], true),
        (&["--json-output", "--port", "1"], true),
        (&["--json-output", "false"], false),
        (&["--json-output=1"], true),
        (&[], false),
    ] {
        assert_eq!(parsed(flags).args.process.json_output, json, "{flags:?}");
    }
}
