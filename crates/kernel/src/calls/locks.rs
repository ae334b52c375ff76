//! Advisory locks: `flock`, and those of `fcntl`. What they mean is in
//! [`RangeLocks`]; here is which file and which owner, and the wait.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::{Errno, LockKind, RangeLock, RangeLocks};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::io::need;
use crate::files::OpenFile;
use crate::memory::{get, put};
use crate::sync::Lock;
use crate::task::wait_interruptibly;
use crate::waits::{key_of, wake};

/// Which file, and of which kind of locks: the two know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Records(u64),
    Whole(u64),
}

/// The owner of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Process(u32),
    /// An open file, by its address.
    Open(usize),
}

/// The locks of all files that have any.
struct Locks {
    tables: BTreeMap<Table, RangeLocks<Owner>>,
    /// Locks of records that calls wait for.
    wanted: Vec<(Table, RangeLock<Owner>)>,
}

static LOCKS: Lock<Locks> = Lock::new(Locks { tables: BTreeMap::new(), wanted: Vec::new() });

impl Locks {
    fn lock(&mut self, table: Table, wanted: &RangeLock<Owner>) -> Result<(), Errno> {
        let locked = self.tables.entry(table).or_default().lock(wanted.clone());
        locked.map_err(|_| Errno::AGAIN)
    }

    /// The owner that keeps a lock from being had.
    fn holder(&self, table: Table, wanted: &RangeLock<Owner>) -> Option<Owner> {
        Some(self.tables.get(&table)?.conflict(wanted)?.owner)
    }

    /// Whether a process that waited for this lock would wait for itself: the holder waits for
    /// another lock, whose holder waits, and so on to the process. Open files are not followed,
    /// as on Linux: any process that has one can let its locks go.
    fn is_circle(&self, table: Table, wanted: &RangeLock<Owner>) -> bool {
        let mut reached: Vec<Owner> = self.holder(table, wanted).into_iter().collect();
        let mut at = 0;
        while let Some(&owner) = reached.get(at) {
            if owner == wanted.owner {
                return true;
            }
            let waits = self.wanted.iter().filter(|(_, of)| of.owner == owner);
            for (table, of) in waits {
                let holder = self.holder(*table, of);
                if let Some(holder) = holder.filter(|holder| !reached.contains(holder)) {
                    reached.push(holder);
                }
            }
            at += 1;
        }
        false
    }
}

const ALL: Range<u64> = 0..u64::MAX;

/// The number of a file; none for one without locks, as a pipe.
fn number(file: &OpenFile) -> Option<u64> {
    file.regular().map(|file| file.description().inode().mapping().id())
}

fn open_owner(file: &OpenFile) -> Owner {
    Owner::Open(Arc::as_ptr(file).cast::<()>().addr())
}

fn unlock(table: Table, owner: Owner, bytes: &Range<u64>) {
    {
        let mut all = LOCKS.lock();
        let Some(locks) = all.tables.get_mut(&table) else { return };
        locks.unlock(owner, bytes);
        if locks.is_empty() {
            all.tables.remove(&table);
        }
    }
    wake(key_of(&LOCKS));
}

/// Takes a lock.
fn try_lock(table: Table, wanted: &RangeLock<Owner>) -> Result<(), Errno> {
    let taken = LOCKS.lock().lock(table, wanted);
    // A lock that has become one for reading may let others in.
    wake(key_of(&LOCKS));
    taken
}

/// Takes a lock, or waits for it.
///
/// # Errors
/// `EAGAIN` without waiting; `EINTR`; `EDEADLK`: it would wait for itself.
fn lock(table: Table, wanted: &RangeLock<Owner>, waits: Waits) -> Result<(), Errno> {
    match (try_lock(table, wanted), waits) {
        (Err(Errno::AGAIN), Waits::Yes) => {}
        (outcome, _) => return outcome,
    }
    let entry = (table, wanted.clone());
    let follows = matches!((table, wanted.owner), (Table::Records(_), Owner::Process(_)));
    if follows {
        // The look and the note under one lock: of two that close a circle, one sees the other.
        let mut all = LOCKS.lock();
        if all.is_circle(table, wanted) {
            return Err(Errno::DEADLK);
        }
        all.wanted.push(entry.clone());
    }
    let waited = wait_interruptibly(key_of(&LOCKS), &mut || {
        let taken = LOCKS.lock().lock(table, wanted);
        taken.is_ok()
    });
    if follows {
        let mut all = LOCKS.lock();
        let at = all.wanted.iter().position(|other| *other == entry);
        at.map(|at| all.wanted.swap_remove(at));
    }
    waited
}

/// Whether a call waits for a lock that it cannot have yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

pub(super) fn flock(call: &mut Call<'_>) -> Outcome {
    let file = call.process.file(call.args[0])?;
    let operation = call.args[1] as u32;
    let kind = match operation & !linux::LOCK_NB {
        linux::LOCK_SH => Some(LockKind::Shared),
        linux::LOCK_EX => Some(LockKind::Exclusive),
        linux::LOCK_UN => None,
        _ => return Err(Errno::INVAL),
    };
    let Some(number) = number(&file) else { return Ok(0) };
    let (table, owner) = (Table::Whole(number), open_owner(&file));
    let Some(kind) = kind else {
        unlock(table, owner, &ALL);
        return Ok(0);
    };
    let waits = if operation & linux::LOCK_NB == 0 { Waits::Yes } else { Waits::No };
    lock(table, &RangeLock { owner, kind, bytes: ALL }, waits)?;
    Ok(0)
}

