//! Semaphores of System V: sets of counters, which programs find by numbers.
//!
//! Whoever changes a value also carries out what others wait to do and can do then, in the order in
//! which they came: so nothing that happens to the set afterwards, its end even, is in their way.
//! All sets have one short lock, and all waits one key.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::arch::clock;
use crate::calls::call::{Call, Outcome};
use crate::calls::ipc::{New, Object, Objects, Owned, REMOVE, SET, STATUS};
use crate::calls::time::timespec;
use crate::credentials::{READ, WRITE};
use crate::memory::{get, put};
use crate::sync::Lock;
use crate::task::wait_until;
use crate::waits::{key_of, wake};

/// Semaphores of a set, and sets, at most; operations of one call; the largest value.
const LARGEST: usize = 32_000;
const MOST: usize = 4096;
const MOST_OPERATIONS: usize = 500;
const MOST_VALUE: i32 = 32_767;

/// The flags of an operation.
const NO_WAIT: u16 = 0o4000;
const UNDO: u16 = 0o10000;

/// The commands of `semctl`, beside those of segments.
const GET_PROCESS: u32 = 11;
const GET_VALUE: u32 = 12;
const GET_ALL: u32 = 13;
const COUNT_MORE: u32 = 14;
const COUNT_ZERO: u32 = 15;
const SET_VALUE: u32 = 16;
const SET_ALL: u32 = 17;

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: u16,
    /// The process that changed it last.
    process: u32,
}

struct Semaphores {
    owned: Owned,
    each: Vec<Semaphore>,
    /// What the end of a process adds to the values.
    undone: BTreeMap<u32, Vec<i32>>,
    /// Calls that wait, in order of arrival.
    waiting: Vec<Waiting>,
    operated: u64,
    changed: u64,
}

/// A call that waits.
struct Waiting {
    operations: Vec<Operation>,
    process: u32,
    /// What it waits for.
    on: Operation,
    done: Done,
}

/// What became of a call that waits.
type Done = Arc<Lock<Option<Result<(), Errno>>>>;

static SETS: Objects<Semaphores> = Objects::new();

impl Object for Semaphores {
    fn owned(&self) -> &Owned {
        &self.owned
    }

    fn len(&self) -> usize {
        self.each.len()
    }
}

/// A `struct sembuf`.
#[derive(Clone, Copy)]
struct Operation {
    number: usize,
    change: i32,
    flags: u16,
}

impl Operation {
    const fn from_bytes([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self {
            number: u16::from_ne_bytes([a, b]) as usize,
            change: i16::from_ne_bytes([c, d]) as i32,
            flags: u16::from_ne_bytes([e, f]),
        }
    }
}

impl Semaphores {
    fn get(&self, number: usize) -> Result<Semaphore, Errno> {
        self.each.get(number).copied().ok_or(Errno::INVAL)
    }

    /// Does all operations, or none: the one that has to wait.
    ///
    /// # Errors
    /// `ERANGE`: a value would be too large.
    fn operate(&mut self, operations: &[Operation], by: u32) -> Result<Option<Operation>, Errno> {
        for (at, operation) in operations.iter().enumerate() {
            let done = self.one(*operation, by);
            if done != Ok(true) {
                for before in operations[..at].iter().rev() {
                    self.change(*before, by, -before.change);
                }
                return done.map(|_| Some(*operation));
            }
        }
        for operation in operations {
            self.each[operation.number].process = by;
        }
        self.operated = clock::real();
        Ok(None)
    }

    /// Carries out what others wait to do and can do now.
    fn settle(&mut self) {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let (operations, process) = (waiting.operations.clone(), waiting.process);
            let done = match self.operate(&operations, process) {
                Ok(Some(on)) if on.flags & NO_WAIT == 0 => {
                    self.waiting[at].on = on;
                    at += 1;
                    continue;
                }
                Ok(Some(_)) => Err(Errno::AGAIN),
                done => done.map(drop),
            };
            *self.waiting.remove(at).done.lock() = Some(done);
            at = 0;
        }
    }

