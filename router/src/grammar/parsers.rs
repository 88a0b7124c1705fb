//! Makes a parser of a grammar, as the shard will.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, token_bytes_from_tokenizer_json};
use serde_json::Value;

use super::width::width;
use crate::config::GrammarConfig;
use crate::pb::EngineInfo;

/// Characters of llguidance's message that a client sees.
const MAX_REASON: usize = 300;

/// Makes parsers for one model.
pub(super) struct Parsers(ParserFactory);

impl Parsers {
    /// Parsers over the vocabulary of a `tokenizer.json`.
    ///
    /// # Errors
    /// When it is of a kind that llguidance cannot read, or the model has no end of text.
    pub(super) fn new(
        tokenizer: &[u8],
        info: &EngineInfo,
        config: &GrammarConfig,
    ) -> anyhow::Result<Self> {
        // What llguidance does not expect in a vocabulary, it meets with a panic.
        let trie = catch_unwind(|| token_trie(tokenizer, info));
        let trie = trie.map_err(|_| anyhow!("its vocabulary is malformed"))??;
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &[])?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_grammar_size: config.max_grammar_size,
            initial_lexer_fuel: config.max_grammar_fuel,
            max_lexer_states: config.max_grammar_lexer_states,
            step_max_items: config.max_grammar_step_items,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self(factory))
    }

    /// Makes a parser and takes its first step, then drops it.
    ///
    /// # Errors
    /// What is wrong with the grammar, for the client.
    pub(super) fn check(&self, source: &str) -> Result<(), String> {
        let first_step = || -> anyhow::Result<()> {
            let grammar: TopLevelGrammar = serde_json::from_str(source)?;
            let limits = self.0.limits();
            let (grammar, lexer) = GrammarInit::Serialized(grammar)
                .to_internal(Some(self.0.tok_env().clone()), limits.clone())?;
            let (width, most) = (
                width(lexer.regex_builder.exprset()),
                limits.initial_lexer_fuel,
            );
            ensure!(
                width <= most,
                "its regular expressions branch {width} times (limit {most})"
            );
            let init = GrammarInit::Internal(grammar, lexer);
            let mut matcher = Matcher::new(self.0.create_parser_from_init_default(init));
            matcher.compute_mask_or_eos()?;
            Ok(())
        };
        let result = catch_unwind(AssertUnwindSafe(first_step));
        let result = result.unwrap_or_else(|_| Err(anyhow!("its parser failed")));
        result.map_err(|error| reason(&format!("{error:#}")))
    }
}

fn token_trie(tokenizer: &[u8], info: &EngineInfo) -> anyhow::Result<TokTrie> {
    let tokenizer: Value = serde_json::from_slice(tokenizer)?;
    let mut tokens = token_bytes_from_tokenizer_json(&tokenizer)?;
    let vocab_size = info.vocab_size as usize;
    ensure!(
        tokens.len() <= vocab_size,
        "its vocabulary has {} tokens, the model's {vocab_size}",
        tokens.len()
    );
    for id in tokens.len()..vocab_size {
        let mut name = vec![TokTrie::SPECIAL_TOKEN_MARKER];
        name.extend_from_slice(format!("<[{id}]>").as_bytes());
        tokens.push(name);
    }
    let eos = info.eos_token_ids.first().copied();
    let eos = eos.context("the model has no end-of-text token")?;
    let trie = TokTrie::from(&TokRxInfo::new(info.vocab_size, eos), &tokens);
    Ok(trie.with_eos_tokens(&info.eos_token_ids))
}

/// A message without what llguidance says to its developers.
fn reason(message: &str) -> String {
    let message = message.replace("<non-verbose/>", "");
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match message.char_indices().nth(MAX_REASON) {
        None => message,
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}