/// Bytes of `struct flock`, and where the number of the process stands.
const FLOCK: usize = 32;
const PROCESS: usize = 24;

/// The bytes that a `struct flock` means.
fn bytes_of(call: &mut Call<'_>, file: &OpenFile, told: &[u8; FLOCK]) -> Result<Range<u64>, Errno> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&told[at..at + 8]);
        i64::from_ne_bytes(bytes)
    };
    let (start, len) = (word(8), word(16));
    let regular = file.regular().ok_or(Errno::INVAL)?;
    let base = match u32::from(u16::from_ne_bytes([told[2], told[3]])) {
        linux::SEEK_SET => 0,
        linux::SEEK_CUR => {
            let open = regular.description();
            open.seek(&mut call.token, 0, linux::SEEK_CUR, &crate::task::Running)? as i64
        }
        linux::SEEK_END => regular.description().inode().size() as i64,
        _ => return Err(Errno::INVAL),
    };
    let start = base.checked_add(start).ok_or(Errno::OVERFLOW)?;
    let (start, end) = match len {
        0 => (start, None),
        len if len > 0 => {
            (start, Some(start.checked_add(len - 1).ok_or(Errno::OVERFLOW)?.saturating_add(1)))
        }
        len => (start.checked_add(len).ok_or(Errno::INVAL)?, Some(start)),
    };
    let start = u64::try_from(start).map_err(|_| Errno::INVAL)?;
    Ok(start..end.map_or(u64::MAX, i64::cast_unsigned))
}

/// `F_GETLK`, `F_SETLK` and `F_SETLKW`, and those of open files (`F_OFD_…`).
pub(super) fn records(call: &mut Call<'_>, file: &OpenFile) -> Outcome {
    let [_, command, argument, ..] = call.args;
    let command = command as u32;
    let mut told = [0; FLOCK];
    get(&mut call.token, argument, &mut told)?;
    let bytes = bytes_of(call, file, &told)?;
    let is_open = matches!(command, linux::F_OFD_GETLK | linux::F_OFD_SETLK | linux::F_OFD_SETLKW);
    if is_open && told[PROCESS..PROCESS + 4] != [0; 4] {
        return Err(Errno::INVAL);
    }
    let owner = if is_open { open_owner(file) } else { Owner::Process(call.process.files().owner) };
    let table = Table::Records(number(file).ok_or(Errno::INVAL)?);
    let asks = matches!(command, linux::F_GETLK | linux::F_OFD_GETLK);
    let kind = match u32::from(u16::from_ne_bytes([told[0], told[1]])) {
        linux::F_RDLCK => LockKind::Shared,
        linux::F_WRLCK => LockKind::Exclusive,
        linux::F_UNLCK if !asks => {
            unlock(table, owner, &bytes);
            return Ok(0);
        }
        _ => return Err(Errno::INVAL),
    };
    let wanted = RangeLock { owner, kind, bytes };
    if asks {
        let conflict = {
            let all = LOCKS.lock();
            all.tables.get(&table).and_then(|locks| locks.conflict(&wanted).cloned())
        };
        tell(&mut told, conflict);
        put(&mut call.token, argument, &told)?;
        return Ok(0);
    }
    let without = match kind {
        LockKind::Shared => linux::O_WRONLY,
        LockKind::Exclusive => linux::O_RDONLY,
    };
    need(file, without)?;
    let waits = matches!(command, linux::F_SETLKW | linux::F_OFD_SETLKW);
    lock(table, &wanted, if waits { Waits::Yes } else { Waits::No })?;
    Ok(0)
}

/// Makes the answer of `F_GETLK` of a question.
fn tell(told: &mut [u8; FLOCK], conflict: Option<RangeLock<Owner>>) {
    let mut set = |at: usize, value: &[u8]| told[at..at + value.len()].copy_from_slice(value);
    let Some(RangeLock { owner, kind, bytes }) = conflict else {
        set(0, &(linux::F_UNLCK as u16).to_ne_bytes());
        return;
    };
    let kind = match kind {
        LockKind::Shared => linux::F_RDLCK,
        LockKind::Exclusive => linux::F_WRLCK,
    };
    let len = if bytes.end == u64::MAX { 0 } else { bytes.end - bytes.start };
    let process = match owner {
        Owner::Process(number) => number.cast_signed(),
        Owner::Open(_) => -1,
    };
    set(0, &(kind as u16).to_ne_bytes());
    set(2, &(linux::SEEK_SET as u16).to_ne_bytes());
    set(8, &bytes.start.to_ne_bytes());
    set(16, &len.to_ne_bytes());
    set(PROCESS, &process.to_ne_bytes());
}

/// A process has closed a descriptor of a file: its locks of records go, whichever descriptor they
/// were made by.
pub(crate) fn closed(process: u32, file: &OpenFile) {
    let Some(number) = number(file) else { return };
    unlock(Table::Records(number), Owner::Process(process), &ALL);
    // The handle of the caller is the last one: no descriptor has the open file any more.
    if Arc::strong_count(file) == 1 {
        let owner = open_owner(file);
        unlock(Table::Records(number), owner, &ALL);
        unlock(Table::Whole(number), owner, &ALL);
    }
}

/// As [`closed`], of several files, which are then dropped.
pub(crate) fn all_closed(process: u32, files: Vec<OpenFile>) {
    for file in files {
        closed(process, &file);
    }
}
