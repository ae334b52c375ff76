//! A process, and its memory.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::arch::trap::TrapFrame;
use crate::credentials::Credentials;
use crate::files::{Directory, OpenFile, Use};
use crate::memory::{AddressSpace, Space};
use crate::process::contexts::Contexts;
use crate::process::layout::Layout;
use crate::process::open_files::{OpenFiles, Place};
use crate::sched::{self, Main, Owner, Thread};
use crate::shared::Shared;
use crate::signals::{CONTINUED, Life, WaitStatus, stopped_status};
use crate::sync::Lock;
use crate::waits::SleepLock;

/// Bytes of a name of a process or thread, at most.
pub(crate) const NAME: usize = 15;

/// What a program begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) environment: Vec<Vec<u8>>,
    /// The auxiliary vector, once the program has begun.
    pub(crate) auxiliary: Vec<u8>,
}

/// A process.
pub(crate) struct Process {
    pub(super) number: u32,
    pub(super) parent: Lock<Weak<Process>>,
    pub(super) children: Lock<Vec<Arc<Process>>>,
    pub(super) memory: Lock<Option<Arc<Memory>>>,
    pub(super) files: Shared<OpenFiles>,
    pub(super) place: Shared<Place>,
    /// The path of the program.
    pub(crate) executable: Lock<Vec<u8>>,
    /// What it is called (`PR_SET_NAME`); at first the last component of that path.
    pub(crate) name: Lock<Vec<u8>>,
    /// The arguments and the environment that the program began with.
    pub(crate) words: Lock<Words>,
    pub(super) threads: Lock<Vec<Arc<Thread>>>,
    /// What its threads have to know of it.
    pub(crate) life: Arc<Life>,
    /// It has ended, with the status of its `life`.
    pub(super) ended: AtomicBool,
    /// Its parent goes on: it has ended, or begun another program (`vfork`).
    pub(super) released: AtomicBool,
    /// What its parent has not been told of yet (`wait`).
    pub(super) change: Lock<Option<Change>>,
    /// The signal that tells its parent of its end; 0 for none.
    pub(super) end_signal: AtomicU32,
    /// It has begun another program than the one that it was made with.
    pub(crate) has_executed: AtomicBool,
    /// What it has asked for by `prctl`.
    pub(crate) asked: Asked,
    pub(crate) group: AtomicU32,
    pub(crate) session: AtomicU32,
}

/// What a process asks for by `prctl`.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The signal that tells it of the end of its parent; 0 for none. A child does not have it.
    pub(crate) death_signal: AtomicU32,
    /// It gets the children of those below it that end.
    pub(crate) reaps: AtomicBool,
    /// It is not dumped (`PR_SET_DUMPABLE`), keeps what root may do (`PR_SET_KEEPCAPS`), wants no
    /// large pages, and timers that are late by so many nanoseconds at most: kept to be told.
    pub(crate) is_not_dumped: AtomicBool,
    pub(crate) keeps: AtomicBool,
    pub(crate) has_no_large_pages: AtomicBool,
    pub(crate) slack: AtomicU64,
    /// `execve` gives it no rights that it has not. Inherited.
    pub(crate) no_new_rights: AtomicBool,
}

/// What has become of a process that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A signal has stopped it.
    Stopped(u32),
    /// It goes on.
    Continued,
}

impl Change {
    pub(super) const fn status(self) -> WaitStatus {
        match self {
            Self::Stopped(signal) => stopped_status(signal),
            Self::Continued => CONTINUED,
        }
    }
}

/// The memory of a process. Two processes have the same between `vfork` and `execve`.
#[derive(Debug)]
pub(crate) struct Memory {
    space: Space,
    pub(crate) layout: SleepLock<Layout>,
    /// The use of the file of its program.
    running: Option<Arc<Use>>,
    /// New mappings are locked (`MCL_FUTURE`), and brought in.
    pub(crate) locks_new: AtomicBool,
    /// New mappings are locked, and not brought in (`MCL_ONFAULT`).
    pub(crate) locks_new_lazily: AtomicBool,
    pub(crate) contexts: Contexts,
    /// Kinds of barriers that its threads may make (`membarrier`), as the bits of the commands that
    /// register them.
    pub(crate) barriers: AtomicU32,
    /// Threads that run in it.
    threads: AtomicU32,
}