    /// Does one operation; whether it need not wait.
    fn one(&mut self, operation: Operation, by: u32) -> Result<bool, Errno> {
        let value = i32::from(self.each[operation.number].value) + operation.change;
        if value < 0 || (operation.change == 0 && value != 0) {
            return Ok(false);
        }
        let undone = self.undone.get(&by).map_or(0, |undone| undone[operation.number]);
        let undone = if operation.flags & UNDO == 0 { 0 } else { undone - operation.change };
        if value > MOST_VALUE || undone.abs() > MOST_VALUE {
            return Err(Errno::RANGE);
        }
        self.change(operation, by, operation.change);
        Ok(true)
    }

    /// Adds to a value, within its range.
    fn change(&mut self, operation: Operation, by: u32, change: i32) {
        let semaphore = &mut self.each[operation.number];
        semaphore.value = (i32::from(semaphore.value) + change) as u16;
        if operation.flags & UNDO != 0 {
            let count = self.each.len();
            let undone = self.undone.entry(by).or_insert_with(|| vec![0; count]);
            undone[operation.number] -= change;
        }
    }
}

pub(super) fn semget(call: &mut Call<'_>) -> Outcome {
    let [key, count, flags, ..] = call.args;
    let (key, flags) = (key as u32, flags as u32);
    let count = usize::try_from(count as i32).map_err(|_| Errno::INVAL)?;
    if count > LARGEST {
        return Err(Errno::INVAL);
    }
    if let Some(known) = SETS.find(key, flags, count)? {
        return Ok(known as usize);
    }
    if count == 0 {
        return Err(Errno::INVAL);
    }
    let made = Semaphores {
        owned: Owned::new(key, flags),
        each: vec![Semaphore::default(); count],
        undone: BTreeMap::new(),
        waiting: Vec::new(),
        operated: 0,
        changed: clock::real(),
    };
    SETS.add(made, flags, count, MOST)
}

pub(super) fn semop(call: &mut Call<'_>) -> Outcome {
    call.args[3] = 0;
    semtimedop(call)
}

pub(super) fn semtimedop(call: &mut Call<'_>) -> Outcome {
    let [number, operations, count, timeout, ..] = call.args;
    let number = number as u32;
    if count == 0 {
        return Err(Errno::INVAL);
    }
    if count > MOST_OPERATIONS {
        return Err(Errno::TOOBIG);
    }
    let mut bytes = vec![[0; 6]; count];
    get(&mut call.token, operations, bytes.as_flattened_mut())?;
    let until = match timeout {
        0 => None,
        at => Some(clock::monotonic().saturating_add(timespec(call, at)?)),
    };
    let operations: Vec<Operation> = bytes.into_iter().map(Operation::from_bytes).collect();
    let changes = operations.iter().any(|operation| operation.change != 0);
    let by = call.process.number();
    SETS.with(number, |set| {
        if operations.iter().any(|operation| operation.number >= set.each.len()) {
            return Err(Errno::FBIG);
        }
        set.owned.need(if changes { WRITE } else { READ })
    })?;
    let waits = SETS.with(number, |set| match set.operate(&operations, by)? {
        None => {
            set.settle();
            Ok(None)
        }
        Some(on) if on.flags & NO_WAIT != 0 => Err(Errno::AGAIN),
        Some(on) => {
            let done = Done::new(Lock::new(None));
            let waiting = Waiting { operations, process: by, on, done: Arc::clone(&done) };
            set.waiting.push(waiting);
            Ok(Some(done))
        }
    })?;
    let Some(done) = waits else {
        wake(key_of(&SETS));
        return Ok(0);
    };
    let waited = wait_until(key_of(&SETS), until, &mut || done.lock().is_some());
    // Afterwards nothing becomes of it any more.
    let _removed = SETS.with(number, |set| {
        set.waiting.retain(|waiting| !Arc::ptr_eq(&waiting.done, &done));
        Ok(())
    });
    let done = done.lock().take();
    done.unwrap_or(match waited {
        Err(Errno::TIMEDOUT) => Err(Errno::AGAIN),
        waited => waited,
    })?;
    Ok(0)
}

