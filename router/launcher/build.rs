//! Notes what this program was built from: the commit, if there is a repository, and the compiler.

use std::env;
use std::process::Command;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build programs everything by variables"
)]
fn main() {
    println!("cargo::rerun-if-env-changed=TEXT_GENERATION_COMMIT");
    println!("cargo::rerun-if-env-changed=DOCKER_LABEL");
    // Of a worktree too, whose HEAD is elsewhere.
    if let Some(head) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let given = env::var("TEXT_GENERATION_COMMIT").ok();
    let commit = given.or_else(|| output("git", &["rev-parse", "HEAD"]));
    let rustc = env::var("RUSTC").ok();
    let compiler = rustc.and_then(|rustc| output(&rustc, &["--version"]));
    for (name, value) in [("BUILD_COMMIT", commit), ("BUILD_RUSTC", compiler)] {
        println!("cargo::rustc-env={name}={}", value.unwrap_or_default());
    }
}

/// What a command prints; nothing where it fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
