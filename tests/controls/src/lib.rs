//! Historical write paths, with their bugs: what every checker must find.
//!
//! Three algorithms that real kernels shipped, over the public interface of the core and
//! unreachable from it. They are written from the rules of `docs/semantics.md`.
//!
//! | control | what it does | known to |
//! |---|---|---|
//! | [`Control::Linux2623`] | copies with faults allowed, the page locked | hang: DL1, DL2, DL3, DL3′, DL4; zero the tail of a short copy (B3) |
//! | [`Control::Linux2624Rc1`] | the first cure: strategy A | have the [`Defect`]s S1–S5; it does not hang |
//! | [`Control::PrefaultOnly`] | probes the source, then copies as 2.6.23 does | hang when the source is stolen in between |
//!
//! Key types: [`ControlFile`], a file with the inode lock that these writers share; [`Request`]. A
//! loop that would not end is ended by the request's budget of steps, as [`Failure::Livelock`].
//!
//! Neighbours: [`deadlocks`] sets up those that hang. `breach` is the one place where the rule of
//! the token is broken. The controls know none of what came later: no ranges, no set-id, no limits
//! of size (W8), no scribbles past the end (P2). Use them on files that are not written by other
//! means at the same time.

mod breach;
mod bytes;
pub mod deadlocks;
mod defects;
mod prepared;
mod rc1;
mod segments;
#[cfg(test)]
mod tests;
mod under_lock;

use std::fmt;

use faultless_filemap::{Inode, NoTask, Position, Task, WriteOptions, Written};
use faultless_page::{AddressSpaceOperations, Errno, Kernel, LockId, Mapping, SleepMutex};
use faultless_usercopy::{MayFault, UserMemory, UserSlice};

use self::segments::Segments;

pub use self::defects::{Defect, Defects};

/// Which history repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Before 08291429cf: a faulting copy under the page lock. Its copy zeroes what it could not
    /// fill.
    Linux2623,
    /// 08291429cf itself, with these of its defects; without any it is strategy A as it should have
    /// been.
    Linux2624Rc1(Defects),
    /// illumos, OpenZFS: probes the source, then makes a faulting copy under the page lock.
    PrefaultOnly,
}

/// What to write, and by which algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Request<'s> {
    /// The algorithm.
    pub control: Control,
    /// The source, already checked against the user range.
    pub segments: &'s [UserSlice],
    /// Where to, and what to sync. The strategy in it is not looked at.
    pub options: WriteOptions,
    /// Rounds of the loop after which it is taken for endless.
    pub steps: u64,
}

/// Why a control failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// As a system call fails.
    Errno(Errno),
    /// The budget of steps is used up: it would have gone on for ever (W6).
    Livelock,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::Livelock => f.write_str("livelock"),
        }
    }
}

impl std::error::Error for Failure {}

/// A file that the controls write: an inode, and an inode lock of their own, which they hold
/// throughout a write.
pub struct ControlFile<'i, K: Kernel> {
    inode: &'i Inode<K>,
    lock: SleepMutex<K>,
}

impl<K: Kernel> fmt::Debug for ControlFile<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ControlFile").field(&self.inode).finish()
    }
}

/// One request on its way.
struct Writer<'w, K: Kernel, U, T> {
    inode: &'w Inode<K>,
    token: &'w mut MayFault,
    user: &'w U,
    task: &'w T,
    from: Segments<'w>,
    pos: u64,
    written: usize,
    steps: u64,
}

impl<'i, K: Kernel> ControlFile<'i, K> {
    /// The file behind this inode.
    #[must_use]
    pub fn new(inode: &'i Inode<K>) -> Self {
        Self { inode, lock: SleepMutex::new(LockId::Inode(inode.mapping().id())) }
    }

    /// The inode.
    #[must_use]
    pub fn inode(&self) -> &'i Inode<K> {
        self.inode
    }

    /// Writes as the control did. Takes I, and whatever else the control takes in whatever order it
    /// took it: this may hang.
    ///
    /// # Errors
    /// [`Failure`]: what the control would have returned, or that it would not have returned.
    pub fn write<U: UserMemory<Token = MayFault>, T: Task>(
        &self,
        request: &Request<'_>,
        token: &mut MayFault,
        user: &U,
        task: &T,
    ) -> Result<Written, Failure> {
        let mapping = self.inode.mapping();
        let lock = self.lock.lock(mapping.cache().wait());
        let pos = match request.options.position {
            Position::At(pos) => pos,
            Position::Append => mapping.size(),
        };
        let mut writer = Writer {
            inode: self.inode,
            token,
            user,
            task,
            from: Segments::new(request.segments),
            pos,
            written: 0,
            steps: request.steps,
        };
        let stop = match request.control {
            Control::Linux2623 => writer.copy_under_lock(under_lock::Probe::None),
            Control::PrefaultOnly => writer.copy_under_lock(under_lock::Probe::First),
            Control::Linux2624Rc1(defects) => writer.prepare_commit(defects),
        };
        let (written, end) = (writer.written, writer.pos);
        tell_store_size(mapping);
        drop(lock);
        let bytes = match stop {
            Err(Failure::Livelock) => return Err(Failure::Livelock),
            Err(failure) if written == 0 => return Err(failure),
            _ => written,
        };
        self.sync(request, token, end - bytes as u64, end)?;
        Ok(Written { bytes, end })
    }

    /// Syncs what was written. With [`Defect::SyncErrorLost`] progress hides the error (S5).
    fn sync(
        &self,
        request: &Request<'_>,
        token: &mut MayFault,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let Some(kind) = request.options.sync else { return Ok(()) };
        if start == end {
            return Ok(());
        }
        let synced = self.inode.fsync_range(token, kind, start..end, &NoTask);
        match request.control {
            Control::Linux2624Rc1(defects) if defects.has(Defect::SyncErrorLost) => Ok(()),
            _ => synced,
        }
    }
}

/// The store learns the size, and takes room past it back.
fn tell_store_size<K: Kernel>(mapping: &Mapping<K>) {
    let size = mapping.size();
    mapping.store().set_size(size);
    mapping.store().truncate_blocks(size);
}

impl<K: Kernel, U, T> Writer<'_, K, U, T> {
    /// One more round.
    fn step(&mut self) -> Result<(), Failure> {
        self.steps = self.steps.checked_sub(1).ok_or(Failure::Livelock)?;
        Ok(())
    }

    /// Moves on by `bytes` that landed.
    fn landed(&mut self, bytes: usize) {
        self.from.advance(bytes);
        self.pos += bytes as u64;
        self.written += bytes;
    }
}
