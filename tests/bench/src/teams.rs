//! Two threads that do the same at once, each on a CPU of its own.
//!
//! What counts is how much more two do than one: the scaling. One of the two is the thread that
//! measures, the other a [`Helper`], which sleeps while the first runs alone.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::measure::{Role, Sampled, filling};
use super::memory::{self, involuntary_switches};

/// How long both run. The helper must wake up for it, which takes some microseconds.
const SAMPLE: Duration = Duration::from_micros(500);

/// What a member does so many times: it is told which of the two it is.
type Work = dyn Fn(usize, u64) + Send + Sync;

/// Something that two threads do.
pub(super) struct Team {
    role: Role,
    work: Arc<Work>,
}

impl Team {
    pub(super) fn new(role: Role, work: impl Fn(usize, u64) + Send + Sync + 'static) -> Self {
        Self { role, work: Arc::new(work) }
    }

    /// With the second thread.
    pub(super) fn with(self, helper: &Rc<Helper>) -> Playing {
        Playing { team: self, helper: helper.clone() }
    }
}

/// A team that is complete.
pub(super) struct Playing {
    team: Team,
    helper: Rc<Helper>,
}

impl Playing {
    /// Nanoseconds of one operation of each member, when both do so many.
    pub(super) fn together(&self, iterations: u64) -> f64 {
        let took = self.helper.together(&self.team.work, iterations);
        took.as_nanos() as f64 / iterations as f64
    }

    /// Nanoseconds of one operation of one member alone.
    pub(super) fn by_one(&self, iterations: u64) -> f64 {
        self.alone(iterations).as_nanos() as f64 / iterations as f64
    }

    /// How long one member takes alone.
    fn alone(&self, iterations: u64) -> Duration {
        (self.team.work)(0, 1);
        let began = Instant::now();
        (self.team.work)(0, iterations);
        began.elapsed()
    }
}

impl Sampled for Playing {
    fn role(&self) -> Role {
        self.team.role
    }

    fn calibrate(&mut self) -> u64 {
        filling(SAMPLE, u64::MAX, |iterations| self.alone(iterations).as_nanos() as f64)
    }

    /// What both do in a time, of what one does.
    fn sample(&mut self, iterations: u64) -> f64 {
        let alone = self.alone(iterations);
        let both = self.helper.together(&self.team.work, iterations);
        2.0 * alone.as_nanos() as f64 / both.as_nanos().max(1) as f64
    }

    fn disturbances(&self) -> i64 {
        involuntary_switches() + self.helper.switches.get()
    }
}

/// What the helper is to do, and the number of arrivals at which both begin.
struct Job {
    work: Arc<Work>,
    iterations: u64,
    start: u64,
}

/// When it did it, and how often its thread was made to give up the CPU since it began to live.
struct Done {
    began: Instant,
    ended: Instant,
    switches: i64,
}

/// The second thread.
pub(super) struct Helper {
    /// `None`: it is to end.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    arrived: Arc<AtomicU64>,
    switches: Cell<i64>,
    thread: Option<JoinHandle<()>>,
}

impl Helper {
    /// A thread on this CPU.
    ///
    /// # Errors
    /// The system's: no thread, or no such CPU.
    pub(super) fn start(cpu: usize) -> io::Result<Rc<Self>> {
        let (jobs, orders) = channel::<Job>();
        let (reports, done) = channel();
        let arrived = Arc::new(AtomicU64::new(0));
        let at_start = arrived.clone();
        let (ready, pinned) = channel();
        let thread = std::thread::Builder::new().name("helper".into()).spawn(move || {
            let _ = ready.send(memory::pin(cpu));
            for Job { work, iterations, start } in orders {
                work(1, 1);
                meet(&at_start, start);
                let began = Instant::now();
                work(1, iterations);
                let ended = Instant::now();
                let done = Done { began, ended, switches: involuntary_switches() };
                if reports.send(done).is_err() {
                    break;
                }
            }
        })?;
        pinned.recv().map_err(io::Error::other)??;
        let (jobs, switches) = (Some(jobs), Cell::new(0));
        Ok(Rc::new(Self { jobs, done, arrived, switches, thread: Some(thread) }))
    }

    /// How long both take, from the first begin to the last end.
    fn together(&self, work: &Arc<Work>, iterations: u64) -> Duration {
        let start = self.arrived.load(Ordering::Relaxed) + 2;
        let job = Job { work: work.clone(), iterations, start };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(sent, "the helper has ended");
        work(0, 1);
        meet(&self.arrived, start);
        let began = Instant::now();
        work(0, iterations);
        let ended = Instant::now();
        let Ok(done) = self.done.recv() else { panic!("the helper has ended") };
        self.switches.set(done.switches);
        ended.max(done.ended) - began.min(done.began)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Arrives, and waits until so many have.
fn meet(arrived: &AtomicU64, all: u64) {
    /// Some microseconds: the other may have no CPU.
    const ROUNDS: u32 = 5_000;
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut rounds = 0;
    while arrived.load(Ordering::Acquire) < all {
        if rounds < ROUNDS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
        rounds += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn both_members_do_the_work_and_one_does_it_alone() {
        let cpus = memory::Cpus::take().expect("a CPU");
        let helper = Helper::start(cpus.other.unwrap_or(cpus.own)).expect("a thread");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let team = Team::new(Role::Subject, move |member, n| {
            seen.lock().expect("no panic").push((member, n));
        });
        let mut team = team.with(&helper);
        assert!(team.sample(7) > 0.0);
        let mut calls = std::mem::take(&mut *calls.lock().expect("no panic"));
        calls.sort_unstable();
        // A warm-up before each, and the first member twice: alone, and with the other.
        assert_eq!(calls, [(0, 1), (0, 1), (0, 7), (0, 7), (1, 1), (1, 7)]);
    }
}
