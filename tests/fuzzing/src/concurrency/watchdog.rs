//! Ends the process when a run of the scheduler stands still between two points.
//!
//! The scheduler finds deadlocks and endless runs as long as its threads come to points. A loop
//! without one does not, nor does a lock of the host that one coroutine holds and another one
//! wants: both are on the same real thread. Here a thread of the process looks at the others once a
//! second. A run that has passed no point for as many seconds as [`Watchdog::default_limit`] has,
//! tells by a signal where it is (its threads, and a backtrace), and the process aborts.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ffi::c_int;
use std::io::Write as _;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use faultless_host::wait::Watchdog;

/// What a real thread shows of its run: 0 without one, else 1 and the points that it has passed.
struct Pulse {
    beats: AtomicU64,
    thread: libc::pthread_t,
}

/// The pulses of all real threads that have ever run the scheduler and still exist.
static PULSES: Mutex<Vec<Arc<Pulse>>> = Mutex::new(Vec::new());

/// This thread's pulse, on the list for as long as the thread exists.
struct Listed(Arc<Pulse>);

/// Says which threads the run of the calling thread has, and what each of them waits for.
pub(super) type Story = fn() -> String;

thread_local! {
    static OWN: Listed = Listed::new();
    static STORY: Cell<Story> = const { Cell::new(String::new) };
}

fn pulses() -> MutexGuard<'static, Vec<Arc<Pulse>>> {
    PULSES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listed {
    fn new() -> Self {
        // SAFETY: no precondition.
        let thread = unsafe { libc::pthread_self() };
        let pulse = Arc::new(Pulse { beats: AtomicU64::new(0), thread });
        pulses().push(Arc::clone(&pulse));
        Self(pulse)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        pulses().retain(|pulse| !Arc::ptr_eq(pulse, &self.0));
    }
}

/// A run that is watched; it belongs to the thread that began it.
pub(super) struct Watched(PhantomData<*const ()>);

impl Watched {
    pub(super) fn begin(story: Story) -> Self {
        start();
        STORY.set(story);
        OWN.with(|own| own.0.beats.store(1, Ordering::Relaxed));
        Self(PhantomData)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        OWN.with(|own| own.0.beats.store(0, Ordering::Relaxed));
    }
}

/// The run of this thread has come to a point; how many it has come to by now.
pub(super) fn beat() -> u64 {
    OWN.with(|own| {
        let points = own.0.beats.load(Ordering::Relaxed);
        own.0.beats.store(points + 1, Ordering::Relaxed);
        points
    })
}

/// Starts the thread that looks, once for the process.
fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        listen();
        let limit = Watchdog::default_limit().as_secs().max(1);
        let watch = std::thread::Builder::new().name("scheduler watchdog".into());
        watch.spawn(move || look_for_ever(limit)).expect("a thread");
    });
}

/// Seconds are counted, not measured: a machine that stood still has not hung.
fn look_for_ever(limit: u64) {
    let mut seen: Vec<(Arc<Pulse>, u64, u64)> = Vec::new();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let pulses = pulses();
        let mut now = Vec::new();
        for pulse in pulses.iter() {
            let beats = pulse.beats.load(Ordering::Relaxed);
            let before = seen.iter().find(|(of, ..)| Arc::ptr_eq(of, pulse));
            let still = before.filter(|(_, then, _)| beats > 0 && *then == beats);
            let seconds = still.map_or(0, |(.., seconds)| seconds + 1);
            if seconds == limit {
                // SAFETY: a thread takes its pulse off the list, which is locked here, before it
                // ends.
                unsafe { libc::pthread_kill(pulse.thread, signal()) };
            }
            now.push((Arc::clone(pulse), beats, seconds));
        }
        drop(pulses);
        seen = now;
    }
}

/// A signal that neither the standard library nor libFuzzer uses.
fn signal() -> c_int {
    libc::SIGRTMIN() + 4
}

fn listen() {
    let handler = on_signal as extern "C" fn(c_int);
    // SAFETY: all of it is integers and a mask, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SAFETY: the handler is a function of the right type that ends the process.
    let installed = unsafe { libc::sigaction(signal(), &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0, "a signal handler");
}

/// Runs on the thread that stands still, wherever that is, and does not return: what it calls need
/// not be safe in a handler. If one of it waits for what the thread holds, the alarm ends it.
extern "C" fn on_signal(_signal: c_int) {
    // SAFETY: no precondition.
    unsafe { libc::alarm(10) };
    let threads = STORY.get()();
    let told = writeln!(
        std::io::stderr(),
        "hang: a run has come to no point for {} s; {threads}\n{}",
        Watchdog::default_limit().as_secs().max(1),
        Backtrace::force_capture(),
    );
    drop(told);
    std::process::abort();
}
