//! `--env`: what this server runs on and was built from, to be put into a bug report.

use std::fs;

use serde_json::{Map, Value, json};

/// The instruction sets that the kernels tell apart, by their names in /proc/cpuinfo.
const CPU_FEATURES: &[&str] = &[
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
];

/// The report. `shard` is what the shard program says of its Python, or why it cannot.
#[must_use]
pub fn report(shard: Value) -> Map<String, Value> {
    let cpu = read("/proc/cpuinfo");
    let flags = field(&cpu, "flags");
    let features: Vec<_> = flags.split_whitespace().collect();
    let known = CPU_FEATURES.iter().filter(|name| features.contains(*name));
    let memory = read("/proc/meminfo");
    let entries = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("commit", json!(built(env!("BUILD_COMMIT")))),
        ("compiler", json!(built(env!("BUILD_RUSTC")))),
        (
            "docker_label",
            json!(option_env!("DOCKER_LABEL").unwrap_or("none")),
        ),
        ("system", json!(system())),
        ("kernel", json!(read("/proc/sys/kernel/osrelease").trim())),
        ("cpu", json!(field(&cpu, "model name"))),
        ("cpu_features", json!(known.collect::<Vec<_>>())),
        (
            "cores",
            json!(std::thread::available_parallelism().map_or(0, usize::from)),
        ),
        ("memory_total", json!(field(&memory, "MemTotal"))),
        ("memory_available", json!(field(&memory, "MemAvailable"))),
        ("shard", shard),
    ];
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn built(value: &'static str) -> &'static str {
    if value.is_empty() { "unknown" } else { value }
}

fn read(path: &str) -> String {
    // A report without an entry is better than none.
    fs::read_to_string(path).unwrap_or_default()
}

/// The first value of `name : value` lines.
fn field(text: &str, name: &str) -> String {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let value = pairs
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|(key, _)| *key == name);
    value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.to_owned())
}

fn system() -> String {
    let release = read("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(
        || "unknown".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let report = report(json!({}));
        for name in [
            "version",
            "compiler",
            "kernel",
            "cpu",
            "memory_total",
            "memory_available",
        ] {
            let text = report[name].as_str().expect("text");
            assert!(!text.is_empty() && text != "unknown", "{name}");
        }
        assert!(report["cores"].as_u64() > Some(0));
    }

    #[test]
    fn the_first_of_several_cores_is_read() {
        let text = "processor\t: 0\nmodel name\t: A\nmodel name\t: B: C\n";
        assert_eq!(field(text, "model name"), "A");
        assert_eq!(field(text, "flags"), "unknown");
    }
}
