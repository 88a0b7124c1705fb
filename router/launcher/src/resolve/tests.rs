//! The rules, and the golden configuration file that both languages read.

use std::path::{Path, PathBuf};

use text_generation_router::config::{
    Dtype, ExecutorKind, HttpLimits, KvCacheDtype, Limits, Quantize, ServeConfig,
};

use super::*;
use crate::parse::parse;

fn resolved(flags: &[&str]) -> Result<ServeConfig, Mistakes> {
    let parsed = parse([&["launcher"], flags].concat()).expect("the flags parse");
    resolve(parsed, Path::new("/run/text-generation"))
}

fn mistakes(flags: &[&str]) -> Vec<String> {
    resolved(flags).expect_err("the flags are wrong").0
}

#[test]
fn no_flag_gives_the_defaults() {
    let config = resolved(&[]).expect("no flag is needed");
    assert_eq!(config.model.model_id, "smollm2-135m-instruct");
    assert_eq!(config.model.executor, ExecutorKind::Auto);
    assert_eq!(config.model.dtype, Dtype::Auto);
    assert_eq!(config.model.quantize, None);
    assert_eq!(config.model.kv_cache_dtype, KvCacheDtype::Auto);
    assert_eq!(
        (config.router.hostname.as_str(), config.router.port),
        ("127.0.0.1", 3000)
    );
    assert_eq!(
        config.router.shard_address,
        "unix:/run/text-generation/shard-0.sock"
    );
    assert_eq!(config.router.limits, Limits::default());
    assert_eq!(config.router.http, HttpLimits::default());
    assert_eq!(config.engine.max_input_tokens, None);
    assert!(config.engine.prefix_caching);
}

#[test]
fn the_older_name_of_max_input_tokens_works_alone_but_not_beside_the_newer() {
    let config = resolved(&["--max-input-length", "7"]).expect("the older name works");
    assert_eq!(config.engine.max_input_tokens, Some(7));
    let found = mistakes(&["--max-input-length", "7", "--max-input-tokens", "7"]);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("--max-input-length"), "{found:?}");
}

#[test]
fn all_mistakes_are_reported_together() {
    let found = mistakes(&[
        "--validation-workers",
        "0",
        "--model-id",
        "",
        "--sharded",
        "true",
        "--max-input-tokens",
        "100",
        "--max-total-tokens",
        "100",
        "--max-batch-total-tokens",
        "99",
        "--cors-allow-origin",
        "example.org",
    ]);
    let flags = [
        "--validation-workers",
        "--model-id",
        "--cors-allow-origin",
        "--sharded",
        "--max-input-tokens",
        "--max-total-tokens",
    ];
    assert_eq!(found.len(), flags.len(), "{found:#?}");
    for (mistake, flag) in found.iter().zip(flags) {
        assert!(
            mistake.starts_with(flag),
            "{mistake} should begin with {flag}"
        );
    }
}

#[test]
fn the_token_limits_are_checked_on_both_sides() {
    assert!(resolved(&["--max-input-tokens", "99", "--max-total-tokens", "100"]).is_ok());
    assert!(resolved(&["--max-input-tokens", "100", "--max-total-tokens", "100"]).is_err());
    assert!(
        resolved(&[
            "--max-total-tokens",
            "100",
            "--max-batch-total-tokens",
            "100"
        ])
        .is_ok()
    );
    assert!(
        resolved(&[
            "--max-total-tokens",
            "101",
            "--max-batch-total-tokens",
            "100"
        ])
        .is_err()
    );
}

#[test]
fn native_takes_the_types_it_computes_in() {
    for (dtype, value) in [("auto", Dtype::Auto), ("bfloat16", Dtype::Bfloat16)] {
        let config = resolved(&["--executor", "native", "--dtype", dtype]).expect("native can");
        assert_eq!(config.model.dtype, value);
    }
    for dtype in ["float32", "float16"] {
        let found = mistakes(&["--executor", "native", "--dtype", dtype]);
        assert!(
            found.len() == 1 && found[0].contains("--executor torch"),
            "{found:?}"
        );
        assert!(resolved(&["--executor", "torch", "--dtype", dtype]).is_ok());
        assert!(resolved(&["--dtype", dtype]).is_ok());
    }
}

