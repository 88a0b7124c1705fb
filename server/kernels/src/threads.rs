//! The compute threads: one persistent team that runs a piece of work together.
//!
//! A step is a few hundred operations with a wait for each other in between. Waking a thread costs
//! up to a millisecond, so workers spin within a step and stay awake for a while after it; and no
//! lock stands between operations, only counters. The calling thread works too.

use std::any::Any;
use std::hint::spin_loop;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How long a worker stays awake without work. Longer than the pause between two steps, in which
/// tokens are sent and the next step is planned.
const AWAKE: Duration = Duration::from_millis(20);

/// Rounds of spinning before a waiting thread offers its core to others.
const ROUNDS: u32 = 4096;

/// A member of the team panicked; the work is half done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a compute thread failed: {0}")]
pub struct TeamFailed(String);

/// The threads, counting the one that calls [`Team::run`].
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// One thread's view of the work in progress.
#[derive(Debug)]
pub struct Member<'a> {
    index: usize,
    /// Threads that it shares work with.
    count: usize,
    shared: &'a Shared,
}

#[derive(Debug)]
struct Shared {
    count: usize,
    /// Changes when there is work, and at the end.
    epoch: AtomicU32,
    /// Threads asleep; the caller wakes them only then.
    asleep: AtomicUsize,
    /// Workers not done with the current work.
    busy: AtomicUsize,
    stop: AtomicBool,
    work: Slot,
    barrier: Barrier,
}

/// The work in progress, as the caller left it.
#[derive(Debug)]
struct Slot(std::cell::UnsafeCell<Option<Work>>);

type Work = *const (dyn Fn(&Member<'_>) + Sync);

#[expect(unsafe_code, reason = "work is handed over by address")]
// SAFETY: the slot is written by the caller while no worker is busy, and read by workers between the
// change of `epoch` that follows and their decrement of `busy`, which the caller waits for.
unsafe impl Sync for Slot {}
#[expect(unsafe_code, reason = "work is handed over by address")]
// SAFETY: what the pointer shows is `Sync`, and it lives as long as `Team::run`, which waits for all.
unsafe impl Send for Slot {}

/// Waiting for each other, in rounds.
#[derive(Debug, Default)]
struct Barrier {
    arrived: AtomicUsize,
    round: AtomicU32,
    poisoned: AtomicBool,
    failure: std::sync::Mutex<Option<String>>,
}

impl Team {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system says when it gives no more threads.
    pub fn new(count: NonZeroUsize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            count: count.get(),
            epoch: AtomicU32::new(0),
            asleep: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            work: Slot(std::cell::UnsafeCell::new(None)),
            barrier: Barrier::default(),
        });
        let workers = (1..count.get())
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("compute-{index}"))
                    .spawn(move || shared.serve(index))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, workers })
    }

    /// Threads, the calling one included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count
    }

    /// Has every thread run `work` once and waits for all.
    ///
    /// # Errors
    /// When `work` panics on a thread; the others leave at their next wait. The team can be used
    /// again.
    pub fn run(&mut self, work: impl Fn(&Member<'_>) + Sync) -> Result<(), TeamFailed> {
        let work: &(dyn Fn(&Member<'_>) + Sync) = &work;
        #[expect(unsafe_code, reason = "work is handed over by address")]
        // SAFETY: only the lifetime changes; this call outlives every use, as it waits for all.
        let address = unsafe { std::mem::transmute::<*const _, Work>(std::ptr::from_ref(work)) };
        self.shared.start(address, &self.workers);
        self.shared.take_part(0, work);
        wait_until(|| self.shared.busy.load(Ordering::Acquire) == 0);
        self.shared.barrier.outcome()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panics are caught where they happen.
            let _ = worker.join();
        }
    }
}

impl Member<'_> {
    /// Which thread this is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Threads that share the work: the team, or one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The same thread on work of its own: it has the whole of it and waits for nobody.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            index: 0,
            count: 1,
            shared: self.shared,
        }
    }

    /// This thread's share of `length` items: contiguous, in the order of the threads, with borders
    /// at multiples of `unit`.
    #[must_use]
    pub fn share(&self, length: usize, unit: usize) -> std::ops::Range<usize> {
        let units = length.div_ceil(unit);
        let border = |index: usize| (units * index / self.count() * unit).min(length);
        border(self.index)..border(self.index + 1)
    }

    /// Waits until every thread is here. What they wrote before is then visible to all.
    ///
    /// # Panics
    /// When another thread panicked: the work ends here too.
    pub fn wait(&self) {
        if self.count > 1 {
            self.shared.barrier.wait(self.count);
        }
    }
}

