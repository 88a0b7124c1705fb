//! `multipleOf` in schemas. A lexer for multiples of n has n states that no fuel of llguidance pays
//! for, and values that hold together are followed as their least common multiple.

use serde_json::{Number, Value};

/// Largest least common multiple of all `multipleOf` of a schema, decimal points left out.
pub(super) const MOST: u64 = 20_000;

/// Whether the least common multiple of all `multipleOf` in a schema is within [`MOST`].
pub(super) fn are_bounded(schema: &Value) -> bool {
    common_multiple(schema, 1).is_some()
}

/// The least common multiple of `so_far` and all values in the schema, if it is within the bound.
fn common_multiple(schema: &Value, so_far: u64) -> Option<u64> {
    match schema {
        Value::Array(parts) => parts
            .iter()
            .try_fold(so_far, |all, part| common_multiple(part, all)),
        Value::Object(keys) => {
            keys.iter()
                .try_fold(so_far, |all, (key, value)| match (key.as_str(), value) {
                    ("multipleOf", Value::Number(number)) => least_common(all, digits(number)?),
                    _ => common_multiple(value, all),
                })
        }
        _ => Some(so_far),
    }
}

/// The digits of a number without its decimal point.
fn digits(number: &Number) -> Option<u64> {
    // Never with an exponent.
    let text = format!("{}", number.as_f64()?.abs());
    text.replace('.', "").parse().ok()
}

fn least_common(a: u64, b: u64) -> Option<u64> {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let multiple = (a / divisor.max(1)).checked_mul(b.max(1))?;
    (multiple <= MOST).then_some(multiple)
}