#[test]
fn weights_are_quantized_or_of_a_type_but_not_both() {
    for (name, value) in [
        ("int8", Quantize::Int8),
        ("int4", Quantize::Int4),
        ("awq", Quantize::Awq),
        ("gptq", Quantize::Gptq),
    ] {
        let config = resolved(&["--quantize", name]).expect("known");
        assert_eq!(config.model.quantize, Some(value));
        assert_eq!(
            mistakes(&["--quantize", name, "--dtype", "bfloat16"]).len(),
            1
        );
    }
}

#[test]
fn torch_quantizes_nothing() {
    for flags in [["--quantize", "int8"], ["--kv-cache-dtype", "int8"]] {
        assert!(resolved(&flags).is_ok());
        assert!(resolved(&[&["--executor", "native"], &flags[..]].concat()).is_ok());
        let found = mistakes(&[&["--executor", "torch"], &flags[..]].concat());
        assert!(
            found.len() == 1 && found[0].contains("--executor native"),
            "{found:?}"
        );
    }
}

#[test]
fn an_unknown_quantization_is_refused_with_the_known_ones() {
    for (flags, mention) in [
        (["--quantize", "bitsandbytes"], "take --quantize int8"),
        (["--quantize", "bitsandbytes-nf4"], "take --quantize int4"),
        (["--quantize", "marlin"], "take --quantize gptq"),
        (["--quantize", "int3"], "int8, int4, awq, gptq"),
        (["--quantize", ""], "int8, int4, awq, gptq"),
        (
            ["--kv-cache-dtype", "fp8_e5m2"],
            "take --kv-cache-dtype int8",
        ),
        (["--kv-cache-dtype", "fp4"], "auto, bf16, int8"),
    ] {
        let found = mistakes(&flags);
        assert!(found.len() == 1 && found[0].contains(mention), "{found:?}");
    }
}

#[test]
fn sharded_only_confirms_the_number_of_shards() {
    assert!(resolved(&["--sharded", "false"]).is_ok());
    assert!(resolved(&["--sharded", "true", "--num-shard", "2"]).is_ok());
    for flags in [
        &["--sharded", "true"][..],
        &["--sharded", "false", "--num-shard", "2"],
    ] {
        let found = mistakes(flags);
        assert!(
            found.len() == 1 && found[0].contains("--num-shard"),
            "{found:?}"
        );
    }
}

#[test]
fn the_cache_folder_is_the_users_unless_one_is_named() {
    let config = resolved(&["--cache-dir", "/models/cache"]).expect("any folder will do");
    assert_eq!(config.model.cache_dir, Some("/models/cache".into()));
    let own = resolved(&[]).expect("no flag is needed").model.cache_dir;
    assert!(own.is_none_or(|path| path.is_absolute() && path.ends_with("text-generation-server")));
}

#[test]
fn sizes_take_decimal_and_binary_suffixes() {
    let bytes = |size| {
        resolved(&["--kv-memory", size])
            .expect("the size parses")
            .engine
            .kv_memory_bytes
    };
    assert_eq!(bytes("2GB"), Some(2_000_000_000));
    assert_eq!(bytes("2GiB"), Some(2 << 30));
    assert_eq!(bytes("4096"), Some(4096));
    assert!(resolved(&["--kv-memory", "0"]).is_err());
}

#[test]
fn prefix_caching_takes_the_spellings_of_a_switch() {
    for (text, value) in [("0", false), ("false", false), ("1", true), ("true", true)] {
        let config = resolved(&["--prefix-caching", text]).expect("the spelling is known");
        assert_eq!(config.engine.prefix_caching, value, "{text}");
    }
}

