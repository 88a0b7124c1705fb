//! A router over a mock shard, both in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use text_generation_router::config::RouterConfig;
use text_generation_router::mock_shard::{Answer, End, MockShard, Options, config, info};
use text_generation_router::pb;
use text_generation_router::serve::{Readiness, Server};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fixture::{EOS, byte_level_json};
use crate::support::{Asked, MODEL, Script};

/// Chat in plain words; refuses roles that it does not know.
const TEMPLATE: &str = "{% if tone %}({{ tone }}) {% endif %}{% for message in messages %}\
    {% if message.role not in ['user', 'assistant'] %}\
    {{ raise_exception('unknown role ' + message.role) }}{% endif %}\
    {{ message.role }}: {{ message.content }}\n\
    {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

pub(crate) type Scripted = Arc<dyn Fn(&Asked) -> Script + Send + Sync>;

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
    _shard: MockShard,
}

impl Backend {
    /// Starts both and waits until a request would be taken.
    pub(crate) async fn start(script: Scripted, tune: impl FnOnce(&mut RouterConfig)) -> Self {
        let shard = MockShard::on_tcp(options(script))
            .await
            .expect("a port is free");
        let mut config = config(shard.address());
        config.model.model_id = MODEL.into();
        // Of tests alone: a machine that is busy takes longer than what is good for a server.
        config.grammar.max_grammar_compile_ms = 10_000;
        tune(&mut config.router);
        let server = Server::new(config).expect("the keys can be read");
        let mut readiness = server.readiness();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let server = tokio::spawn(async move {
            server
                .run(listener, std::future::pending())
                .await
                .expect("the address is one");
        });
        let ready = readiness.wait_for(|readiness| *readiness == Readiness::Ready);
        ready.await.expect("the server runs");
        Self {
            address,
            server,
            _shard: shard,
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn options(script: Scripted) -> Options {
    let answer = move |request: &pb::Request| Answer {
        before: prompt(request),
        ..answer(script(&asked(request)))
    };
    Options {
        info: pb::EngineInfo {
            model_id: MODEL.into(),
            vocab_size: 263,
            max_input_tokens: 4000,
            max_total_tokens: 4096,
            eos_token_ids: vec![EOS],
            assets: vec!["tokenizer.json".into(), "chat_template.jinja".into()],
            ..info()
        },
        assets: vec![
            ("tokenizer.json".into(), byte_level_json()),
            ("chat_template.jinja".into(), TEMPLATE.into()),
        ],
        ..Options::new(answer)
    }
}

/// What the model makes of the prompt, where that is asked for.
fn prompt(request: &pb::Request) -> Vec<pb::Step> {
    if !request.prompt_logprobs {
        return vec![];
    }
    let logprob = -0.25;
    let token = |token_id| pb::TokenLogprob {
        logprob,
        top: (0..request.top_n_tokens)
            .map(|rank| pb::TopToken {
                token_id: token_id + rank,
                logprob,
            })
            .collect(),
    };
    let ids = asked(request).tokens;
    vec![pb::Step {
        prompt_logprobs: vec![pb::PromptLogprobs {
            request_id: request.id,
            start: 1,
            tokens: ids.into_iter().skip(1).map(token).collect(),
        }],
        ..pb::Step::default()
    }]
}

fn asked(request: &pb::Request) -> Asked {
    let ids = request.tokens.chunks_exact(4);
    Asked {
        tokens: ids
            .map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
            .collect(),
        seed: request
            .sampling
            .as_ref()
            .map_or(0, |sampling| sampling.seed),
    }
}

fn answer(script: Script) -> Answer {
    let error = script.error.map(|message| pb::Error {
        code: pb::ErrorCode::EngineFailed.into(),
        message,
        retryable: false,
    });
    Answer {
        logprob: script.logprob,
        cached_tokens: script.cached_tokens,
        end: error.map_or(End::Length, End::Error),
        ..Answer::tokens(script.tokens)
    }
}
