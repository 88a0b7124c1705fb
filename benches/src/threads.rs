//! CPU time of a server's threads by the part they play, to the nanosecond, from /proc.

use anyhow::{Context, Result};
use procfs::process::{Process, Task, all_processes};

/// CPU time, in microseconds, of everything that takes part in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Parts {
    /// The engine's thread of each shard, its share of the native calls included.
    pub(crate) engine: f64,
    /// The other compute threads.
    pub(crate) compute: f64,
    /// The other threads of the shards: gRPC and the translation from and to it.
    pub(crate) grpc: f64,
    /// The launcher's process, which holds the router.
    pub(crate) router: f64,
    /// This process.
    pub(crate) load_generator: f64,
}

impl Parts {
    /// Of the launcher `pid`, its children and this process, since they started. Threads that have
    /// ended do not count.
    ///
    /// # Errors
    /// When the launcher is gone, or the kernel keeps no statistics of its scheduler.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let mut parts = Self {
            router: sum(&Process::new(pid)?)?,
            load_generator: sum(&Process::myself()?)?,
            ..Self::default()
        };
        let children = all_processes()?
            .flatten()
            .filter(|process| process.stat().is_ok_and(|stat| stat.ppid == pid));
        for child in children {
            // A child that ended meanwhile has no threads.
            let tasks = child.tasks().into_iter().flatten().flatten();
            for task in tasks {
                let Ok(stat) = task.stat() else { continue };
                *parts.of_shard(&stat.comm) += used(&task)?;
            }
        }
        Ok(parts)
    }

    fn of_shard(&mut self, thread: &str) -> &mut f64 {
        if thread == "engine" {
            &mut self.engine
        } else if thread.starts_with("compute-") {
            &mut self.compute
        } else {
            &mut self.grpc
        }
    }

    /// The mean over `steps` of what was used since `earlier`.
    #[must_use]
    pub(crate) fn a_step(&self, earlier: &Self, steps: f64) -> Self {
        let mean = |part: fn(&Self) -> f64| (part(self) - part(earlier)) / steps;
        Self {
            engine: mean(|parts| parts.engine),
            compute: mean(|parts| parts.compute),
            grpc: mean(|parts| parts.grpc),
            router: mean(|parts| parts.router),
            load_generator: mean(|parts| parts.load_generator),
        }
    }
}

fn sum(process: &Process) -> Result<f64> {
    process.tasks()?.flatten().map(|task| used(&task)).sum()
}

/// 0 of a thread that ended since it was listed.
fn used(task: &Task) -> Result<f64> {
    match task.schedstat() {
        Ok(times) => Ok(times.sum_exec_runtime as f64 / 1e3),
        Err(_) if task.stat().is_err() => Ok(0.0),
        Err(error) => Err(error).context(format!("thread {} has no CPU time", task.tid)),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::gettid;

    use super::*;

    #[test]
    fn threads_are_told_apart_by_name() {
        let mut parts = Parts::default();
        for (thread, time) in [
            ("engine", 1.0),
            ("compute-1", 2.0),
            ("compute-2", 4.0),
            ("text-generation", 8.0),
        ] {
            *parts.of_shard(thread) += time;
        }
        assert_eq!((parts.engine, parts.compute, parts.grpc), (1.0, 6.0, 8.0));
    }

    #[test]
    fn a_thread_that_ended_uses_none() {
        let thread = std::thread::spawn(std::thread::park);
        let listed: Vec<Task> = Process::myself()
            .unwrap()
            .tasks()
            .unwrap()
            .flatten()
            .collect();
        thread.thread().unpark();
        thread.join().unwrap();
        // The join may return just before the kernel lets go of the thread.
        for task in &listed {
            assert!(used(task).unwrap() >= 0.0);
        }
    }

    #[test]
    fn a_thread_uses_time() {
        let this = Process::myself()
            .unwrap()
            .task_from_tid(gettid().as_raw())
            .unwrap();
        let earlier = used(&this).unwrap();
        let mut now = earlier;
        // The kernel brings the figure up to date at its ticks.
        while now == earlier {
            now = used(&this).unwrap();
        }
        assert!(now > earlier);
    }

    #[test]
    fn this_process_is_the_load_generator() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let parts = Parts::of(pid).unwrap();
        assert!(
            parts.load_generator > 0.0 && parts.engine == 0.0,
            "{parts:?}"
        );
    }
}
