//! The HTTP router: validate → tokenize → queue → dispatch → stream.
pub mod config;
