//! The launcher as a process: exit codes, and that nothing outlives it.
//!
//! The shards are shell scripts that never answer gRPC; what needs a ready shard is tested end to
//! end with a real one.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// No test waits longer than this for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// What a shard gets to end by itself.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A folder with a shard program, which is also the launcher's folder for temporary files.
struct Site(TempDir);

impl Site {
    fn new(script: &str) -> Self {
        let site = Self(tempfile::tempdir().expect("temporary folders work"));
        let program = site.path().join("text-generation-server");
        fs::write(
            &program,
            format!("#!/bin/sh\ncd {}\n{script}", site.path().display()),
        )
        .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o700)))
        .expect("the folder is ours");
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_text-generation-launcher"));
        command
            .env_clear()
            .env("PORT", "0")
            .args(flags)
            .env("PATH", format!("{}:/usr/bin:/bin", self.path().display()))
            .env("TMPDIR", self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, flags: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } =
            self.command(flags).output().expect("the launcher is built");
        (status.code(), String::from_utf8(stderr).expect("text"))
    }

    /// Starts a launcher and waits until its shard has written its pid.
    fn launch(&self, flags: &[&str]) -> (Child, Pid) {
        let launcher = self.command(flags).spawn().expect("the launcher is built");
        let shard = wait_for(|| {
            fs::read_to_string(self.path().join("pid"))
                .ok()?
                .strip_suffix('\n')?
                .parse()
                .ok()
        });
        (launcher, Pid::from_raw(shard))
    }

    fn has_run_dir(&self) -> bool {
        let entries = fs::read_dir(self.path()).expect("the folder is ours");
        entries.flatten().any(|entry| entry.path().is_dir())
    }
}

fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "nothing happened in {LIMIT:?}");
        sleep(Duration::from_millis(10));
    }
}

fn send(launcher: &Child, signal: Signal) {
    let pid = i32::try_from(launcher.id()).expect("pids are positive");
    kill(Pid::from_raw(pid), signal).expect("the launcher runs");
}

fn ended(mut launcher: Child) -> ExitStatus {
    wait_for(|| launcher.try_wait().expect("it is our child"))
}

/// Waits until the process is gone or only an entry that nobody has waited for.
fn wait_until_gone(pid: Pid) {
    wait_for(|| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    });
}

const WRITE_PID: &str = "echo $$ > pid.new; mv pid.new pid\n";

#[test]
fn all_mistakes_end_with_64() {
    let site = Site::new("exit 1");
    let (code, text) = site.run(&["--num-shard", "0", "--max-batch-size", "0"]);
    assert_eq!(code, Some(64));
    assert!(
        text.contains("--num-shard") && text.contains("--max-batch-size"),
        "{text}"
    );
    assert_eq!(site.run(&["--no-such-flag"]).0, Some(64));
    assert!(!site.has_run_dir());
}

#[test]
fn a_port_in_use_ends_with_69_before_a_shard_is_started() {
    let site = Site::new(WRITE_PID);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let (code, text) = site.run(&["--port", &port]);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(!site.path().join("pid").exists());
}

#[test]
fn a_shard_that_fails_at_first_ends_with_70_and_its_last_lines() {
    let site = Site::new("echo 'there is no model x' >&2; exit 1");
    let (code, text) = site.run(&[]);
    assert_eq!(code, Some(70), "{text}");
    assert!(
        text.contains("exit status: 1") && text.contains("there is no model x"),
        "{text}"
    );
    assert!(!site.has_run_dir());
}

#[test]
fn a_model_that_cannot_be_loaded_ends_with_66() {
    let (code, text) = Site::new("exit 66").run(&[]);
    assert_eq!(code, Some(66), "{text}");
}

#[test]
fn flags_and_variables_of_tgi_without_effect_are_named_in_one_line() {
    let site = Site::new("exit 66");
    for instead in [&[][..], &["--print-config"]] {
        let flags = ["--cuda-graphs", "1,2", "--usage-stats=off"];
        let mut command = site.command(&[&flags, instead].concat());
        let command = command
            .env("ATTENTION", "paged")
            .env("MAX_WAITING_TOKENS", "9");
        let output = command.output().expect("the launcher is built");
        let text = String::from_utf8(output.stderr).expect("text");
        let notices: Vec<_> = text
            .lines()
            .filter(|line| line.contains("without effect"))
            .collect();
        assert_eq!(notices.len(), 1, "{text}");
        for name in [
            "--cuda-graphs",
            "--usage-stats",
            "--max-waiting-tokens",
            "ATTENTION",
        ] {
            assert!(notices[0].contains(name), "{text}");
        }
    }
}

#[test]
fn a_wrong_variable_and_a_refused_flag_are_named_with_the_others() {
    let site = Site::new("exit 1");
    let mut command = site.command(&["--lora-adapters", "a", "--max-batch-size", "0"]);
    let command = command.env("NUM_SHARD", "many").env("MAX_HEADERS", "0");
    let output = command.output().expect("the launcher is built");
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).expect("text");
    for name in [
        "--lora-adapters",
        "--max-batch-size is 0",
        "--num-shard",
        "--max-headers",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
}

