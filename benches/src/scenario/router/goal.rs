//! What the router is to reach.

use std::io::Write;

use serde_json::{Value, json};

use crate::stats::rounded;

/// A figure and its bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    name: &'static str,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtLeast(f64),
    Under(f64),
}

/// Requests a second of `/health`, as a share of the bare server's.
pub(super) const HEALTH: Goal = Goal {
    name: "health_rate_ratio",
    bound: Bound::AtLeast(0.6),
};
/// Requests a second of `/generate` with one token, as a share of the bare server's.
pub(super) const GENERATE: Goal = Goal {
    name: "generate_rate_ratio",
    bound: Bound::AtLeast(0.1),
};
/// Time added at half load, in milliseconds.
pub(super) const ADDED_P50: Goal = Goal {
    name: "added_ms_p50",
    bound: Bound::Under(0.5),
};
/// The same of the slowest hundredth.
pub(super) const ADDED_P99: Goal = Goal {
    name: "added_ms_p99",
    bound: Bound::Under(2.0),
};
/// Memory with idle streams, in MiB.
pub(super) const IDLE_MEMORY: Goal = Goal {
    name: "idle_streams_rss_mib",
    bound: Bound::Under(300.0),
};

impl Goal {
    /// The point of a figure; says on standard error whether it reaches the goal.
    pub(super) fn point(self, value: f64) -> Value {
        let (sign, bound, met) = match self.bound {
            Bound::AtLeast(least) => (">=", least, value >= least),
            Bound::Under(most) => ("<", most, value < most),
        };
        let verdict = if met { "pass" } else { "miss" };
        let name = self.name;
        // Standard output has the report; a closed standard error loses only this line.
        let _ = writeln!(
            std::io::stderr(),
            "{verdict}  {name:<22} {value:>8.3}  goal {sign} {bound}"
        );
        json!({
            "figure": name, "value": rounded(value), "goal": format!("{sign} {bound}"), "met": met,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_on_its_side_of_the_bound() {
        for (goal, value, met) in [
            (HEALTH, 0.6, true),
            (HEALTH, 0.59, false),
            (ADDED_P50, 0.5, false),
            (ADDED_P50, 0.49, true),
        ] {
            assert_eq!(goal.point(value)["met"], met, "{value}");
        }
        assert_eq!(HEALTH.point(f64::NAN)["met"], false);
    }
}