impl Shared {
    fn start(&self, work: Work, workers: &[JoinHandle<()>]) {
        #[expect(unsafe_code, reason = "work is handed over by address")]
        // SAFETY: no worker is busy, so none reads the slot.
        unsafe {
            *self.work.0.get() = Some(work);
        }
        self.busy.store(self.count - 1, Ordering::Relaxed);
        // Sequentially consistent with a worker's "asleep, and still no work?".
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            for worker in workers {
                worker.thread().unpark();
            }
        }
    }

    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_epoch(seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            #[expect(unsafe_code, reason = "work is handed over by address")]
            // SAFETY: the epoch changed, so the slot is written, and the caller waits for `busy`.
            let work = unsafe { (*self.work.0.get()).map(|work| &*work) };
            if let Some(work) = work {
                self.take_part(index, work);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch after `seen`: awake at first, then asleep.
    fn next_epoch(&self, seen: u32) -> u32 {
        let changed = || {
            let epoch = self.epoch.load(Ordering::SeqCst);
            (epoch != seen).then_some(epoch)
        };
        let start = Instant::now();
        while start.elapsed() < AWAKE {
            for _ in 0..ROUNDS {
                if let Some(epoch) = changed() {
                    return epoch;
                }
                spin_loop();
            }
            std::thread::yield_now();
        }
        self.asleep.fetch_add(1, Ordering::SeqCst);
        let epoch = loop {
            if let Some(epoch) = changed() {
                break epoch;
            }
            std::thread::park();
        };
        self.asleep.fetch_sub(1, Ordering::SeqCst);
        epoch
    }

    fn take_part(&self, index: usize, work: &(dyn Fn(&Member<'_>) + Sync)) {
        let member = Member {
            index,
            count: self.count,
            shared: self,
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&member))) {
            self.barrier.poison(index, panic.as_ref());
        }
    }
}

impl Barrier {
    fn wait(&self, count: usize) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == count {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        let is_over = || self.round.load(Ordering::Acquire) != round;
        wait_until(|| is_over() || self.poisoned.load(Ordering::Acquire));
        assert!(is_over(), "left the work that another thread failed in");
    }

    fn poison(&self, index: usize, panic: &(dyn Any + Send)) {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panicked");
        let mut failure = self.failure.lock().unwrap_or_else(|lock| lock.into_inner());
        // The first one; the others' follows from it.
        failure.get_or_insert_with(|| format!("thread {index}: {text}"));
        self.poisoned.store(true, Ordering::Release);
    }

    /// What became of the work, once all threads have left it; makes the barrier new.
    fn outcome(&self) -> Result<(), TeamFailed> {
        if !self.poisoned.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.arrived.store(0, Ordering::Relaxed);
        let mut failure = self.failure.lock().unwrap_or_else(|lock| lock.into_inner());
        Err(TeamFailed(failure.take().unwrap_or_default()))
    }
}

/// Spins, and offers the core to others from time to time.
fn wait_until(is_over: impl Fn() -> bool) {
    loop {
        for _ in 0..ROUNDS {
            if is_over() {
                return;
            }
            spin_loop();
        }
        std::thread::yield_now();
    }
}
