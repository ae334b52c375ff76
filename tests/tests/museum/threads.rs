//! Staging for several threads: tasks that tell whether they sleep, and stores that call back. Each
//! wait has a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faultless::filemap::{Inode, Task, WriteOptions};
use faultless::page::{
    AddressSpaceOperations, Errno, Kernel, LockContext, PageIndex, Strategy, Wait, WaitKey,
};
use faultless::usercopy::IovIter;
use faultless_host::stores::{Call, HookedStore, MemoryStore};
use faultless_host::{LockCheck, Mmu, PlainMemory, lockcheck, syscall};
use faultless_tests::waiting::until;
use faultless_tests::{Backing, Rig, Setup, Store};

/// A file over whole pages in memory, written by strategy B.
const MEMORY: Setup = Setup { backing: Backing::Memory, strategy: Strategy::BeginEnd };

/// A rig over this store.
pub(crate) fn room_over<'m, M: Mmu>(
    like: &Rig<'m, M>,
    store: &Arc<impl AddressSpaceOperations + 'static>,
) -> Rig<'m, M> {
    Rig::over(like.machine(), MEMORY, Store::plain(Arc::clone(store)))
}

/// Permission to lock a page without a borrow of the token, for what an exhibit does in the name of
/// another part of the kernel.
pub(crate) fn context<'t>() -> LockContext<'t> {
    // SAFETY: the promise is about deadlock, not about memory; the lock checker watches, and each
    // wait has a limit.
    unsafe { LockContext::new() }
}

/// A task that can be killed, and that notes when it sleeps: for a lock, or with a page locked for
/// the end of a writeback.
#[derive(Debug)]
pub(crate) struct Sleeper {
    check: Arc<LockCheck>,
    asleep: AtomicBool,
    killed: AtomicBool,
}

impl Sleeper {
    pub(crate) fn new(check: &Arc<LockCheck>) -> Self {
        let [asleep, killed] = [false; 2].map(AtomicBool::new);
        Self { check: Arc::clone(check), asleep, killed }
    }

    /// Whether it has slept since it was made or last [forgot](Self::forget) it.
    pub(crate) fn has_slept(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn forget(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Sends it a fatal signal: every sleeper of the machine looks again.
    pub(crate) fn kill(&self, wait: &impl Wait) {
        self.killed.store(true, Ordering::SeqCst);
        // The host has a fixed number of wait queues, which so many keys are spread over.
        (0..512).for_each(|key| wait.wake(WaitKey(key)));
    }

    /// Whether the calling thread waits for a lock.
    fn waits(&self) -> bool {
        waits(&self.check, std::thread::current().name().unwrap_or("unnamed"))
    }
}

/// Whether the thread with this name waits for a lock, as the lock checker tells.
fn waits(check: &LockCheck, name: &str) -> bool {
    let name = format!("thread '{name}' ");
    let waits = |line: &str| line.contains(&name) && line.contains(" waits for ");
    check.describe().lines().any(waits)
}

impl Task for Sleeper {
    /// The conditions of waits ask this; so does each round of a loop, with nothing locked and
    /// nothing waited for.
    fn fatal_signal_pending(&self) -> bool {
        let killed = self.killed.load(Ordering::SeqCst);
        if !killed && !self.has_slept() && (self.waits() || lockcheck::holds_pages()) {
            self.asleep.store(true, Ordering::SeqCst);
        }
        killed
    }
}

/// Runs `work` on a thread with this name, which no other thread that lives may have.
pub(crate) fn spawn<'s, R: Send + 's>(
    scope: &'s std::thread::Scope<'s, '_>,
    name: &str,
    work: impl FnOnce() -> R + Send + 's,
) -> std::thread::ScopedJoinHandle<'s, R> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, faultless_host::lockcheck::on_same_machine(work)).expect("a thread")
}

/// Runs `work` on another thread, and waits for it.
pub(crate) fn elsewhere<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| spawn(scope, "elsewhere", work).join().expect("the other thread"))
}

/// A write of `bytes` by another program, whose memory is always resident.
pub(crate) fn write_as<K: Kernel>(
    file: &Inode<K>,
    bytes: &[u8],
    options: &WriteOptions,
    task: &impl Task,
) -> Result<usize, Errno> {
    let mut memory = PlainMemory::new(bytes.len());
    memory.bytes()[..bytes.len()].copy_from_slice(bytes);
    let source = [memory.slice(0..bytes.len())];
    let mut from = IovIter::new(memory.user(), &source).expect("a request");
    let written = syscall(|token| file.write(token, &mut from, options, task));
    written.map(|written| written.bytes)
}