impl Memory {
    pub(super) fn new(space: Space, layout: Layout, running: Option<Arc<Use>>) -> Arc<Self> {
        let (locks_new, locks_new_lazily) = (AtomicBool::new(false), AtomicBool::new(false));
        let (layout, contexts) = (SleepLock::new(layout), Contexts::new());
        let (barriers, threads) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self {
            space,
            layout,
            running,
            locks_new,
            locks_new_lazily,
            contexts,
            barriers,
            threads,
        })
    }

    /// The use of the file of its program, for a copy of the memory.
    pub(super) fn running(&self) -> Option<Arc<Use>> {
        self.running.clone()
    }

    /// One more thread runs in it.
    pub(super) fn enter(&self) {
        self.threads.fetch_add(1, SeqCst);
    }

    /// One thread less does.
    pub(super) fn leave(&self) {
        self.threads.fetch_sub(1, SeqCst);
    }

    /// The number of a thread on a CPU, which no other one has that runs in this memory (`mm_cid`):
    /// below that of the CPUs, and 0 for a thread that is alone. Only a thread of it begins others.
    pub(super) fn number_on(&self, cpu: u32) -> u32 {
        if self.threads.load(SeqCst) > 1 { cpu } else { 0 }
    }

    /// The address space.
    pub(crate) const fn space(&self) -> &Space {
        &self.space
    }
}

impl Drop for Memory {
    /// The last process that had it has another one, or none, and no CPU uses its page table. May
    /// sleep: files are dropped that were mapped.
    fn drop(&mut self) {
        AddressSpace::exit(&self.space);
    }
}

impl Process {
    pub(super) fn new(
        number: u32,
        parent: Weak<Self>,
        memory: Option<Arc<Memory>>,
        files: Arc<OpenFiles>,
        place: Arc<Place>,
    ) -> Self {
        Self {
            number,
            parent: Lock::new(parent),
            children: Lock::new(Vec::new()),
            memory: Lock::new(memory),
            files: Shared::new(files),
            place: Shared::new(place),
            executable: Lock::new(Vec::new()),
            name: Lock::new(Vec::new()),
            words: Lock::new(Words::default()),
            threads: Lock::new(Vec::new()),
            life: Arc::new(Life::new()),
            ended: AtomicBool::new(false),
            released: AtomicBool::new(false),
            change: Lock::new(None),
            end_signal: AtomicU32::new(linux::SIGCHLD),
            has_executed: AtomicBool::new(false),
            asked: Asked::default(),
            group: AtomicU32::new(number),
            session: AtomicU32::new(number),
        }
    }

    /// Its number (`getpid`).
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The number of its parent (`getppid`); 0 if there is none.
    pub(crate) fn parent_number(&self) -> u32 {
        self.parent.lock().upgrade().map_or(0, |parent| parent.number)
    }

    /// The name of its page table; 0 if it has no memory.
    pub(crate) fn root(&self) -> usize {
        self.memory.lock().as_ref().map_or(0, |memory| memory.space.root())
    }

    /// Its memory.
    ///
    /// # Errors
    /// `ESRCH` if it has none any more.
    pub(crate) fn memory(&self) -> Result<Arc<Memory>, Errno> {
        self.memory.lock().clone().ok_or(Errno::SRCH)
    }

    /// How long its threads ran, in nanoseconds.
    pub(crate) fn run_time(&self) -> u64 {
        let threads = self.threads.lock();
        self.life.ran() + threads.iter().map(|thread| sched::run_time(thread)).sum::<u64>()
    }

    /// Whether all its threads are to end.
    pub(crate) fn is_exiting(&self) -> bool {
        self.life.is_exiting()
    }

