//! The backing store of a file: what an embedder implements for each of its file systems.
//!
//! Key type: [`AddressSpaceOperations`]. It does not own the rules of when which call is made;
//! filemap does.
#![forbid(unsafe_code)]

use core::ops::Range;

use static_assertions::assert_obj_safe;

use crate::{Errno, FillBuf, PageIndex, ReadRequest, WritebackRequest, WritebackRun};

/// Which of the two write algorithms a store is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// B: `write_begin`, atomic copy, `write_end` (Linux afddba49).
    #[default]
    BeginEnd,
    /// A: prepare, copy, commit, by way of a temporary page when the page is not uptodate (Linux
    /// 08291429cf).
    PrepareCommit,
}

/// What [`AddressSpaceOperations::write_begin`] promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Bytes from `pos` that the store has room for: `1..=len`. Less than asked when it fills up
    /// midway; the core then writes that much and asks again. (A value out of range is clipped by
    /// the core.)
    pub len: usize,
    /// What the page held before. Of several pages: whether all of them are holes.
    pub contents: Contents,
    /// Whether every block of the page that lies below the file's maximum size now has room, so
    /// that the store need not be asked again before it writes the page back.
    pub reserved: Reserved,
}

/// What a page of the store holds before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Data in at least one block: a partial write must read the page first.
    Stored,
    /// A hole: the page reads as zeros, and nothing needs to be read.
    Hole,
}

/// Whether room is reserved for the whole page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// For some blocks only: `write_begin` must be called for the others.
    Partly,
    /// For the whole page.
    Fully,
}

/// How much `fsync` has to make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The data, and the metadata needed to read it back (`fdatasync`, `O_DSYNC`).
    Data,
    /// Everything (`fsync`, `O_SYNC`).
    All,
}

/// How [`AddressSpaceOperations::fallocate`] changes the blocks of a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fallocate {
    /// Every block that holds a byte of the range gets room. No byte changes: what was a hole reads
    /// as zeros.
    Allocate,
    /// Every block that lies wholly in the range is given back, and the other bytes of the range
    /// become zeros.
    #[doc(alias = "FALLOC_FL_PUNCH_HOLE")]
    PunchHole,
    /// Every byte of the range becomes zero, and every block that holds one has room.
    #[doc(alias = "FALLOC_FL_ZERO_RANGE")]
    ZeroRange,
}

/// A number by which a kernel knows one of its stores: a file system, or the device below it. The
/// embedder gives the numbers out. The default, 0, is for a kernel that does not tell its stores
/// apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "backing_dev_info")]
pub struct StoreId(pub u32);

/// How [`AddressSpaceOperations::shift`] moves what lies from some place of the file on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shift {
    /// The bytes of the range go, and what lies behind them moves down in their place.
    #[doc(alias = "FALLOC_FL_COLLAPSE_RANGE")]
    Collapse,
    /// What lies from the start of the range on moves up, behind its end. The range is a hole then.
    #[doc(alias = "FALLOC_FL_INSERT_RANGE")]
    Insert,
}

/// What a [`sync`](AddressSpaceOperations::sync) that fails leaves of what was sent before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailedSync {
    /// Any part may be gone: a device that reports a failed flush has often dropped its cache. The
    /// next flush succeeds, and covers none of it.
    #[default]
    Loses,
    /// All of it: the store has it still, and sends it again for the next sync.
    Keeps,
}

