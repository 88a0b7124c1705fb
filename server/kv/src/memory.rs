//! How much memory a new allocation may use.

use std::fs;
use std::path::{Path, PathBuf};

/// The smaller of the kernel's estimate of available memory and what is left of the limits of this
/// process's control groups, in bytes. 0 when /proc cannot be read.
#[must_use]
pub fn available_memory_bytes() -> u64 {
    available(
        Path::new("/proc/meminfo"),
        Path::new("/proc/self/cgroup"),
        Path::new("/sys/fs/cgroup"),
    )
}

fn available(meminfo: &Path, cgroups: &Path, mount: &Path) -> u64 {
    let machine = read_meminfo(meminfo).unwrap_or(0);
    let groups = fs::read_to_string(cgroups).unwrap_or_default();
    groups
        .lines()
        .flat_map(|line| folders(line, mount))
        .filter_map(|f| left_in(&f))
        .fold(machine, u64::min)
}

fn read_meminfo(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Folders of a line of /proc/self/cgroup ("0::/path" in version 2, "9:memory:/path" in version 1)
/// and of its ancestors, whose limits hold as well.
fn folders(line: &str, mount: &Path) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let base = match controllers {
        "" => mount.to_owned(),
        names if names.split(',').any(|name| name == "memory") => mount.join("memory"),
        _ => return Vec::new(),
    };
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors()
        .map(|ancestor| base.join(ancestor))
        .collect()
}

fn left_in(folder: &Path) -> Option<u64> {
    let read = |name: &str| -> Option<u64> {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    // No number ("max") and no file both mean no limit.
    let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes"))?;
    let used = read("memory.current").or_else(|| read("memory.usage_in_bytes"))?;
    Some(limit.saturating_sub(used.saturating_sub(reclaimable(folder))))
}

/// File pages that the kernel drops when memory is short. They count as used, and right after a
/// model's files were read there are many.
fn reclaimable(folder: &Path) -> u64 {
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let fields = stat.lines().filter_map(|line| line.split_once(' '));
    // Version 1 has the group alone under the plain name and with its children under the other.
    let inactive =
        fields.filter(|(name, _)| ["inactive_file", "total_inactive_file"].contains(name));
    inactive
        .filter_map(|(_, bytes)| bytes.trim().parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and texts.
    type Files<'a> = &'a [(&'a str, &'a str)];

    fn machine(folder: &Path, cgroup: &str, files: Files) -> u64 {
        fs::write(
            folder.join("meminfo"),
            "MemTotal: 9 kB\nMemAvailable: 1000 kB\n",
        )
        .expect("written");
        fs::write(folder.join("cgroup"), cgroup).expect("written");
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("inside the folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        available(&folder.join("meminfo"), &folder.join("cgroup"), folder)
    }

    #[test]
    fn takes_the_tightest_limit() {
        let cases: [(&str, Files, u64); 6] = [
            ("0::/\n", &[], 1_024_000),
            (
                "0::/a/b\n",
                &[("a/memory.max", "5000\n"), ("a/memory.current", "1000\n")],
                4000,
            ),
            (
                "0::/a\n",
                &[("a/memory.max", "max\n"), ("a/memory.current", "1000\n")],
                1_024_000,
            ),
            (
                "9:cpu,memory:/x\n",
                &[
                    ("memory/x/memory.limit_in_bytes", "700"),
                    ("memory/x/memory.usage_in_bytes", "900"),
                ],
                0,
            ),
            (
                "0::/a\n",
                &[
                    ("a/memory.max", "5000\n"),
                    ("a/memory.current", "4500\n"),
                    ("a/memory.stat", "anon 1500\ninactive_file 3000\n"),
                ],
                3500,
            ),
            (
                "3:cpu:/x\n",
                &[("memory/x/memory.limit_in_bytes", "1")],
                1_024_000,
            ),
        ];
        for (cgroup, files, expected) in cases {
            let folder = tempfile::tempdir().expect("a temporary folder");
            assert_eq!(machine(folder.path(), cgroup, files), expected, "{cgroup}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available_memory_bytes() > 0);
    }
}