/// What the launcher prints to standard output, and its exit code.
fn printed(site: &Site, flags: &[&str]) -> (Option<i32>, String) {
    let output = site.command(flags).output().expect("the launcher is built");
    let text = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), text)
}

#[test]
fn a_dry_run_prints_the_shards_plan_and_leaves_nothing() {
    let site = Site::new(r#"echo "$@" > asked; echo '{"executor": "native", "num_pages": 7}'"#);
    let (code, text) = printed(&site, &["--dry-run"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "executor = native\nnum_pages = 7\n")
    );
    let (_, text) = printed(&site, &["--dry-run", "--json-output"]);
    let plan: serde_json::Value = serde_json::from_str(&text).expect("json");
    assert_eq!(plan["num_pages"], 7);
    let asked = fs::read_to_string(site.path().join("asked")).expect("the shard was asked");
    assert!(asked.starts_with("plan --config "), "{asked}");
    assert!(!site.has_run_dir());
}

#[test]
fn a_dry_run_of_a_model_that_cannot_be_loaded_ends_with_66() {
    let site = Site::new("echo 'there is no model x' >&2; exit 66");
    let (code, text) = site.run(&["--dry-run"]);
    assert_eq!(code, Some(66), "{text}");
    assert!(text.contains("there is no model x"), "{text}");
}

#[test]
fn the_report_on_the_environment_needs_no_working_shard() {
    let (code, text) = printed(&Site::new("exit 1"), &["-e"]);
    assert_eq!(code, Some(0));
    for name in [
        "version = ",
        "kernel = ",
        "cpu = ",
        "memory_total = ",
        "shard = shard 0 ended",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    let working = Site::new(r#"echo '{"python": "3.13", "packages": {"numpy": "2"}}'"#);
    let (_, text) = printed(&working, &["--env"]);
    assert!(text.contains("shard.packages.numpy = 2"), "{text}");
}

#[test]
fn two_reports_at_once_are_a_mistake() {
    let (code, _) = Site::new("").run(&["--env", "--dry-run"]);
    assert_eq!(code, Some(64));
}

#[test]
fn a_missing_shard_program_ends_with_70_and_says_what_to_install() {
    let site = Site::new("");
    fs::remove_file(site.path().join("text-generation-server")).expect("it was made");
    let (code, text) = site.run(&[]);
    assert_eq!(code, Some(70), "{text}");
    assert!(text.contains("pip install"), "{text}");
}

#[test]
fn a_model_that_is_never_ready_ends_with_75() {
    let site = Site::new("exec sleep 60");
    let (code, text) = site.run(&["--startup-timeout", "1"]);
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("--startup-timeout"), "{text}");
}

#[test]
fn json_logs_hold_the_shards_lines_and_never_the_key() {
    let site = Site::new("echo 'a \"line\"'; exit 66");
    let mut command = site.command(&["--json-output", "--log-level", "trace"]);
    let output = command
        .env("API_KEY", "hunter2")
        .output()
        .expect("the launcher is built");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains(r#""message":"a \"line\"""#), "{text}");
    assert!(text.lines().all(|line| line.starts_with('{')), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn sigterm_asks_the_shard_to_end_and_leaves_nothing() {
    let site = Site::new(&format!(
        "trap 'echo > asked; exit 0' TERM\n{WRITE_PID}while :; do sleep 0.05; done"
    ));
    let (launcher, shard) = site.launch(&[]);
    assert!(site.has_run_dir());
    send(&launcher, Signal::SIGTERM);
    assert_eq!(ended(launcher).code(), Some(0));
    wait_until_gone(shard);
    assert!(site.path().join("asked").exists());
    assert!(!site.has_run_dir());
}

#[test]
fn a_second_signal_does_not_wait_for_a_deaf_shard() {
    let site = Site::new(&format!(
        "trap '' TERM\n{WRITE_PID}while :; do sleep 0.05; done"
    ));
    let (mut launcher, shard) = site.launch(&[]);
    let begun = Instant::now();
    // Two that come together may be heard as one.
    wait_for(|| {
        send(&launcher, Signal::SIGTERM);
        sleep(Duration::from_millis(100));
        launcher.try_wait().expect("it is our child")
    });
    assert!(
        begun.elapsed() < STOP_GRACE,
        "the second signal was not heard"
    );
    wait_until_gone(shard);
}

#[test]
fn a_launcher_killed_with_9_leaves_nothing_for_long() {
    let site = Site::new(&format!(
        "trap '' TERM\n{WRITE_PID}while :; do sleep 0.05; done"
    ));
    let (launcher, shard) = site.launch(&[]);
    send(&launcher, Signal::SIGKILL);
    ended(launcher);
    wait_until_gone(shard);
    // Its folder is removed by the next one.
    assert!(site.has_run_dir());
    assert_eq!(site.run(&["--num-shard", "0"]).0, Some(64));
    assert!(!site.has_run_dir());
}
