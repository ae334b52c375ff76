//! A machine, files of one page, and threads that may have to be taken down.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use faultless_filemap::{Inode, NoTask, WriteOptions};
use faultless_page::{AddressSpaceOperations, PAGE_SIZE};
use faultless_usercopy::{IovIter, UserSlice};

use super::flavor::Notifying;
use super::trial::{Destination, Path};
use crate::file::ControlFile;
use crate::request::Request;
use faultless_host::kernel::HostKernel;
use faultless_host::script::{Action, Event, When};
use faultless_host::stores::MemoryStore;
use faultless_host::{AddressSpace, Machine, MachineConfig, Protection, RealMmu, syscall};

/// A file of this setup.
pub(super) type File = Arc<Inode<HostKernel<Notifying>>>;
/// An address space of this setup.
pub(super) type Space = AddressSpace<RealMmu, Notifying>;

/// More than any scenario needs.
const STEPS: u64 = 1000;

/// A machine of its own for each trial.
#[derive(Debug)]
pub(super) struct Setup {
    machine: Machine<RealMmu, Notifying>,
    path: Path,
    destination: Destination,
}

/// The one page of a file, different for each.
pub(super) fn page_of(seed: u8) -> Vec<u8> {
    (0..PAGE_SIZE).map(|at| ((at / 3) as u8).wrapping_mul(seed) | 1).collect()
}

impl Setup {
    pub(super) fn new(path: Path, destination: Destination, limit: Duration) -> Self {
        let config = MachineConfig::new().frames(256).space_pages(16).watchdog(limit);
        Self { machine: Machine::build(config), path, destination }
    }

    pub(super) fn machine(&self) -> &Machine<RealMmu, Notifying> {
        &self.machine
    }

    /// A file of these bytes that will be written: its pages are where the trial's destination
    /// says.
    pub(super) fn file(&self, bytes: &[u8]) -> File {
        self.file_over(&MemoryStore::with_contents(bytes), bytes.len())
    }

    /// The same over a store that holds it.
    pub(super) fn file_over<S>(&self, store: &Arc<S>, len: usize) -> File
    where
        S: AddressSpaceOperations + 'static,
    {
        let file = self.machine.inode(store, len as u64);
        if self.destination == Destination::Uptodate {
            drop(self.contents(&file));
            // What the setup's own accesses did does not count.
            self.machine.check().clear();
        }
        file
    }

    /// The whole file, as `read` has it.
    pub(super) fn contents(&self, file: &File) -> Vec<u8> {
        let space = self.machine.space();
        let len = file.size() as usize;
        space.map_anonymous(0, len.div_ceil(PAGE_SIZE), Protection::ReadWrite);
        let to = space.slice(0, 0, len);
        let read = self
            .machine
            .syscall(|token| file.read(token, &mut IovIter::from_slice(&space, &to), 0, &NoTask));
        assert_eq!(read, Ok(len), "a file can be read");
        space.read_vec(to.addr(), len).expect("memory of a program")
    }

    /// Writes `source` to byte 0 of the file, all of it, by the trial's algorithm.
    pub(super) fn write(&self, file: &File, space: &Space, source: UserSlice) {
        let options = WriteOptions::at(0);
        let written = match self.path {
            Path::Production(strategy) => syscall(|token| {
                let options = options.with_strategy(strategy);
                file.write(token, &mut IovIter::from_slice(space, &source), &options, &NoTask)
            })
            .map_err(Into::into),
            Path::Control(control) => {
                let request = Request { control, segments: &[source], options, steps: STEPS };
                let file = ControlFile::new(file);
                syscall(|token| file.write(&request, token, space, &NoTask))
            }
        };
        assert_eq!(written.map(|written| written.bytes), Ok(source.len()), "all is written");
    }

    /// Checks that nothing stayed locked: production can write the whole file and read it back.
    pub(super) fn still_works(&self, file: &File) {
        let space = self.machine.space();
        let bytes = page_of(99);
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.store(space.at(0, 0), &bytes).expect("memory of a program");
        let source = space.slice(0, 0, bytes.len());
        let written = self.machine.syscall(|token| {
            let mut from = IovIter::from_slice(&space, &source);
            file.write(token, &mut from, &WriteOptions::at(0), &NoTask)
        });
        assert_eq!(written.map(|written| written.bytes), Ok(bytes.len()), "after the act");
        assert!(self.contents(file) == bytes, "after the act: other bytes");
    }

    /// Ends the machine: everything must have come back.
    #[track_caller]
    pub(super) fn finish(self) {
        self.machine.finish();
    }
}

/// Calls `hook` at the first copy in this address space, atomic or not, and steals all its pages
/// before each kind's first one.
pub(super) fn at_first_copy(space: &Space, hook: impl Fn() + Send + Sync + 'static) {
    let played = AtomicBool::new(false);
    let once = move |_| {
        if !played.swap(true, Ordering::SeqCst) {
            hook();
        }
    };
    let once = Action::Call(Arc::new(once));
    for event in [Event::AtomicCopy, Event::FaultingCopy] {
        space.script().add(event, When::Nth(1), once.clone());
        space.script().add(event, When::Nth(1), Action::StealAll);
    }
}

/// A thread of a trial.
pub(super) struct Player<'s>(ScopedJoinHandle<'s, ()>);

/// Begins a thread of the scenario, with this name.
pub(super) fn enter<'s>(
    setup: &'s Setup,
    scope: &'s Scope<'s, '_>,
    name: &str,
    work: impl FnOnce() + Send + 's,
) -> Player<'s> {
    let check = setup.machine.check();
    let thread = Builder::new().name(name.to_owned()).spawn_scoped(scope, move || {
        check.adopt();
        work();
    });
    Player(thread.expect("a thread"))
}

/// Waits for all players. What the watchdog said of those it took down; any other panic goes on.
pub(super) fn leave(players: Vec<Player<'_>>) -> Vec<String> {
    let mut fires = Vec::new();
    let mut other = None;
    for player in players {
        let Err(panic) = player.0.join() else { continue };
        match panic.downcast_ref::<String>() {
            Some(story) if story.starts_with("watchdog") => fires.push(story.clone()),
            _ => other = Some(panic),
        }
    }
    match other {
        Some(panic) => std::panic::resume_unwind(panic),
        None => fires,
    }
}
