//! Advisory locks of ranges of a file: what `fcntl` (`F_SETLK`) and `flock` mean.
//!
//! Key type: [`RangeLocks`], the locks of one file. It has no lock of its own, and does not wait:
//! the kernel keeps one for each file, and has those that wait look again when locks go.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::vec::Vec;

/// What a lock keeps others from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Locks for writing (`F_RDLCK`, `LOCK_SH`).
    Shared,
    /// All locks (`F_WRLCK`, `LOCK_EX`).
    Exclusive,
}

/// A lock of bytes of a file. `O` names its owner: a process, or an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(alias = "struct flock")]
pub struct RangeLock<O> {
    /// Who has it.
    pub owner: O,
    /// What it keeps others from.
    pub kind: LockKind,
    /// The bytes. A lock to the end of the file, wherever that is, ends at `u64::MAX`.
    pub bytes: Range<u64>,
}

/// The locks of one file.
#[derive(Clone, Debug)]
pub struct RangeLocks<O> {
    /// Locks of one owner do not overlap.
    locks: Vec<RangeLock<O>>,
}

impl<O> Default for RangeLocks<O> {
    fn default() -> Self {
        Self { locks: Vec::new() }
    }
}

impl<O: Copy + Eq> RangeLocks<O> {
    /// The first lock of another owner that keeps `wanted` from being had (`F_GETLK`).
    #[must_use]
    pub fn conflict(&self, wanted: &RangeLock<O>) -> Option<&RangeLock<O>> {
        self.locks.iter().filter(|lock| lock.owner != wanted.owner).find(|lock| {
            let excludes = LockKind::Exclusive == lock.kind || LockKind::Exclusive == wanted.kind;
            excludes && overlap(&lock.bytes, &wanted.bytes)
        })
    }

    /// Takes a lock, which replaces what the owner has of these bytes (`F_SETLK`).
    ///
    /// # Errors
    /// The lock that is in its way; nothing has changed. The error of the call is `EAGAIN`.
    pub fn lock(&mut self, wanted: RangeLock<O>) -> Result<(), RangeLock<O>> {
        if let Some(conflict) = self.conflict(&wanted) {
            return Err(conflict.clone());
        }
        self.unlock(wanted.owner, &wanted.bytes);
        let mut whole = wanted;
        // Neighbours of the same kind become one lock.
        self.locks.retain(|lock| {
            let is_next = lock.owner == whole.owner
                && lock.kind == whole.kind
                && (lock.bytes.end == whole.bytes.start || whole.bytes.end == lock.bytes.start);
            if is_next {
                whole.bytes.start = whole.bytes.start.min(lock.bytes.start);
                whole.bytes.end = whole.bytes.end.max(lock.bytes.end);
            }
            !is_next
        });
        self.locks.push(whole);
        Ok(())
    }

    /// Lets go what an owner has of these bytes (`F_UNLCK`). Locks that reach beyond them are made
    /// shorter, or two of one.
    pub fn unlock(&mut self, owner: O, bytes: &Range<u64>) {
        let mut rest = Vec::new();
        self.locks.retain(|lock| {
            if lock.owner != owner || !overlap(&lock.bytes, bytes) {
                return true;
            }
            for part in [lock.bytes.start..bytes.start, bytes.end..lock.bytes.end] {
                if part.start < part.end {
                    rest.push(RangeLock { bytes: part, ..lock.clone() });
                }
            }
            false
        });
        self.locks.append(&mut rest);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(owner: u32, kind: LockKind, bytes: Range<u64>) -> RangeLock<u32> {
        RangeLock { owner, kind, bytes }
    }

    use LockKind::{Exclusive, Shared};

    #[test]
    fn a_lock_for_writing_excludes_others_where_they_overlap_and_nowhere_else() {
        let mut locks = RangeLocks::default();
        let held = lock(1, Exclusive, 10..20);
        assert_eq!(locks.lock(held.clone()), Ok(()));
        assert_eq!(locks.lock(lock(2, Shared, 19..30)), Err(held.clone()));
        assert_eq!(locks.lock(lock(2, Exclusive, 0..11)), Err(held));
        assert_eq!(locks.lock(lock(2, Exclusive, 20..30)), Ok(()));
        assert_eq!(locks.lock(lock(2, Exclusive, 0..10)), Ok(()));
    }

    #[test]
    fn locks_for_reading_are_shared() {
        let mut locks = RangeLocks::default();
        assert_eq!(locks.lock(lock(1, Shared, 0..10)), Ok(()));
        assert_eq!(locks.lock(lock(2, Shared, 5..15)), Ok(()));
        assert_eq!(locks.lock(lock(1, Exclusive, 0..10)), Err(lock(2, Shared, 5..15)));
        assert_eq!(locks.lock(lock(1, Exclusive, 0..5)), Ok(()));
    }

    #[test]
    fn a_lock_is_split_by_an_unlock_in_its_middle_and_made_whole_again() {
        let mut locks = RangeLocks::default();
        assert_eq!(locks.lock(lock(1, Exclusive, 0..u64::MAX)), Ok(()));
        locks.unlock(1, &(10..20));
        assert_eq!(locks.lock(lock(2, Exclusive, 10..20)), Ok(()));
        assert!(locks.lock(lock(2, Shared, 20..21)).is_err());
        assert!(locks.lock(lock(2, Shared, 9..10)).is_err());
        locks.unlock(2, &(0..u64::MAX));
        assert_eq!(locks.lock(lock(1, Exclusive, 10..20)), Ok(()));
        assert_eq!(
            locks.conflict(&lock(2, Shared, 15..16)),
            Some(&lock(1, Exclusive, 0..u64::MAX))
        );
        locks.unlock(1, &(0..u64::MAX));
        assert!(locks.is_empty());
    }

    #[test]
    fn an_owner_changes_the_kind_of_its_own_lock_in_part() {
        let mut locks = RangeLocks::default();
        assert_eq!(locks.lock(lock(1, Exclusive, 0..100)), Ok(()));
        assert_eq!(locks.lock(lock(1, Shared, 40..60)), Ok(()));
        assert_eq!(locks.lock(lock(2, Shared, 45..50)), Ok(()));
        assert!(locks.lock(lock(2, Shared, 39..40)).is_err());
        assert!(locks.lock(lock(2, Shared, 60..61)).is_err());
    }
}
