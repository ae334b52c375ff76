//! Each operation on a page whose request is under way: which waits for its end and which does not,
//! and what they leave. The request ends well, or fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faultless::filemap::{ReadAheadLimits, Strategy};
use faultless::page::Errno;
use faultless_host::stores::DeferredStore;
use faultless_host::{Machine, MachineConfig, Mmu, Protection};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, File, PAGE, Process, assert_bytes, evict, fsync, pattern, set_size,
};
use faultless_tests::strict::StrictStore;
use faultless_tests::tasks::TestTask;
use faultless_tests::threads;

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Read,
    Writeback,
}

/// What meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Read,
    WritePart,
    Append,
    Load,
    Truncate,
    Evict,
    Sync,
}

const ALL: [Met; 7] =
    [Met::Read, Met::WritePart, Met::Append, Met::Load, Met::Truncate, Met::Evict, Met::Sync];

/// Bytes of the file: its second page is not full.
const LEN: usize = PAGE as usize + 500;

impl Met {
    /// Whether it waits for the end of the request.
    fn waits(self, request: Request) -> bool {
        match self {
            Self::Truncate => true,
            Self::Evict => false,
            Self::Sync => request == Request::Writeback,
            Self::Read | Self::WritePart | Self::Append | Self::Load => request == Request::Read,
        }
    }

    /// Does it, to a file of the bytes `now`.
    fn perform<M: Mmu>(self, process: &Process<M>, file: &File, now: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Read => {
                let found = process.read(file, 0, LEN)?;
                assert_bytes(&found, now, "a read");
            }
            Self::WritePart => assert_eq!(process.write(file, 10, b"part")?, 4),
            Self::Append => assert_eq!(process.write(file, LEN as u64, b"more")?, 4),
            Self::Load => {
                let at = process.map(FREE, 2, file, 0, Protection::Read);
                assert_eq!(process.byte(at), Ok(now[0]));
            }
            Self::Truncate => set_size(file, 100)?,
            Self::Evict => assert_eq!(evict(file), 0, "no page of a request leaves"),
            Self::Sync => fsync(file)?,
        }
        Ok(())
    }

    /// What it leaves of the bytes.
    fn applied(self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::WritePart => bytes[10..14].copy_from_slice(b"part"),
            Self::Append => bytes.extend_from_slice(b"more"),
            Self::Truncate => bytes.truncate(100),
            Self::Read | Self::Load | Self::Evict | Self::Sync => {}
        }
        bytes
    }
}

/// A cold file of these bytes.
fn cold<M: Mmu>(machine: &Machine<M>, bytes: &[u8]) -> (Arc<DeferredStore<StrictStore>>, File) {
    let strict = StrictStore::with_contents(1024, Strategy::BeginEnd, bytes);
    let store = DeferredStore::new(strict, 1);
    let file = machine.inode(&store, bytes.len() as u64);
    (store, file)
}

fn will_need(file: &File) {
    faultless_host::syscall(|token| {
        file.will_need(token, 0, LEN as u64, &ReadAheadLimits::DEFAULT);
    });
}

/// Whether it is over before the request is. What does not wait is given all the time it needs.
fn settles(met: Met, request: Request, is_over: impl Fn() -> bool) -> bool {
    let looks = if met.waits(request) { 100 } else { 200_000 };
    (0..looks).any(|_| {
        std::thread::sleep(Duration::from_micros(100));
        is_over()
    })
}

fn meet<M: Mmu>(machine: &Machine<M>, request: Request, met: Met, outcome: Result<(), Errno>) {
    let what = &format!("{met:?} meets a {request:?} that ends with {outcome:?}");
    let mut bytes = pattern(3, LEN);
    let (store, file) = cold(machine, &bytes);
    let (process, over) = (Process::new(machine), AtomicBool::new(false));
    if request == Request::Writeback {
        bytes = pattern(90, LEN);
        assert_eq!(process.write(&file, 0, &bytes), Ok(LEN));
    }
    match request {
        Request::Read => will_need(&file),
        Request::Writeback => {
            // A task that is killed before it waits: nothing but the request holds the pages.
            let task = TestTask::new().killed_after(1);
            let sent = faultless_host::syscall(|token| file.writeback(token, 0..u64::MAX, &task));
            assert_eq!(sent, Err(Errno::Interrupted));
        }
    }
    assert_eq!(store.waiting(), 1, "{what}: one request is under way");
    std::thread::scope(|scope| {
        let operation = threads::spawn_in(scope, || {
            let result = met.perform(&process, &file, &bytes);
            over.store(true, Ordering::SeqCst);
            result
        });
        let is_over = || over.load(Ordering::SeqCst);
        let waited = !settles(met, request, is_over);
        store.fail_one_of(u64::from(outcome.is_err()));
        store.work();
        store.fail_one_of(0);
        while !operation.is_finished() {
            store.work();
            std::thread::yield_now();
        }
        while store.work() {}
        assert_eq!(waited, met.waits(request), "{what}: whether it waits");
        let expected = match (met, request) {
            (Met::Sync, Request::Writeback) => outcome,
            _ => Ok(()),
        };
        assert_eq!(operation.join().expect("no panic"), expected, "{what}");
    });
    let _workers = store.workers(1);
    assert_bytes(&process.contents(&file), &met.applied(bytes.clone()), what);
    let _told_once = fsync(&file);
    assert_eq!(fsync(&file), Ok(()), "{what}");
    assert_bytes(&store.inner().contents(), &met.applied(bytes), what);
    store.inner().assert_balanced();
    drop((process, file));
}

fn config() -> MachineConfig {
    MachineConfig::new().watchdog(Duration::from_secs(30))
}

balanced_on_both_mmus! {
    fn l1_an_operation_waits_for_a_request_at_most_and_finds_what_it_left(machine = config()) {
        for request in [Request::Read, Request::Writeback] {
            for met in ALL {
                for outcome in [Ok(()), Err(Errno::Io)] {
                    meet(machine, request, met, outcome);
                }
            }
        }
    }

    fn p5_the_drop_of_a_file_waits_for_what_was_read_ahead(machine = config()) {
        let (store, file) = cold(machine, &pattern(3, LEN));
        will_need(&file);
        assert_eq!(store.waiting(), 1);
        std::thread::scope(|scope| {
            let dropper = threads::spawn_in(scope, || drop(file));
            std::thread::sleep(Duration::from_millis(5));
            assert!(!dropper.is_finished());
            while store.work() {}
            dropper.join().expect("no panic");
        });
    }
}