/// The backing store of one file. One implementation serves both strategies; `&self` because stores
/// lock for themselves, *inside* each call: a lock that is still held when a call returns would be
/// held across the user copy (D3), and [`write_begin`](Self::write_begin) gives no way to do so.
///
/// After a crash the store holds what completed [`sync`](Self::sync)s covered, and of what was sent
/// since any part. Where that is data past the size that it recorded, it forgets it before the file
/// is opened again, as [`truncate_blocks`](Self::truncate_blocks) would: the core takes what lies
/// past the size for zeros, and shows it when the file grows (P2).
///
/// The trait is safe: a store that lies can lose its own data but cannot make the core touch memory
/// it does not own, or expose bytes that were never written. All calls may sleep unless said
/// otherwise. Page locks are held where said.
///
/// # What a call must not do
/// A call runs on the thread of the operation that makes it, with the locks of that operation. So
/// it must not call the inode that it serves, or wait for it:
/// - [`write_begin`](Self::write_begin), [`write_end`](Self::write_end) and
///   [`fallocate`](Self::fallocate) have pages locked, and the pages of a [`read`](Self::read) are
///   locked until it ends. An operation that locks pages of the same file may wait for that lock
///   without end; so may an access to user memory, by its fault handler (DL1), and an allocation
///   that reclaims (P3).
/// - [`writeback`](Self::writeback) holds pages under writeback.
///   [`Mapping::wait_writeback`](crate::Mapping::wait_writeback), a sync, a truncation or a removal
///   of one of these pages, made by the call or by a thread that the call waits for, waits for the
///   call itself.
/// - [`prepare_size`](Self::prepare_size), [`truncate_blocks`](Self::truncate_blocks) and
///   [`shift`](Self::shift) come with I held: a change of the size, or a write that grows the file,
///   waits for its own caller. A read or a fault of a page that moves waits for the end of `shift`.
/// - [`set_size`](Self::set_size) comes under the lock in which sizes are told: a sync of the same
///   file may wait for it without end.
/// - No call drops the last handle of its inode, which would drop the store inside its own call.
///
/// Looking is harmless everywhere: the size, the times, and which pages are present.
///
/// # A store on a file
/// A store may keep its data in another file of the same cache, as a loop device does, if no call
/// on that file leads back to this one. It overrides [`submit_read`](Self::submit_read): it reads
/// the file below first, and then [fills](ReadRequest::fill) the request from memory of its own.
/// [`read`](Self::read), and a read inside `fill`, would lock and allocate pages with a page of
/// this file locked by the thread (P3, P4), unless a queue has
/// [let the request go](ReadRequest::let_go) before and a thread of its own does it; so would
/// [`write_begin`](Self::write_begin).
/// [`writeback`](Self::writeback) and [`sync`](Self::sync) may use the file below as they are.
///
/// # Unwinding
/// In hosts that unwind, a call may end by a panic, and the operation ends with it. Nothing stays
/// locked, and no page stays under writeback. A [`writeback`](Self::writeback) that unwinds counts
/// as failed with [`Errno::Io`]. What a write has copied past the end without counting it, and room
/// there, goes before the file grows; a truncation that was left incomplete is completed by the
/// next change of the size. Cached pages whose blocks a [`fallocate`](Self::fallocate) was to
/// change are zeros from then on. A write that began before the unwinding is not ended: a store
/// does not rely on [`write_end`](Self::write_end) after a panic. It must not panic again while the
/// stack unwinds: no call is made then.
#[doc(alias = "address_space_operations")]
pub trait AddressSpaceOperations: Send + Sync {
    /// Reads a page into `buf`, front to back. The page is locked until the request ends that it
    /// belongs to.
    ///
    /// The store says how much there is (F8). A hole is declared in words, by
    /// [`FillBuf::skip_zero`] for a part of the page and [`FillBuf::fill_hole`] for all the rest;
    /// so is what lies past the store's end, where nothing need be filled in. An answer of `Ok`
    /// with less than the file's size says that there should be is a short read: every reader gets
    /// [`Errno::Io`], never zeros in place of data. What lies past the file's size is zeroed by the
    /// core in any case.
    ///
    /// # Errors
    /// The page stays not uptodate, and every caller that waited for it gets the error.
    #[doc(alias = "readpage")]
    #[doc(alias = "read_folio")]
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno>;

    /// Makes room for bytes `[pos, pos + len)`, which lie in one page. The page is locked.
    ///
    /// # Errors
    /// Nothing was begun: no [`write_end`](Self::write_end) follows.
    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno>;

    /// As [`write_begin`](Self::write_begin), for bytes that may lie in several pages of a leaf,
    /// all of which are new in the cache: makes room for as many of them as the store likes, from
    /// the first one on. What the answer says holds for each of the pages that it has room for. The
    /// pages are locked, and one [`write_end`](Self::write_end) follows for all of them. The
    /// default makes room in the first page only.
    ///
    /// # Errors
    /// As `write_begin`.
    #[doc(alias = "iomap_begin")]
    #[inline]
    fn write_begin_run(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let len = len.min(PageIndex::bytes_from(pos));
        let begun = self.write_begin(pos, len)?;
        // A value out of range is clipped here, where the range is known.
        Ok(Begun { len: begun.len.min(len), ..begun })
    }

    /// Ends what [`write_begin`](Self::write_begin) began at `pos`: `copied` of the `len` bytes
    /// that it granted landed, `0..=len`. Room beyond them that lies past the file's end is given
    /// back with [`truncate_blocks`](Self::truncate_blocks) afterwards. The page is locked.
    /// Infallible: there is nothing left to refuse.
    fn write_end(&self, pos: u64, len: usize, copied: usize);

