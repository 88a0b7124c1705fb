//! How many ways the regular expressions of a lexer branch.
//!
//! llguidance limits the work of a lexer's steps, but not that of one: a byte after `a?a?a?…` may be
//! that of any `a`, and to write down all of those together takes time quadratic in their number, and
//! gigabytes. So the branches are counted before anything steps.

use llguidance::derivre::ExprRef;
use llguidance::derivre::raw::ExprSet;

// The numbers of derivre's `ExprTag`, which it does not export.
const LOOKAHEAD: u8 = 7;
const REPEAT: u8 = 9;
const CONCAT: u8 = 10;
const OR: u8 = 11;

/// The sum over all expressions with several branches of how many they have: the places in which the
/// next byte may be.
pub(super) fn width(expressions: &ExprSet) -> u64 {
    let mut branches = vec![0u64; expressions.len()];
    let mut sum = 0u64;
    // What an expression is made of comes before it.
    for id in 1..expressions.len() {
        let Ok(number) = u32::try_from(id) else { break };
        let expression = ExprRef::new(number);
        let parts = expressions.get_args(expression);
        let of = |part: &ExprRef| branches[part.as_usize()];
        branches[id] = match (expressions.get_tag(expression) as u8, parts) {
            (CONCAT, [first, rest]) if expressions.is_nullable(*first) => {
                of(first).saturating_add(of(rest))
            }
            (CONCAT | REPEAT | LOOKAHEAD, [first, ..]) => of(first),
            (OR, parts) => parts.iter().map(of).fold(0, u64::saturating_add),
            _ => 1,
        };
        if branches[id] > 1 {
            sum = sum.saturating_add(branches[id]);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use llguidance::derivre::{RegexAst, RegexBuilder};

    use super::*;

    fn of(regex: &str) -> u64 {
        let mut builder = RegexBuilder::new();
        builder.mk(&RegexAst::Regex(regex.to_owned())).unwrap();
        width(builder.exprset())
    }

    #[test]
    fn what_may_be_left_out_adds_a_branch() {
        assert_eq!(of("abc"), 0);
        assert_eq!(of("a?b"), 2);
        assert_eq!(of("a?c?b"), 2 + 3);
        // Quadratic: every beginning of the rest has all of its branches.
        let [some, twice] = [100, 200].map(|count| of(&"a?b?".repeat(count)));
        assert!(twice > 3 * some, "{some} {twice}");
        let [some, twice] = [100, 200].map(|count| of(&"ab".repeat(count)));
        assert_eq!([some, twice], [0, 0]);
    }
}
