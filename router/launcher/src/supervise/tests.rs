//! When to restart, when to give up, when a shard counts as stuck.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use text_generation_router::logging::Log;
use tracing_subscriber::filter::Targets;

use super::*;
use crate::child::{Output, ShardLevel};

const START: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_the_fifth_failure_in_the_window_is_the_last() {
    let mut failures = Failures::default();
    let pauses: Vec<_> = (0..MAX_FAILURES)
        .map(|_| failures.record(Instant::now()))
        .collect();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        pauses,
        [seconds(1), seconds(3), seconds(9), seconds(27), None]
    );
}

#[tokio::test(start_paused = true)]
async fn old_failures_are_forgotten() {
    let mut failures = Failures::default();
    for _ in 0..20 {
        assert_eq!(failures.record(Instant::now()), Some(FIRST_PAUSE));
        sleep(FAILURE_WINDOW).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_never_ready_meets_its_deadline() {
    let (_sender, mut readiness) = watch::channel(Readiness::Loading);
    let (begun, mut was_ready) = (Instant::now(), false);
    let failure = watch_health(&mut readiness, START, &mut was_ready).await;
    assert!(matches!(failure, Failure::NotReady));
    assert_eq!(begun.elapsed(), START);
    assert!(!was_ready);
}

#[tokio::test(start_paused = true)]
async fn only_a_shard_that_stays_unhealthy_is_stuck() {
    let (sender, mut readiness) = watch::channel(Readiness::Ready);
    let stumble = async {
        let unavailable = || Readiness::Unavailable {
            reason: "step overdue".to_owned(),
        };
        sender.send_replace(unavailable());
        sleep(UNHEALTHY_LIMIT - Duration::from_secs(1)).await;
        sender.send_replace(Readiness::Ready);
        sleep(Duration::from_secs(1)).await;
        sender.send_replace(unavailable());
        pending::<()>().await;
    };
    let (begun, mut was_ready) = (Instant::now(), false);
    let failure = tokio::select! {
        failure = watch_health(&mut readiness, START, &mut was_ready) => failure,
        () = stumble => unreachable!("it never ends"),
    };
    assert!(matches!(failure, Failure::Stuck));
    assert_eq!(begun.elapsed(), UNHEALTHY_LIMIT * 2);
    assert!(was_ready);
}

/// A supervisor of `ranks` shells that run `script`, the rank being `$4`.
fn shells(script: &str, ranks: u32) -> (Supervisor, watch::Sender<Readiness>, tempfile::TempDir) {
    let run_dir = tempfile::tempdir().expect("temporary folders work");
    let program = run_dir.path().join("shard");
    fs::write(
        &program,
        format!("#!/bin/sh\ncd {}\n{script}", run_dir.path().display()),
    )
    .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o700)))
    .expect("the folder is ours");
    let (readiness, view) = watch::channel(Readiness::Loading);
    let command = ShardCommand {
        program: program.into(),
        config: run_dir.path().join("config.json"),
        output: Output::Plain,
        log: Log::open().writer(),
        level: ShardLevel::of(&Targets::new()),
    };
    let spec = GroupSpec {
        command,
        ranks,
        run_dir: run_dir.path().to_owned(),
        startup_timeout: START,
    };
    let signals = StopSignals::listen().expect("handlers are allowed");
    (Supervisor::new(spec, view, signals), readiness, run_dir)
}

#[tokio::test]
async fn a_shard_that_fails_to_load_ends_the_launch_with_its_last_lines() {
    let (mut supervisor, _readiness, _run_dir) =
        shells("echo loading; echo 'no such model' >&2; exit 66", 1);
    let error = supervisor.run().await;
    assert_eq!(error.exit_code(), crate::error::EXIT_MODEL);
    let text = error.to_string();
    assert!(text.contains("exit status: 66"), "{text}");
    assert!(text.ends_with("\n  loading\n  no such model"), "{text}");
}

#[tokio::test]
async fn ranks_die_and_come_back_together_when_one_of_them_dies_later() {
    // Rank 1 dies in its first life, as soon as the file `ready` is there.
    let script = r#"
        echo "$$" >> "pids-$4"
        if [ "$4" = 1 ] && [ "$(wc -l < pids-1)" = 1 ]; then
            while [ ! -e ready ]; do sleep 0.02; done
            exit 9
        fi
        exec sleep 60"#;
    let (mut supervisor, readiness, run_dir) = shells(script, 2);
    let pids = |rank: u32| -> Vec<String> {
        let text = fs::read_to_string(run_dir.path().join(format!("pids-{rank}")));
        text.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let restarted = async {
        readiness.send_replace(Readiness::Ready);
        sleep(Duration::from_millis(50)).await;
        fs::write(run_dir.path().join("ready"), "").expect("the folder is ours");
        while pids(0).len() < 2 || pids(1).len() < 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        error = supervisor.run() => panic!("gave up: {error}"),
        restarted = timeout(START, restarted) => restarted.expect("both ranks restart"),
    }
    assert!(
        !is_running(&pids(0)[0]),
        "rank 0 survived the death of rank 1"
    );
    assert!(is_running(&pids(0)[1]));
    supervisor.stop().await;
    assert!(!is_running(&pids(0)[1]) && !is_running(&pids(1)[1]));
}

#[tokio::test]
async fn a_shard_killed_takes_its_own_children_with_it() {
    let (mut supervisor, _readiness, run_dir) =
        shells("trap '' TERM\nsleep 60 & echo $! > child\nwait", 1);
    let child = run_dir.path().join("child");
    let started = async {
        while !fs::read_to_string(&child).is_ok_and(|pid| pid.ends_with('\n')) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        error = supervisor.run() => panic!("gave up: {error}"),
        () = started => {}
    }
    supervisor.kill().await;
    let pid = fs::read_to_string(&child).expect("the shell wrote it");
    let gone = async {
        while is_running(pid.trim()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(START, gone)
        .await
        .expect("the grandchild is killed");
}

/// Whether a process exists and is more than an entry that nobody has waited for.
fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