    /// Whether it has ended, and no parent can wait for it any more.
    pub(crate) fn was_waited_for(&self) -> bool {
        let parent = self.parent.lock().upgrade();
        self.has_ended() && parent.is_none_or(|parent| parent.child(self.number).is_none())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Its descriptors.
    pub(crate) fn files(&self) -> Arc<OpenFiles> {
        self.files.get()
    }

    /// Where its paths begin.
    pub(crate) fn place(&self) -> Arc<Place> {
        self.place.get()
    }

    /// Where its descriptors are, which it may share with others, and where its place is.
    pub(crate) fn addresses(&self) -> [usize; 2] {
        [self.files.address(), self.place.address()]
    }

    /// Gives it a place of its own (`CLONE_FS` of `unshare`).
    pub(crate) fn unshare_place(&self) {
        let own = self.place().copy();
        self.place.replace(own);
    }

    /// Its working directory.
    pub(crate) fn cwd(&self) -> Directory {
        self.place().cwd.lock().clone()
    }

    /// What its new files do not let others do.
    pub(crate) fn umask(&self) -> u32 {
        self.place().umask.load(Relaxed)
    }

    /// An open file.
    ///
    /// # Errors
    /// `EBADF`, also for one that stands for a place alone (`O_PATH`).
    pub(crate) fn file(&self, descriptor: usize) -> Result<OpenFile, Errno> {
        let file = self.any_file(descriptor)?;
        if file.flags() & linux::O_PATH == 0 { Ok(file) } else { Err(Errno::BADF) }
    }

    /// As [`file`](Self::file), with those that stand for a place alone.
    ///
    /// # Errors
    /// `EBADF`.
    pub(crate) fn any_file(&self, descriptor: usize) -> Result<OpenFile, Errno> {
        // A descriptor is an `int`.
        self.files().lock().get(descriptor as u32 as usize).cloned()
    }

    /// Who its first thread is.
    pub(crate) fn credentials(&self) -> Credentials {
        let first = self.threads().into_iter().next();
        first.map_or_else(Credentials::default, |thread| thread.credentials.lock().clone())
    }

    /// What it is called, in the 15 bytes that Linux keeps.
    pub(crate) fn short_name(&self) -> String {
        let name = self.name.lock();
        String::from_utf8_lossy(&name[..name.len().min(NAME)]).into_owned()
    }

    /// Has all its threads end, unless they do already.
    pub(crate) fn begin_exit(&self, status: WaitStatus) {
        if !self.life.exiting.swap(true, AcqRel) {
            self.life.status.store(status, Release);
        }
        // Those that sleep look again; those that run come by the kernel with their next turn.
        self.threads().iter().for_each(sched::alert);
    }

    /// A child of it, also one that has ended.
    pub(super) fn child(&self, number: u32) -> Option<Arc<Self>> {
        self.children.lock().iter().find(|child| child.number == number).cloned()
    }

    /// Another thread of it, which begins with `frame`, or in the kernel with `main`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new_thread(
        self: &Arc<Self>,
        number: u32,
        frame: TrapFrame,
        main: Option<Main>,
    ) -> Result<Arc<Thread>, Errno> {
        let owner = Owner { process: Arc::<Self>::clone(self), life: Arc::clone(&self.life) };
        Thread::new(number, self.root(), Some(owner), frame, main)
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> Vec<Arc<Thread>> {
        self.threads.lock().clone()
    }

    /// Another thread is one of it.
    pub(super) fn add_thread(&self, thread: &Arc<Thread>) {
        if let Ok(memory) = self.memory() {
            memory.enter();
        }
        sched::register(thread);
        self.threads.lock().push(Arc::clone(thread));
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The process of the current thread.
pub(crate) fn current() -> Option<Arc<Process>> {
    sched::with_current(process_of)
}

/// The process of a thread; none for a thread of the kernel.
pub(crate) fn process_of(thread: &Thread) -> Option<Arc<Process>> {
    Arc::clone(thread.owner()?).downcast().ok()
}

/// The memory of the current thread's process.
///
/// # Errors
/// `ESRCH` for a thread of the kernel.
pub(crate) fn memory() -> Result<Arc<Memory>, Errno> {
    let process = current();
    process.map_or(Err(Errno::SRCH), |process| process.memory())
}