/// A process has ended: what it asked to be undone is.
pub(crate) fn undo_semaphores(process: u32) {
    let mut is_changed = false;
    for set in SETS.lock().values_mut() {
        let Some(undone) = set.undone.remove(&process) else { continue };
        for (semaphore, change) in set.each.iter_mut().zip(undone) {
            let value = i32::from(semaphore.value) + change;
            semaphore.value = value.clamp(0, MOST_VALUE) as u16;
        }
        set.settle();
        is_changed = true;
    }
    if is_changed {
        wake(key_of(&SETS));
    }
}

pub(super) fn semctl(call: &mut Call<'_>) -> Outcome {
    let [number, which, command, argument, ..] = call.args;
    let (number, which) = (number as u32, which as u32 as usize);
    match command as u32 {
        REMOVE => {
            let removed = SETS.remove(number)?;
            for waiting in removed.into_iter().flat_map(|set| set.waiting) {
                *waiting.done.lock() = Some(Err(Errno::IDRM));
            }
            wake(key_of(&SETS));
            Ok(0)
        }
        SET => {
            let new = New::get(call, argument)?;
            SETS.with(number, |set| {
                set.owned.set(new)?;
                set.changed = clock::real();
                Ok(0)
            })
        }
        STATUS => tell(call, number, argument),
        GET_VALUE => SETS.with(number, |set| {
            set.owned.need(READ)?;
            set.get(which).map(|semaphore| semaphore.value.into())
        }),
        GET_PROCESS => SETS.with(number, |set| {
            set.owned.need(READ)?;
            set.get(which).map(|semaphore| semaphore.process as usize)
        }),
        COUNT_MORE | COUNT_ZERO => SETS.with(number, |set| {
            set.owned.need(READ)?;
            set.get(which)?;
            let for_zero = command as u32 == COUNT_ZERO;
            let is_meant = |on: &Operation| on.number == which && (on.change == 0) == for_zero;
            Ok(set.waiting.iter().filter(|waiting| is_meant(&waiting.on)).count())
        }),
        GET_ALL => {
            let values: Vec<u8> = SETS.with(number, |set| {
                set.owned.need(READ)?;
                Ok(set.each.iter().flat_map(|one| one.value.to_ne_bytes()).collect())
            })?;
            put(&mut call.token, argument, &values)?;
            Ok(0)
        }
        SET_VALUE => set_values(call, number, which, &[argument as u32]),
        SET_ALL => {
            let count = SETS.with(number, |set| Ok(set.each.len()))?;
            let mut bytes = vec![[0; 2]; count];
            get(&mut call.token, argument, bytes.as_flattened_mut())?;
            let values: Vec<u32> =
                bytes.into_iter().map(|value| u16::from_ne_bytes(value).into()).collect();
            set_values(call, number, 0, &values)
        }
        _ => Err(Errno::INVAL),
    }
}

/// Sets the values of semaphores from `first` on. Nothing is undone to them any more.
fn set_values(call: &Call<'_>, number: u32, first: usize, values: &[u32]) -> Outcome {
    let process = call.process.number();
    SETS.with(number, |set| {
        set.owned.need(WRITE)?;
        let end = first + values.len();
        let each = set.each.get_mut(first..end).ok_or(Errno::INVAL)?;
        if values.iter().any(|value| *value > MOST_VALUE as u32) {
            return Err(Errno::RANGE);
        }
        for (semaphore, value) in each.iter_mut().zip(values) {
            *semaphore = Semaphore { value: *value as u16, process };
        }
        for undone in set.undone.values_mut() {
            undone[first..end].fill(0);
        }
        set.changed = clock::real();
        set.settle();
        Ok(())
    })?;
    wake(key_of(&SETS));
    Ok(0)
}

/// `IPC_STAT`: `struct semid_ds`.
fn tell(call: &mut Call<'_>, number: u32, target: usize) -> Outcome {
    const SECOND: u64 = 1_000_000_000;
    let words = SETS.with(number, |set| {
        set.owned.need(READ)?;
        let [a, b, c, d, e, f] = set.owned.words();
        let (operated, changed) = (set.operated / SECOND, set.changed / SECOND);
        Ok([a, b, c, d, e, f, operated, 0, changed, 0, set.each.len() as u64, 0, 0])
    })?;
    put(&mut call.token, target, words.map(u64::to_ne_bytes).as_flattened())?;
    Ok(0)
}