    /// Sends a run of pages to the store. Blocks for which it was never asked to make room hold
    /// zeros, and need none. No page lock is held; the pages are marked as under writeback, so to
    /// wait for the end of their writeback here is to wait without end.
    ///
    /// # Errors
    /// The pages are dirty again, and the next `fsync` reports the error once. A panic counts as an
    /// error, in hosts that unwind.
    #[doc(alias = "writepages")]
    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno>;

    /// Reads a run of pages, now or later. The default reads them one by one before it returns, by
    /// [`read`](Self::read). A store with a queue keeps the request, returns, and
    /// [completes](ReadRequest::complete) it later, in any context; its `read` is not called then.
    ///
    /// The pages are locked by the request, and the calling thread holds none. It may sleep for
    /// room in a queue. The completion waits for no lock of an inode, a page, or an address space.
    #[doc(alias = "readpages")]
    #[doc(alias = "readahead")]
    fn submit_read(&self, request: ReadRequest) {
        request.fill(|index, buf| self.read(index, buf));
    }

    /// Sends a run of pages, now or later. The default does so before it returns, with
    /// [`writeback`](Self::writeback). A store with a queue keeps the request, returns, and
    /// [completes](WritebackRequest::complete) it later, in any context.
    ///
    /// No page lock is held. It may sleep for room in a queue. The completion waits for no lock of
    /// an inode, a page, or an address space.
    #[doc(alias = "writepages")]
    fn submit_writeback(&self, request: WritebackRequest) {
        let sent = self.writeback(&request.view());
        request.complete(sent);
    }

