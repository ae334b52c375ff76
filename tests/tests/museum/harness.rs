//! The exhibition room: write paths, what they answered, and what the file holds then.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use faultless::filemap::{NoTask, Strategy, Task, WriteOptions};
use faultless::usercopy::{IovIter, MayFault, UserMemory, UserSlice};
use faultless_controls::{Control, ControlFile};
use faultless_host::{LockCheck, Machine, Mmu, syscall};
use faultless_tests::{Backing, File, Rig, Setup};

use crate::planted::{self, Bug};

pub(crate) use crate::failure::{Answer, EFAULT, Failure};

/// Rounds after which a path counts as endless. No exhibit needs a tenth of them.
const STEPS: u64 = 20_000;

/// A write path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// What this project ships.
    Faultless(Strategy),
    /// What real kernels shipped.
    Control(Control),
    /// A small path with one bug.
    Planted(Bug),
}

/// The paths that every exhibit passes on.
pub(crate) const SOUND: [Subject; 3] = [
    Subject::Faultless(Strategy::BeginEnd),
    Subject::Faultless(Strategy::PrepareCommit),
    Subject::Planted(Bug::None),
];

/// Both strategies, where the small path has nothing to show.
pub(crate) const FAULTLESS: [Subject; 2] = [SOUND[0], SOUND[1]];

/// A task with a budget of rounds: a loop that does not end is ended by it.
struct Patient<'t, T> {
    task: &'t T,
    left: Cell<u64>,
}

impl<T: Task> Task for Patient<'_, T> {
    fn now(&self) -> u64 {
        self.task.now()
    }

    fn fatal_signal_pending(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0 || self.task.fatal_signal_pending()
    }

    fn file_size_limit(&self) -> u64 {
        self.task.file_size_limit()
    }

    fn file_size_exceeded(&self) {
        self.task.file_size_exceeded();
    }
}

impl Subject {
    /// Writes the segments of the rig's user memory at `pos`.
    pub(crate) fn write<M: Mmu>(
        self,
        rig: &Rig<'_, M>,
        pos: u64,
        segments: &[UserSlice],
    ) -> Answer {
        self.write_as(rig, rig.user(), segments, &WriteOptions::at(pos))
    }

    /// Appends the segments of the rig's user memory.
    pub(crate) fn append<M: Mmu>(self, rig: &Rig<'_, M>, segments: &[UserSlice]) -> Answer {
        self.write_as(rig, rig.user(), segments, &WriteOptions::append())
    }

    /// Writes segments of `user`, which is the rig's memory or a liar in front of it.
    pub(crate) fn write_as<M: Mmu, U: UserMemory<Token = MayFault>>(
        self,
        rig: &Rig<'_, M>,
        user: &U,
        segments: &[UserSlice],
        options: &WriteOptions,
    ) -> Answer {
        let mut from = IovIter::new(user, segments).expect("a request");
        self.write_from(rig, user, segments, &mut from, options, &NoTask)
    }

    /// Any write. `from` stands at the beginning of the segments. (The controls do not use it.)
    pub(crate) fn write_from<M: Mmu, U: UserMemory<Token = MayFault>, T: Task>(
        self,
        rig: &Rig<'_, M>,
        user: &U,
        segments: &[UserSlice],
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        task: &T,
    ) -> Answer {
        watched(rig.machine().check(), || {
            syscall(|token| self.run(token, rig.file(), user, segments, from, options, task))
        })
    }

    #[expect(clippy::too_many_arguments, reason = "a system call, taken apart")]
    fn run<U: UserMemory<Token = MayFault>, T: Task>(
        self,
        token: &mut MayFault,
        file: &File,
        user: &U,
        segments: &[UserSlice],
        from: &mut IovIter<'_, U>,
        options: &WriteOptions,
        task: &T,
    ) -> Answer {
        match self {
            Self::Faultless(strategy) => {
                let task = Patient { task, left: Cell::new(STEPS) };
                let options = options.with_strategy(strategy);
                let asked = from.count();
                let written = file.write(token, from, &options, &task);
                if task.left.get() == 0 {
                    return Err(Failure::Livelock);
                }
                let landed = written.map_or(0, |written| written.bytes);
                assert_eq!(asked - from.count(), landed, "the cursor stands behind what landed");
                Ok(written?.bytes)
            }
            Self::Control(control) => {
                let request = faultless_controls::Request {
                    control,
                    segments,
                    options: *options,
                    steps: STEPS,
                };
                Ok(ControlFile::new(file).write(&request, token, user, task)?.bytes)
            }
            Self::Planted(bug) => {
                let request = planted::Request { bug, segments, options, steps: STEPS };
                planted::write(&request, file, token, user, from, task)
            }
        }
    }
}

/// Runs `work`, which the lock checker may stop.
pub(crate) fn watched<R>(
    check: &std::sync::Arc<LockCheck>,
    work: impl FnOnce() -> Result<R, Failure>,
) -> Result<R, Failure> {
    check.adopt();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer,
        Err(panic) => match check.take_reports().first() {
            Some(report) => {
                println!("{report}");
                Err(Failure::Deadlock(report.kind))
            }
            None => resume_unwind(panic),
        },
    }
}

/// Shows an exhibit to the sound paths, each with an empty file on each of these stores.
pub(crate) fn exhibit<'m, M: Mmu>(
    machine: &'m Machine<M>,
    backings: &[Backing],
    show: impl Fn(&Rig<'m, M>, Subject),
) {
    exhibit_to(&SOUND, machine, backings, show);
}

/// Shows an exhibit to these paths.
pub(crate) fn exhibit_to<'m, M: Mmu>(
    subjects: &[Subject],
    machine: &'m Machine<M>,
    backings: &[Backing],
    show: impl Fn(&Rig<'m, M>, Subject),
) {
    for &backing in backings {
        for &subject in subjects {
            println!("{subject:?} on {backing:?}");
            let rig = room(machine, backing);
            show(&rig, subject);
            // What a script holds on to goes with it.
            rig.user().script().clear();
        }
    }
}

/// An empty file on a store of this kind.
pub(crate) fn room<M: Mmu>(machine: &Machine<M>, backing: Backing) -> Rig<'_, M> {
    Rig::new(machine, Setup { backing, strategy: Strategy::BeginEnd })
}

/// An empty segment at an address where nothing is mapped.
pub(crate) fn empty<M: Mmu>(rig: &Rig<'_, M>) -> UserSlice {
    rig.user().slice(NOWHERE, 0, 0)
}

/// `len` bytes where nothing is mapped.
pub(crate) fn bad<M: Mmu>(rig: &Rig<'_, M>, len: usize) -> UserSlice {
    rig.user().slice(NOWHERE, 0, len)
}

/// Makes the pages behind a slice non-resident: their contents stay.
pub(crate) fn cool<M: Mmu>(rig: &Rig<'_, M>, slice: UserSlice) {
    let first = (slice.addr().get() - rig.user().at(0, 0).get()) / faultless_tests::PAGE;
    rig.user().evict(first, slice.len().div_ceil(faultless_tests::PAGE) + 1);
}

/// A page of the rig's address space that no exhibit maps, nor the 100 behind it.
const NOWHERE: usize = 900;
