//! The HTTP surface as clients see it: real HTTP against a scripted shard.

mod access;
mod backend;
mod browsers;
mod completions;
mod errors;
mod fields;
#[path = "../../src/api/tokenizer/fixture.rs"]
mod fixture;
mod hosts;
mod limits;
mod messages;
mod native;
mod nulls;
mod openai;
mod responses;
mod streams;
mod support;
mod tools;
mod typed;