    /// The file is about to get `size` bytes by a truncation, or by room that is made past its end;
    /// whether the store can do its part. The calls that follow cannot fail, and this one reserves
    /// what they need: [`truncate_blocks`](Self::truncate_blocks) when the file shrinks, and
    /// [`set_size`](Self::set_size). The change may still not come. A write that grows the file
    /// asks by [`write_begin`](Self::write_begin) instead. I is held, and no page lock. The default
    /// agrees.
    ///
    /// # Errors
    /// The size does not change, and nothing else: no page has left the cache, and no block is
    /// given back. The caller may ask again.
    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        let _agreed = size;
        Ok(())
    }

    /// Gives back every block that lies wholly at or past `size`, forgets what it knew of them, and
    /// sees to it that the bytes past `size` in the last block that stays read as zeros (P2).
    /// Called after truncation and after a write that failed midway. No page lock is held. Must not
    /// fail.
    fn truncate_blocks(&self, size: u64);

    /// The file's size is now `size`: recorded so that a later [`sync`](Self::sync) makes it
    /// durable. Called by truncation, and at the begin of each writeback and sync if the file has
    /// grown since: not by each write. No page lock is held. Never sleeps.
    fn set_size(&self, size: u64);

    /// When the file changed: its contents, and anything; in nanoseconds of the embedder's clock.
    /// Recorded so that the [`sync`](Self::sync) which follows makes it durable. Called before each
    /// sync, with times that may be those of the call before. No page lock is held. Never sleeps.
    /// The default forgets them.
    #[doc(alias = "update_time")]
    fn set_times(&self, modified: u64, changed: u64) {
        let _not_kept = (modified, changed);
    }

    /// Makes durable what was sent by [`writeback`](Self::writeback)s that ended before, and
    /// with it the size, which the data cannot be found without: for both kinds.
    ///
    /// # Errors
    /// What was sent may not be durable. The core does not send it again: see
    /// [`failed_sync`](Self::failed_sync). A sync of the same device, for this file or for another,
    /// that overlaps with one that loses what was sent fails as well.
    fn sync(&self, kind: SyncKind) -> Result<(), Errno>;

    /// Changes the blocks of `range`, which lies in one leaf: at most 64 pages. An empty range,
    /// which comes before any other, asks whether the store can do that: it changes nothing.
    ///
    /// All pages of a range that is not empty are locked, those that are absent too, so no read, no
    /// writeback and no [`write_begin`](Self::write_begin) of them runs beside the call. I is held.
    /// The range may lie past the file's end; room there stays until
    /// [`truncate_blocks`](Self::truncate_blocks) takes it back. It is the store that zeroes its
    /// own copy of the bytes: cached pages become zeros afterwards, and need not be sent.
    ///
    /// # Errors
    /// - [`Errno::NotSupported`], the default: nothing has changed. For an empty range as well.
    /// - [`Errno::NoSpace`], [`Errno::Io`] and others: no block was given back, and no byte
    ///   changed, but that those which were to become zeros may have. Room that was made may stay.
    ///   A store does what can fail before it gives blocks back.
    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        let _unknown_here = (change, range);
        Err(Errno::NotSupported)
    }

    /// Of what number of bytes the places and lengths of a [`shift`](Self::shift) are multiples:
    /// the size of a block, as a rule. `None`, the default, if the store cannot shift.
    fn shift_unit(&self) -> Option<u64> {
        None
    }

    /// Moves the blocks of the file from the start of `range` on, down or up by the length of the
    /// range. The file has `size` bytes then: the size that the store was told last, moved by as
    /// much, and told with this call. Both ends are multiples of [`shift_unit`](Self::shift_unit),
    /// and the range begins before the end of the file; one that is to go ends before it, too.
    ///
    /// The store was told the visible size before. It has every byte of the file from the page of
    /// `range.start` on, and no request for such a page is under way. None begins before the call
    /// ends, but for [`extent`](Self::extent). I is held, the range of the pages that move, and
    /// the lock that keeps them from coming in; no page lock. A sync may run beside it.
    ///
    /// Blocks past the end of the file may move as well, or go. What lies past the new end reads as
    /// zeros.
    ///
    /// # Errors
    /// Nothing has changed, neither contents nor size: the call is one step, after a crash as well.
    /// One that unwinds does so before it has changed anything.
    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let _unknown_here = (shift, range, size);
        Err(Errno::NotSupported)
    }

    /// The first bytes at or past `pos` that have blocks, as one range, which may begin before
    /// `pos` and end before its blocks do; `None` if there are none. What is not in a block reads
    /// as zeros, and has nothing that [`Fallocate::PunchHole`] could give back. The default says
    /// that all bytes have blocks. No page lock is held.
    ///
    /// # Errors
    /// The store could not find out.
    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        Ok(Some(pos..u64::MAX))
    }

    /// Whether a later [`sync`](Self::sync) that succeeds covers what was sent before one that
    /// failed. If not, no sync of the file succeeds any more, until the embedder says that it may.
    fn failed_sync(&self) -> FailedSync {
        FailedSync::Loses
    }

    /// Which algorithm writes to this store.
    fn strategy(&self) -> Strategy {
        Strategy::BeginEnd
    }

    /// Largest size of a file on this store, in bytes (W8).
    fn max_size(&self) -> u64 {
        crate::MAX_FILE_SIZE
    }

    /// Whether pages can be dropped from the cache once they are clean and read back later. A store
    /// whose only copy is the cache (tmpfs) says no.
    fn is_persistent(&self) -> bool {
        true
    }

    /// Whether the store has no bytes of its own: what is in no page of the cache reads as zeros,
    /// and a read of it brings no page in. A fault of a CPU load does; such a page leaves again if
    /// memory is short before it is written. The store is not [persistent](Self::is_persistent),
    /// and no [swap area](Self::is_swap). It does not change while a file is open.
    #[doc(alias = "tmpfs")]
    fn is_empty(&self) -> bool {
        false
    }

    /// Whether the store is a swap area: the file is one in memory, whose pages are sent only
    /// because memory is short, and are worth nothing when it is gone. They do not count as dirty.
    /// No sync or flusher sends them, nor does the end of the file, which loses nothing. Such a
    /// store says that it [is persistent](Self::is_persistent). It does not change while a file is
    /// open.
    #[doc(alias = "shmem")]
    #[doc(alias = "tmpfs")]
    fn is_swap(&self) -> bool {
        false
    }

    /// Which of the kernel's stores the file is on: what [`Kernel::count`](crate::Kernel::count) is
    /// told of its pages, and by whose share a limit of dirty pages admits them. It does not change
    /// while a file is open.
    fn store_id(&self) -> StoreId {
        StoreId::default()
    }

    /// Whether a page must stay as it is while it is written back, because the store makes a
    /// checksum of it, or reads it more than once. Writes to such a page, and faults of CPU stores,
    /// then wait for the end of its writeback. It does not change while a file is open.
    #[doc(alias = "SB_I_STABLE_WRITES")]
    #[doc(alias = "folio_wait_stable")]
    fn wants_stable_pages(&self) -> bool {
        false
    }
}

/// A store that is shared: by its file, and by what stands before or beside it.
impl<T: AddressSpaceOperations + ?Sized> AddressSpaceOperations for &T {
    crate::forward_to_store!(self => (**self); submit_read, submit_writeback);
    crate::forward_to_store!(self => (**self); all_but_requests);
}

assert_obj_safe!(AddressSpaceOperations);