#[test]
fn a_key_must_be_sendable_and_is_never_shown() {
    assert!(resolved(&["--api-key", ""]).is_err());
    assert!(resolved(&["--api-key", "two words"]).is_err());
    assert!(resolved(&["--api-keys", "hunter2"]).is_err(), "no tenant");
    let config = resolved(&["--api-key", "hunter2", "--api-keys", "acme:hunter2,b:k"]);
    let config = config.expect("the keys are fine");
    assert_eq!(config.router.api_keys.len(), 3);
    assert!(!format!("{config:?}").contains("hunter2"));
    let written = serde_json::to_string(&config).expect("the configuration is plain data");
    assert!(!written.contains("hunter2"));
}

#[test]
fn a_socket_path_that_the_system_refuses_is_a_mistake() {
    let parsed = parse(["launcher"]).expect("no flag is needed");
    let dir_bytes = MAX_SOCKET_PATH - "/shard-0.sock".len();
    let dir = |length: usize| PathBuf::from(format!("/{}", "d".repeat(length - 1)));
    assert!(resolve(parsed.clone(), &dir(dir_bytes)).is_ok());
    assert!(resolve(parsed, &dir(dir_bytes + 1)).is_err());
}

/// Every field of the configuration with a value of its own.
fn every_flag() -> ServeConfig {
    let text = "--model-id owner/model --revision main --executor oracle --dtype auto --quantize int4 \
        --kv-cache-dtype int8 --cache-dir /models/cache --tokenizer-config-path /models/tokenizer_config.json --huggingface-hub-cache /models/hub \
        --hostname 0.0.0.0 --port 8080 --cors-allow-origin https://a.example,https://b.example:8443 \
        --validation-workers 3 --watermark-gamma 0.25 --watermark-delta 1.5 --graceful-termination-timeout 45 --num-shard 2 \
        --master-addr 127.0.0.2 --master-port 29501 --max-input-tokens 1000 \
        --max-total-tokens 2000 --max-batch-size 16 --max-batch-prefill-tokens 256 \
        --max-batch-total-tokens 8000 --kv-memory 1GiB --prefix-caching false --num-threads 5 \
        --page-tokens 16 --max-concurrent-requests 11 --max-queued-tokens 12 \
        --max-queue-seconds 13 --request-timeout 14 --max-best-of 6 --max-stop-sequences 7 \
        --max-stop-bytes 18 --max-top-n-tokens 9 --max-client-batch-size 10 --max-messages 19 \
        --disable-grammar-support --max-grammar-bytes 31 --max-grammar-compile-ms 32 \
        --max-grammar-size 33 --max-grammar-fuel 34 --max-grammar-lexer-states 35 --max-grammar-step-items 135 \
        --grammar-cache 36B \
        --max-stored-responses 28 --max-stored-response-bytes 29 \
        --payload-limit 20 --max-body-bytes-in-flight 21 --max-connections 22 \
        --max-header-bytes 23 --max-headers 24 --header-timeout 25 --body-timeout 26 \
        --write-stall-timeout 27 --max-n 37 --max-tools 38 --max-tool-bytes 39 --max-logit-bias 40 \
        --max-template-fuel 4100 --max-template-bytes 42 --min-body-rate 43 --max-json-depth 44 \
        --max-unread-events 45";
    resolved(&text.split_whitespace().collect::<Vec<_>>()).expect("every flag is right")
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract/serve_config.json")
}

fn golden_text() -> String {
    serde_json::to_string_pretty(&every_flag()).expect("the configuration is plain data") + "\n"
}

#[test]
fn the_golden_configuration_is_current() {
    let golden = std::fs::read_to_string(golden_path()).expect("the golden file is committed");
    assert_eq!(
        golden,
        golden_text(),
        "the schema changed: run `make golden`"
    );
    let read: ServeConfig = serde_json::from_str(&golden).expect("the golden file is valid");
    assert_eq!(read, every_flag());
}

#[test]
#[ignore = "run by `make golden`: writes the golden file"]
fn write_the_golden_configuration() {
    std::fs::write(golden_path(), golden_text()).expect("the folder exists");
}
