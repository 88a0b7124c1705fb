//! The wire contract from the router's side: see README.md beside this file.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use text_generation_router::{PROTOCOL_VERSION, pb};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/contract/messages");

fn file(language: &str, name: &str) -> PathBuf {
    Path::new(FOLDER).join(language).join(format!("{name}.bin"))
}

fn packed(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn command(command: pb::router_command::Command) -> pb::RouterCommand {
    pb::RouterCommand {
        command: Some(command),
    }
}

fn hello() -> pb::RouterCommand {
    command(pb::router_command::Command::Hello(pb::Hello {
        protocol_version: PROTOCOL_VERSION,
    }))
}

fn admit() -> pb::RouterCommand {
    let full = pb::Request {
        id: 1 << 40,
        tokens: packed(&[0, 1, 256, 65_536, 4_294_967_295]),
        generated_from: 4,
        max_new_tokens: 100,
        sampling: Some(pb::Sampling {
            temperature: 0.5,
            top_k: 40,
            top_p: 0.75,
            typical_p: 0.25,
            repetition_penalty: 1.25,
            frequency_penalty: -0.5,
            presence_penalty: 1.5,
            seed: u64::MAX,
            logit_bias: vec![pb::LogitBias {
                token_id: 300,
                bias: -100.0,
            }],
            watermark_gamma: 0.25,
            watermark_delta: 2.0,
        }),
        stop_token_ids: vec![2, 300],
        top_n_tokens: 5,
        domains: vec![
            pb::DomainSpan {
                domain: 0,
                length: 3,
            },
            pb::DomainSpan {
                domain: 7,
                length: 2,
            },
        ],
        timeout_ms: 1_800_000,
        grammar: "{\"grammars\":[]}".to_owned(),
        prompt_logprobs: true,
        progress: true,
        x_request_id: "req_1-2.3:4/5+6=7@8".to_owned(),
    };
    let bare = pb::Request {
        id: 2,
        tokens: packed(&[9]),
        generated_from: 1,
        max_new_tokens: 1,
        ..Default::default()
    };
    command(pb::router_command::Command::Admit(pb::Admit {
        requests: vec![full, bare],
    }))
}

fn cancel(keep_tokens: Option<u32>) -> pb::RouterCommand {
    command(pb::router_command::Command::Cancel(pb::Cancel {
        id: 3,
        keep_tokens,
    }))
}

fn step() -> pb::EngineEvent {
    let top = |token_id, logprob| pb::TopToken { token_id, logprob };
    let token = pb::Token {
        request_id: 1 << 40,
        index: 17,
        token_id: 300,
        logprob: -0.125,
        top: vec![top(300, -0.125), top(2, -2.5)],
    };
    let completion = pb::finished::Outcome::Completion(pb::Completion {
        reason: pb::FinishReason::StopToken.into(),
        prompt_tokens: 200_000,
        generated_tokens: 18,
        receipt: Some(pb::Receipt {
            cached_tokens: 199_968,
            wait_us: 11,
            prefill_us: 22_000,
            decode_us: 1 << 33,
            preemptions: 1,
        }),
    });
    let error = pb::finished::Outcome::Error(pb::Error {
        code: pb::ErrorCode::EngineFailed.into(),
        message: "the step failed – try again".to_owned(),
        retryable: true,
    });
    let finished = |request_id, outcome| pb::Finished {
        request_id,
        outcome: Some(outcome),
    };
    pb::EngineEvent {
        event: Some(pb::engine_event::Event::Step(pb::Step {
            tokens: vec![token],
            finished: vec![finished(1 << 40, completion), finished(2, error)],
            prompt_logprobs: vec![pb::PromptLogprobs {
                request_id: 3,
                start: 65,
                tokens: vec![pb::TokenLogprob {
                    logprob: -1.5,
                    top: vec![top(7, -0.25)],
                }],
            }],
            progress: vec![pb::Progress {
                request_id: 4,
                cached_tokens: 32,
                done_tokens: 512,
                total_tokens: 100_000,
                eta_us: 1 << 40,
            }],
        })),
    }
}

fn load() -> pb::EngineEvent {
    pb::EngineEvent {
        event: Some(pb::engine_event::Event::Load(pb::Load {
            credit: 1,
            waiting: 2,
            prefilling: 3,
            decoding: 4,
            pages_free: 5,
            pages_cached: 6,
            pages_referenced: 7,
            steps: 8,
            prefill_tokens: 9,
            cached_tokens: 10,
            generated_tokens: 11,
            evicted_pages: 12,
            preemptions: 13,
            execute_us: 14,
            step_us: 15,
            execute_total_us: 16,
            gap_total_us: 17,
            gap_cpu_us: 18,
            gaps: 19,
        })),
    }
}

fn info() -> pb::EngineInfo {
    pb::EngineInfo {
        protocol_version: PROTOCOL_VERSION,
        version: "0.1.0".to_owned(),
        model_id: "some/model".to_owned(),
        model_revision: "abc".to_owned(),
        fingerprint: "f".to_owned(),
        executor: "oracle".to_owned(),
        device: "cpu".to_owned(),
        weights: "int4 g32 + int8 head".to_owned(),
        vocab_size: 49_152,
        max_input_tokens: 262_143,
        max_total_tokens: 262_144,
        page_tokens: 32,
        num_pages: 1000,
        page_bytes: 1 << 34,
        max_batch_size: 128,
        max_step_tokens: 512,
        eos_token_ids: vec![2, 300],
        bos_token: "<s>".to_owned(),
        eos_token: "</s>".to_owned(),
        assets: vec![
            "tokenizer.json".to_owned(),
            "chat_template.jinja".to_owned(),
        ],
        hardware: "avx512-bf16, 2 threads".to_owned(),
        kv_dtype: "bf16".to_owned(),
    }
}

fn asset() -> pb::AssetChunk {
    pb::AssetChunk {
        name: "tokenizer.json".to_owned(),
        data: vec![0, 255, 10],
    }
}

/// Calls `$check` with the name and the value of every message.
macro_rules! for_each_message {
    ($check:ident) => {
        $check("hello", hello());
        $check("admit", admit());
        $check("cancel", cancel(None));
        $check("cancel_keep_none", cancel(Some(0)));
        $check("step", step());
        $check("load", load());
        $check("info", info());
        $check("asset", asset());
    };
}

#[test]
fn the_router_writes_what_its_files_hold() {
    fn check(name: &str, message: impl Message) {
        let file = fs::read(file("rust", name)).expect(name);
        assert_eq!(message.encode_to_vec(), file, "{name}");
    }
    for_each_message!(check);
}

#[test]
fn the_router_reads_what_the_shard_wrote() {
    fn check<M: Message + Default + PartialEq + Debug>(name: &str, message: M) {
        let file = fs::read(file("python", name)).expect(name);
        let read = M::decode(file.as_slice()).expect(name);
        assert_eq!(read, message, "{name}");
    }
    for_each_message!(check);
}

#[test]
#[ignore = "rewrites the files that the other tests compare with"]
fn rewrite() {
    fn write(name: &str, message: impl Message) {
        fs::write(file("rust", name), message.encode_to_vec()).expect(name);
    }
    for_each_message!(write);
}
