//! A request of either kind, for stores with one queue, and the calls that such a store hands on.
#![forbid(unsafe_code)]

use crate::{AddressSpaceOperations, Errno, ReadRequest, WritebackRequest};

/// A request of a store: what a queue of both kinds holds.
#[derive(Debug)]
#[must_use = "dropping it fails the request"]
pub enum StoreRequest {
    /// Pages to be read.
    Read(ReadRequest),
    /// Pages to be written.
    Writeback(WritebackRequest),
}

impl StoreRequest {
    /// Hands it to `store`.
    pub fn submit_to(self, store: &(impl AddressSpaceOperations + ?Sized)) {
        match self {
            Self::Read(request) => store.submit_read(request),
            Self::Writeback(request) => store.submit_writeback(request),
        }
    }

    /// Ends it with an error.
    pub fn fail(self, errno: Errno) {
        match self {
            Self::Read(request) => request.fail(errno),
            Self::Writeback(request) => request.complete(Err(errno)),
        }
    }

    /// Keeps the first `pages` pages, and gives the others as a request of their own. `None`, with
    /// nothing changed, if one of the two would be empty.
    pub fn split_off(&mut self, pages: u32) -> Option<Self> {
        match self {
            Self::Read(request) => request.split_off(pages).map(Self::Read),
            Self::Writeback(request) => request.split_off(pages).map(Self::Writeback),
        }
    }
}

/// Implements calls of [`AddressSpaceOperations`] by those of another store, for one that stands
/// before it: first `self`, then an expression for the other store, then the names of the calls. A
/// call that is neither named nor written keeps its default, which may not be what the other store
/// answers. `all_but_requests` names every call but `submit_read` and `submit_writeback`, for a
/// store that queues these.
///
/// ```
/// use faultless_page::{AddressSpaceOperations, forward_to_store};
///
/// /// A store whose files end early.
/// struct Short<T>(T);
///
/// impl<T: AddressSpaceOperations> AddressSpaceOperations for Short<T> {
///     fn max_size(&self) -> u64 {
///         1 << 20
///     }
///     forward_to_store!(self => self.0; read, writeback, submit_read, submit_writeback);
///     forward_to_store!(self => self.0; write_begin, write_end, truncate_blocks, set_size, sync);
///     forward_to_store!(self => self.0; failed_sync, strategy, is_persistent);
/// }
/// ```
#[macro_export]
macro_rules! forward_to_store {
    ($this:ident => $store:expr; all_but_requests) => {
        $crate::forward_to_store!(
            $this => $store;
            read, writeback, write_begin, write_begin_run, write_end, truncate_blocks, set_size,
            sync, failed_sync, strategy, max_size, is_persistent, is_empty, wants_stable_pages,
            is_swap, store_id, fallocate, extent, prepare_size, set_times, shift, shift_unit
        );
    };
    ($this:ident => $store:expr; $($call:ident),+) => {
        $($crate::forward_to_store!(@$call $this $store);)+
    };
    (@read $this:ident $store:expr) => {
        fn read(
            &$this,
            index: $crate::PageIndex,
            buf: &mut $crate::FillBuf<'_>,
        ) -> ::core::result::Result<(), $crate::Errno> {
            $store.read(index, buf)
        }
    };
    (@writeback $this:ident $store:expr) => {
        fn writeback(
            &$this,
            run: &$crate::WritebackRun<'_>,
        ) -> ::core::result::Result<(), $crate::Errno> {
            $store.writeback(run)
        }
    };
    (@submit_read $this:ident $store:expr) => {
        fn submit_read(&$this, request: $crate::ReadRequest) {
            $store.submit_read(request);
        }
    };
    (@submit_writeback $this:ident $store:expr) => {
        fn submit_writeback(&$this, request: $crate::WritebackRequest) {
            $store.submit_writeback(request);
        }
    };
    (@write_begin $this:ident $store:expr) => {
        fn write_begin(
            &$this,
            pos: u64,
            len: usize,
        ) -> ::core::result::Result<$crate::Begun, $crate::Errno> {
            $store.write_begin(pos, len)
        }
    };
    (@write_begin_run $this:ident $store:expr) => {
        fn write_begin_run(
            &$this,
            pos: u64,
            len: usize,
        ) -> ::core::result::Result<$crate::Begun, $crate::Errno> {
            $store.write_begin_run(pos, len)
        }
    };
    (@write_end $this:ident $store:expr) => {
        fn write_end(&$this, pos: u64, len: usize, copied: usize) {
            $store.write_end(pos, len, copied);
        }
    };
    (@truncate_blocks $this:ident $store:expr) => {
        fn truncate_blocks(&$this, size: u64) {
            $store.truncate_blocks(size);
        }
    };
    (@set_size $this:ident $store:expr) => {
        fn set_size(&$this, size: u64) {
            $store.set_size(size);
        }
    };
    (@set_times $this:ident $store:expr) => {
        fn set_times(&$this, modified: u64, changed: u64) {
            $store.set_times(modified, changed);
        }
    };
    (@sync $this:ident $store:expr) => {
        fn sync(&$this, kind: $crate::SyncKind) -> ::core::result::Result<(), $crate::Errno> {
            $store.sync(kind)
        }
    };
    (@prepare_size $this:ident $store:expr) => {
        fn prepare_size(&$this, size: u64) -> ::core::result::Result<(), $crate::Errno> {
            $store.prepare_size(size)
        }
    };
    (@fallocate $this:ident $store:expr) => {
        fn fallocate(
            &$this,
            change: $crate::Fallocate,
            range: ::core::ops::Range<u64>,
        ) -> ::core::result::Result<(), $crate::Errno> {
            $store.fallocate(change, range)
        }
    };
    (@shift_unit $this:ident $store:expr) => {
        fn shift_unit(&$this) -> ::core::option::Option<u64> {
            $store.shift_unit()
        }
    };
    (@shift $this:ident $store:expr) => {
        fn shift(
            &$this,
            shift: $crate::Shift,
            range: ::core::ops::Range<u64>,
            size: u64,
        ) -> ::core::result::Result<(), $crate::Errno> {
            $store.shift(shift, range, size)
        }
    };
    (@extent $this:ident $store:expr) => {
        fn extent(
            &$this,
            pos: u64,
        ) -> ::core::result::Result<
            ::core::option::Option<::core::ops::Range<u64>>,
            $crate::Errno,
        > {
            $store.extent(pos)
        }
    };
    (@failed_sync $this:ident $store:expr) => {
        fn failed_sync(&$this) -> $crate::FailedSync {
            $store.failed_sync()
        }
    };
    (@strategy $this:ident $store:expr) => {
        fn strategy(&$this) -> $crate::Strategy {
            $store.strategy()
        }
    };
    (@max_size $this:ident $store:expr) => {
        fn max_size(&$this) -> u64 {
            $store.max_size()
        }
    };
    (@is_persistent $this:ident $store:expr) => {
        fn is_persistent(&$this) -> bool {
            $store.is_persistent()
        }
    };
    (@is_empty $this:ident $store:expr) => {
        fn is_empty(&$this) -> bool {
            $store.is_empty()
        }
    };
    (@is_swap $this:ident $store:expr) => {
        fn is_swap(&$this) -> bool {
            $store.is_swap()
        }
    };
    (@store_id $this:ident $store:expr) => {
        fn store_id(&$this) -> $crate::StoreId {
            $store.store_id()
        }
    };
    (@wants_stable_pages $this:ident $store:expr) => {
        fn wants_stable_pages(&$this) -> bool {
            $store.wants_stable_pages()
        }
    };
}
