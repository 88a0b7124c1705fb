//! `docs/metrics.md`, generated from the table so that the two cannot part.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::table::{Kind, Metric, TABLE, Unit};

const HEAD: &str = "\
# Metrics

Generated from the table in `router/src/metrics/table.rs` by `make docs`; change it there.

`GET /metrics` gives them as Prometheus text, after each start from zero. Those marked TGI have the
name and the meaning that they have in Text Generation Inference. A histogram has the series
`_bucket`, `_sum` and `_count`. The labels' values are few, whatever requests say.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (chapter, metrics) in TABLE {
        write!(
            page,
            "\n## {chapter}\n\n| metric | kind | unit | labels | meaning | |\n|---|---|---|---|---|---|\n"
        )
        .expect("a string takes all");
        metrics
            .iter()
            .for_each(|metric| page.push_str(&row(metric)));
    }
    page
}

fn row(metric: &Metric) -> String {
    let labels: Vec<_> = metric
        .labels
        .iter()
        .map(|(name, values)| format!("`{name}`: {values}"))
        .collect();
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let unit = match metric.unit {
        Unit::Seconds => "s",
        Unit::Microseconds => "µs",
        Unit::Tokens => "tokens",
        Unit::Pages => "pages",
        Unit::Requests => "requests",
        Unit::Bytes => "bytes",
        Unit::Events => "",
    };
    format!(
        "| `{}` | {kind} | {unit} | {} | {} | {} |\n",
        metric.name,
        labels.join("; "),
        metric.help,
        if metric.is_of_tgi { "TGI" } else { "" },
    )
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_metrics_page_is_current() {
    let written = std::fs::read_to_string(docs().join("metrics.md")).expect("it is committed");
    assert!(written == page(), "the table changed: run `make docs`");
}

#[test]
#[ignore = "run by `make docs`: writes the page"]
fn write_the_metrics_page() {
    std::fs::write(docs().join("metrics.md"), page()).expect("the folder exists");
}
