//! Held ranges: who waits for a write that is under way in steps, and who does not (W2).
//!
//! A write stands still where it holds its range and no page; another thread then writes, and the
//! lock checker says whether that one waits.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faultless::filemap::Task;
use faultless::page::Strategy;
use faultless_host::script::Moment;
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{
    Action, Event, LockCheck, Machine, Mmu, Protection, Watchdog, When, counting, on_both_mmus,
};
use faultless_tests::waiting::until;
use faultless_tests::{Backing, PAGE, Rig, Setup, Store, assert_same, calls, pattern};

/// A task that does something when it is asked for a signal, and has none.
struct Asking<F: Fn()>(F);

impl<F: Fn()> Task for Asking<F> {
    fn fatal_signal_pending(&self) -> bool {
        self.0();
        false
    }
}

/// The name of the thread that writes meanwhile.
const OTHER: &str = "the other writer";

/// What the other writer was seen doing, while the first one stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Landed,
    Waiting,
    Lost,
}

/// How a write comes to stand still with its range held and no page locked: it is faulting in.
struct Case {
    setup: Setup,
    /// The pages that it overwrites, of 72.
    pages: Range<usize>,
    /// What happens before that.
    rules: Vec<(Event, u64, Action)>,
    /// The fault-in at which it stands still.
    fault_in: u64,
    /// Whether the file is in the cache.
    warmth: Warmth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warmth {
    Hot,
    Cold,
}

/// Pages of the file.
const PAGES: usize = 72;

/// A copy is short, and the next one finds its source gone: straight into pages, and into pages
/// that are prepared; a write over two leaves, whose second copy finds its source gone; a temporary
/// page that is not filled at once.
fn cases() -> Vec<Case> {
    let plain = |backing, strategy| Setup { backing, strategy };
    let short = || (Event::AtomicCopy, 1, Action::Short(PAGE));
    let gone = || (Event::AtomicCopy, 2, Action::Steal);
    let (b, a) = (Strategy::BeginEnd, Strategy::PrepareCommit);
    let case =
        |setup, pages, rules, fault_in, warmth| Case { setup, pages, rules, fault_in, warmth };
    vec![
        case(Setup::PLAIN, 1..3, vec![short(), gone()], 1, Warmth::Hot),
        case(plain(Backing::Legacy, b), 1..3, vec![short(), gone()], 1, Warmth::Hot),
        case(Setup::PLAIN, 60..70, vec![gone()], 1, Warmth::Hot),
        case(plain(Backing::Legacy, b), 60..70, vec![gone()], 1, Warmth::Hot),
        case(plain(Backing::Memory, a), 4..6, vec![], 2, Warmth::Hot),
        case(
            plain(Backing::Legacy, a),
            5..6,
            vec![(Event::FaultingCopy, 1, Action::Short(PAGE / 2))],
            2,
            Warmth::Cold,
        ),
    ]
}

/// What came of a case.
struct Outcome {
    /// What the other writer was seen doing, while the first one stood still.
    seen: Seen,
    theirs: Vec<u8>,
    /// The file with the first write only, and as it is.
    ours: Vec<u8>,
    now: Vec<u8>,
}

/// Carries the case out; while its write stands still, somebody writes `len` bytes at `pos`.
fn meanwhile<M: Mmu>(machine: &Machine<M>, case: &Case, pos: usize, len: usize) -> Outcome {
    let mut whole = pattern(1, PAGES * PAGE);
    let rig = Rig::holding(machine, case.setup, &whole);
    if case.warmth == Warmth::Cold {
        rig.chill();
    }
    let bytes = case.pages.start * PAGE..case.pages.end * PAGE;
    let ours = pattern(2, bytes.len());
    let source = rig.source_at(8, 0, &ours);
    let theirs = pattern(3, len);
    let other = machine.space();
    other.map_anonymous(0, 16, Protection::ReadWrite);
    other.store(other.at(0, 0), &theirs).expect("their source");
    let (go, gone) = channel();
    let seen = Arc::new(Mutex::new(None));
    let landed = Arc::new(AtomicBool::new(false));
    let (check, result, done) =
        (Arc::clone(machine.check()), Arc::clone(&seen), Arc::clone(&landed));
    let stand_still = move |_: Moment| {
        go.send(()).expect("they wait for it");
        *result.lock().expect("no panic") = Some(watch(&check, &done));
    };
    let script = rig.user().script();
    script.clear();
    for (event, nth, action) in &case.rules {
        script.add(*event, When::Nth(*nth), action.clone());
    }
    script.add(Event::FaultIn, When::Nth(case.fault_in), Action::Call(Arc::new(stand_still)));
    let (space, file) = (&other, rig.file());
    std::thread::scope(|scope| {
        let writes = move || {
            machine.check().adopt();
            gone.recv().expect("the first write stands still");
            let (got, counted) =
                counting(|| calls::pwrite(space, file, pos as u64, space.slice(0, 0, len)));
            landed.store(true, Ordering::Release);
            assert_eq!(got, Ok(len));
            // Three more if a page has to be read first.
            let most = 8 + 2 * (len / PAGE + 1) as u64;
            assert!(counted.page_locks <= most, "waits asleep: {counted:?}");
        };
        let builder = std::thread::Builder::new().name(OTHER.to_owned());
        builder.spawn_scoped(scope, writes).expect("a thread");
        assert_eq!(rig.write(bytes.start as u64, source), Ok(ours.len()));
    });
    script.clear();
    whole[bytes].copy_from_slice(&ours);
    let seen = seen.lock().expect("no panic").take().expect("a fault-in");
    Outcome { seen, theirs, ours: whole, now: rig.contents() }
}

/// Waits until the other writer has landed, or waits for a range.
fn watch(check: &LockCheck, landed: &AtomicBool) -> Seen {
    let began = Instant::now();
    let waits = |line: &str| line.contains(OTHER) && line.contains("waits for R(");
    while began.elapsed() < Watchdog::default_limit() {
        if landed.load(Ordering::Acquire) {
            return Seen::Landed;
        }
        if check.describe().lines().any(waits) {
            // Whoever does not sleep now has time to be seen at it.
            std::thread::sleep(Duration::from_millis(5));
            return Seen::Waiting;
        }
        std::thread::yield_now();
    }
    Seen::Lost
}

/// Somebody writes `len` bytes at `pos` during the case, and is seen doing what he should; his
/// bytes are there in the end.
#[track_caller]
fn check<M: Mmu>(machine: &Machine<M>, case: &Case, pos: usize, len: usize, expected: Seen) {
    let outcome = meanwhile(machine, case, pos, len);
    assert_eq!(outcome.seen, expected, "{len} bytes at {pos}");
    let mut whole = outcome.ours;
    whole[pos..pos + len].copy_from_slice(&outcome.theirs);
    assert_same(&outcome.now, &whole, "the file");
}

on_both_mmus! {
    fn w2_a_write_over_one_that_is_under_way_comes_after_it_as_a_whole(machine) {
        for (nth, case) in cases().iter().enumerate() {
            println!("case {nth}");
            let (start, end) = (case.pages.start * PAGE, case.pages.end * PAGE);
            // Over some of it that has landed and some that has not; over its last byte and behind;
            // over its first and before.
            for (pos, len) in [(start + 50, end - start - 100), (end - 1, 100), (start - 99, 100)] {
                check(machine, case, pos, len, Seen::Waiting);
            }
        }
    }

    fn w2_a_write_next_to_one_that_is_under_way_does_not_wait_for_it(machine) {
        for (nth, case) in cases().iter().enumerate() {
            println!("case {nth}");
            let (start, end) = (case.pages.start * PAGE, case.pages.end * PAGE);
            for (pos, len) in [(start - PAGE, PAGE), (end, PAGE), (start - 1, 1), (end, 1), (0, 9)] {
                check(machine, case, pos, len, Seen::Landed);
            }
        }
    }

    /// A write is about to hold its range when a truncation, which holds one, cuts off what it was
    /// to overwrite. Now it has to grow the file: it lets its range go before it takes the inode
    /// lock, which ranks first (the lock checker would say so).
    fn w2_an_overwrite_that_has_to_grow_the_file_after_all_waits_for_it_with_no_range(machine) {
        // Both look for a signal before they try a new page, and strategy B once more, before its
        // first attempt.
        for (strategy, look) in [(Strategy::PrepareCommit, 2), (Strategy::BeginEnd, 3)] {
            let store = FaultyStore::new(MemoryStore::new(), machine.watchdog());
            let setup = Setup { strategy, ..Setup::PLAIN };
            let rig = Rig::over(machine, setup, Store::plain(Arc::clone(&store)));
            let (old, ours) = (pattern(1, 70 * PAGE), pattern(2, 66 * PAGE));
            rig.fill(&old);
            let source = rig.source_at(8, 0, &ours);
            let (file, check, looks) = (rig.file(), machine.check(), AtomicU64::new(0));
            std::thread::scope(|scope| {
                // This look comes after the one at the size, and before the range.
                let task = Asking(|| {
                    if looks.fetch_add(1, Ordering::Relaxed) + 1 != look {
                        return;
                    }
                    store.defer(Call::TruncateBlocks);
                    faultless_tests::threads::spawn_in(scope, || {
                        assert_eq!(calls::truncate(file, 100), Ok(()));
                    });
                    until("the truncation holds its range", || store.waiting() > 0);
                    faultless_tests::threads::spawn_in(scope, || {
                        until("the write waits for the range", || check.describe().contains("waits for R("));
                        store.release(Call::TruncateBlocks);
                    });
                });
                let got = rig.write_as(&[source], &rig.at(PAGE as u64), &task);
                assert_eq!(got.map(|written| written.bytes), Ok(ours.len()));
            });
            let mut whole = old[..100].to_vec();
            whole.resize(PAGE, 0);
            whole.extend_from_slice(&ours);
            rig.assert_holds(&whole);
        }
    }
}