/// A read of `len` bytes by another program.
pub(crate) fn read_as<K: Kernel>(
    file: &Inode<K>,
    pos: u64,
    len: usize,
    task: &impl Task,
) -> Result<Vec<u8>, Errno> {
    let mut memory = PlainMemory::new(len);
    let target = [memory.slice(0..len)];
    let mut to = IovIter::new(memory.user(), &target).expect("a request");
    let read = syscall(|token| file.read(token, &mut to, pos, task))?;
    Ok(memory.bytes()[..read].to_vec())
}

/// What a [`Hooked`] store does before a call on a page.
type Hook = Arc<dyn Fn(Call, PageIndex) -> Result<(), Errno> + Send + Sync>;

/// A store in memory that calls back before it reads and writes, and counts that. The callback is
/// called with what the core has locked, and its error is the store's.
pub(crate) struct Hooked {
    store: Arc<HookedStore<MemoryStore>>,
    calls: Arc<AtomicU64>,
}

impl Hooked {
    pub(crate) fn new() -> Self {
        Self::holding(&[])
    }

    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let store = Arc::new(HookedStore::new(MemoryStore::with_contents(bytes)));
        Self { store, calls: Arc::default() }
    }

    /// The store.
    pub(crate) fn store(&self) -> &Arc<HookedStore<MemoryStore>> {
        &self.store
    }

    /// Calls `hook` from now on, or nothing. A hook that holds the file has to be taken off again.
    pub(crate) fn hook(&self, hook: Option<Hook>) {
        self.calls.store(0, Ordering::SeqCst);
        let Some(hook) = hook else { return self.store.unhook() };
        let calls = Arc::clone(&self.calls);
        self.store.hook(move |at, below| {
            if matches!(at.call, Call::Read | Call::Writeback) {
                calls.fetch_add(1, Ordering::SeqCst);
                hook(at.call, PageIndex::containing(at.pos))?;
            }
            below()
        });
    }

    /// Calls of the present hook.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Two readers of pages that cannot be read, and a worker that wants both pages. Each reader stays
/// in the store, with its page locked, until the other one has come there, so that at every moment
/// one of the pages is locked. The relay ends when the other one sleeps, or when it is told to.
#[derive(Debug)]
pub(crate) struct Relay {
    check: Arc<LockCheck>,
    readers: [Sleeper; 2],
    turns: AtomicU64,
    over: AtomicBool,
    /// The worker's last question for a signal came out of a wait: its request stands in a queue,
    /// as long as it waits.
    queued: AtomicBool,
    /// Whether it ever did.
    waited: AtomicBool,
    /// How often a reader came into the store meanwhile.
    overtakings: AtomicU64,
}

/// The worker's task, on the thread named [`WORKER`].
#[derive(Debug)]
pub(crate) struct Worker<'r>(pub(crate) &'r Relay);

/// The name of the worker's thread.
pub(crate) const WORKER: &str = "worker";

impl Task for Worker<'_> {
    fn fatal_signal_pending(&self) -> bool {
        let queued = waits(&self.0.check, WORKER);
        self.0.queued.store(queued, Ordering::SeqCst);
        self.0.waited.fetch_or(queued, Ordering::SeqCst);
        false
    }
}

impl Relay {
    pub(crate) fn new(check: &Arc<LockCheck>) -> Arc<Self> {
        let readers = [(); 2].map(|()| Sleeper::new(check));
        let [turns, overtakings] = [0; 2].map(AtomicU64::new);
        let [over, queued, waited] = [false; 3].map(AtomicBool::new);
        let check = Arc::clone(check);
        Arc::new(Self { check, readers, turns, over, queued, waited, overtakings })
    }

    /// How often the worker was overtaken while it waited; `None` if it never did.
    pub(crate) fn overtakings(&self) -> Option<u64> {
        let waited = self.waited.load(Ordering::SeqCst);
        waited.then(|| self.overtakings.load(Ordering::SeqCst))
    }

    /// How often a reader came into the store.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// What the store does when `reader` comes to it.
    pub(crate) fn turn(&self, reader: usize) {
        if self.queued.load(Ordering::SeqCst) && waits(&self.check, WORKER) {
            self.overtakings.fetch_add(1, Ordering::SeqCst);
        }
        let turn = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
        let other = &self.readers[1 - reader];
        until("the other reader comes", || {
            self.turns() > turn || other.has_slept() || self.is_over()
        });
    }

    /// What `reader` does: reads a byte at `pos` until that succeeds or the relay is over.
    pub(crate) fn read<K: Kernel>(&self, reader: usize, file: &Inode<K>, pos: u64) {
        while !self.is_over() {
            let task = &self.readers[reader];
            task.forget();
            match read_as(file, pos, 1, task) {
                Err(Errno::Io) => {}
                // The page was replaced, or cut off.
                other => {
                    assert!(other.is_ok(), "{other:?}");
                    // The other one waits for this one no longer.
                    task.asleep.store(true, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}
