//! The range of every number that an operator can give: one table for the check and the docs.

use std::ops::RangeInclusive;

use bytesize::ByteSize;
use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::resolve::Mistakes;

#[cfg(test)]
mod tests;

const A_DAY: u64 = 86_400;
const A_WEEK: u64 = 7 * A_DAY;
const GIB: u64 = 1 << 30;
const U32: u64 = u32::MAX as u64;

/// Bounds by flag, without its dashes; both ends are taken.
pub(crate) const RANGES: &[(&str, RangeInclusive<u64>)] = &[
    ("port", 0..=65_535),
    ("validation-workers", 1..=256),
    ("lame-duck", 0..=A_DAY),
    ("graceful-termination-timeout", 0..=A_DAY),
    ("num-shard", 1..=64),
    ("master-port", 1..=65_535),
    ("max-input-tokens", 1..=U32),
    ("max-input-length", 1..=U32),
    ("max-total-tokens", 2..=U32),
    ("max-batch-size", 1..=4096),
    ("max-batch-prefill-tokens", 1..=1_048_576),
    ("max-batch-total-tokens", 1..=U32),
    ("kv-memory", 1..=(1 << 20) * GIB),
    ("num-threads", 1..=1024),
    ("page-tokens", 1..=4096),
    ("max-concurrent-requests", 1..=1_000_000),
    ("max-queued-tokens", 1..=1 << 40),
    ("max-queue-seconds", 1..=A_DAY),
    ("request-timeout", 1..=A_WEEK),
    ("max-best-of", 1..=128),
    ("max-stop-sequences", 0..=1024),
    ("max-stop-bytes", 1..=65_536),
    ("max-top-n-tokens", 0..=1024),
    ("max-client-batch-size", 1..=4096),
    ("max-n", 1..=128),
    ("max-messages", 1..=1_000_000),
    ("max-tools", 0..=100_000),
    ("max-tool-bytes", 1..=GIB),
    ("max-logit-bias", 0..=1_000_000),
    ("max-template-fuel", 1000..=1 << 40),
    ("max-template-bytes", 1..=16 * GIB),
    ("max-stored-responses", 0..=1_000_000),
    ("max-stored-response-bytes", 0..=1024 * GIB),
    ("max-grammar-bytes", 1..=1 << 22),
    ("max-grammar-compile-ms", 1..=60_000),
    ("max-grammar-size", 1..=1 << 32),
    ("max-grammar-fuel", 1..=1 << 40),
    ("max-grammar-lexer-states", 1..=1 << 32),
    ("max-grammar-step-items", 1..=1 << 32),
    ("grammar-cache", 1..=1024 * GIB),
    ("payload-limit", 1..=4 * GIB),
    ("max-body-bytes-in-flight", 1..=1024 * GIB),
    ("max-connections", 1..=1_000_000),
    ("max-header-bytes", 1..=16_777_216),
    ("max-headers", 1..=10_000),
    ("header-timeout", 1..=A_DAY),
    ("body-timeout", 1..=A_DAY),
    ("min-body-rate", 0..=GIB),
    // serde_json itself stops at 127.
    ("max-json-depth", 1..=127),
    ("max-unread-events", 1..=1_000_000),
    ("write-stall-timeout", 1..=A_DAY),
    ("startup-timeout", 1..=A_WEEK),
];

/// The range of a flag, if its value is a number.
#[cfg(test)]
pub(crate) fn of(flag: &str) -> Option<&'static RangeInclusive<u64>> {
    let entry = RANGES.iter().find(|(name, _)| *name == flag);
    entry.map(|(_, range)| range)
}

/// Adds a mistake for each given number out of its range.
pub(crate) fn check(matches: &ArgMatches, mistakes: &mut Mistakes) {
    for (flag, range) in RANGES {
        let id = flag.replace('-', "_");
        if matches.value_source(&id) == Some(ValueSource::DefaultValue) {
            continue;
        }
        let texts = matches.get_raw(&id).into_iter().flatten();
        for text in texts.filter_map(|text| text.to_str()) {
            if number(text).is_some_and(|number| !range.contains(&number)) {
                let (least, most) = (range.start(), range.end());
                mistakes.add(format!("--{flag} is {text}: give {least} to {most}"));
            }
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let size = || Some(text.parse::<ByteSize>().ok()?.as_u64());
    text.parse().ok().or_else(size)
}
