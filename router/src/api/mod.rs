//! The HTTP surface: one file per endpoint over the parts they share.

pub mod detokenize;
pub mod stop;
pub mod template;
pub mod tokenizer;
