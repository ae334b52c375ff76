//! A store with a hook around each call: what a test does to one call of a store, or notes of it,
//! is a closure.
//!
//! Key types: [`HookedStore`], around any other store; [`At`], the call that a hook is told of. The
//! hook runs with whatever the core has locked, and makes the call of the store below itself: so it
//! can do something before and after, hold a lock over the call, refuse it, leave it out, or unwind
//! on either side. What is read and what is granted can be replaced besides.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use faultless_page::{
    AddressSpaceOperations, Begun, Errno, FailedSync, Fallocate, FillBuf, PAGE_SIZE, PageIndex,
    Shift, StoreId, Strategy, SyncKind, WritebackRun,
};

use super::faulty::Call;

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Which one.
    pub call: Call,
    /// The first byte of the file that it is about; the size, of a call that is told one.
    pub pos: u64,
    /// Bytes that it is about: a page of `read`, those asked for of `write_begin`, those begun of
    /// `write_end`, those inside the file of `writeback`, those of `fallocate`.
    pub len: usize,
    /// Bytes that landed, of `write_end`.
    pub copied: usize,
}

/// The call of the store below.
pub type Below<'b> = dyn FnMut() -> Result<(), Errno> + 'b;

type Hook = dyn Fn(&At, &mut Below<'_>) -> Result<(), Errno> + Send + Sync;
type Read<S> = dyn Fn(&S, PageIndex, &mut FillBuf<'_>) -> Result<(), Errno> + Send + Sync;
type Grant = dyn Fn(&At, Begun) -> Begun + Send + Sync;

/// A store around another one, with a hook around its calls.
pub struct HookedStore<S: ?Sized> {
    hook: Mutex<Option<Arc<Hook>>>,
    read: Option<Box<Read<S>>>,
    grant: Option<Box<Grant>>,
    strategy: Option<Strategy>,
    max_size: Option<u64>,
    store_id: Option<StoreId>,
    inner: Arc<S>,
}

impl<S: ?Sized> HookedStore<S> {
    /// `inner`, without a hook yet.
    #[must_use]
    pub fn new(inner: Arc<S>) -> Self {
        let (hook, read, grant, strategy, max_size, store_id) = Default::default();
        Self { hook, read, grant, strategy, max_size, store_id, inner }
    }

    /// With this hook; see [`hook`](Self::hook).
    #[must_use]
    pub fn around(
        self,
        hook: impl Fn(&At, &mut Below<'_>) -> Result<(), Errno> + Send + Sync + 'static,
    ) -> Self {
        self.hook(hook);
        self
    }

    /// Reads as `read` says, which is given the store below.
    #[must_use]
    pub fn reading(
        mut self,
        read: impl Fn(&S, PageIndex, &mut FillBuf<'_>) -> Result<(), Errno> + Send + Sync + 'static,
    ) -> Self {
        self.read = Some(Box::new(read));
        self
    }

    /// Grants what `grant` makes of a grant of the store below.
    #[must_use]
    pub fn granting(mut self, grant: impl Fn(&At, Begun) -> Begun + Send + Sync + 'static) -> Self {
        self.grant = Some(Box::new(grant));
        self
    }

    /// Written by this algorithm.
    #[must_use]
    pub const fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// With this largest size.
    #[must_use]
    pub const fn with_max_size(mut self, max_size: u64) -> Self {
        self.max_size = Some(max_size);
        self
    }

    /// Known to the kernel by this number.
    #[must_use]
    pub const fn with_store_id(mut self, store_id: StoreId) -> Self {
        self.store_id = Some(store_id);
        self
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }

    /// From now on `hook` is called in place of each call, and makes it. Its error is that of the
    /// call; `write_end`, `truncate_blocks` and `set_size` cannot fail. A `write_begin` that it
    /// leaves out has to fail.
    pub fn hook(
        &self,
        hook: impl Fn(&At, &mut Below<'_>) -> Result<(), Errno> + Send + Sync + 'static,
    ) {
        self.set(Some(Arc::new(hook)));
    }

    /// Calls go straight to the store below again. A hook that holds the file has to be taken off.
    pub fn unhook(&self) {
        self.set(None);
    }

    fn set(&self, hook: Option<Arc<Hook>>) {
        let before = {
            let mut now = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *now, hook)
        };
        // Not under the lock: to drop a hook may be to drop a file.
        drop(before);
    }

    fn call(&self, at: &At, below: &mut Below<'_>) -> Result<(), Errno> {
        // Not called under the lock: a hook may unwind, and may come back here.
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hook {
            Some(hook) => hook(at, below),
            None => below(),
        }
    }

    /// A call that cannot fail, whatever the hook says.
    fn tell(&self, at: &At, mut below: impl FnMut()) {
        let _ = self.call(at, &mut || {
            below();
            Ok(())
        });
    }
}

impl<S: AddressSpaceOperations + ?Sized> AddressSpaceOperations for HookedStore<S> {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        let at = At { call: Call::Read, pos: index.start(), len: PAGE_SIZE, copied: 0 };
        self.call(&at, &mut || match &self.read {
            Some(read) => read(&self.inner, index, buf),
            None => self.inner.read(index, buf),
        })
    }

    fn write_begin(&self, pos: u64, len: usize) -> Result<Begun, Errno> {
        let at = At { call: Call::WriteBegin, pos, len, copied: 0 };
        let mut begun = None;
        self.call(&at, &mut || {
            begun = Some(self.inner.write_begin(pos, len)?);
            Ok(())
        })?;
        let begun = begun.expect("a write that the hook lets begin is begun below");
        Ok(match &self.grant {
            Some(grant) => grant(&at, begun),
            None => begun,
        })
    }

    fn write_end(&self, pos: u64, len: usize, copied: usize) {
        let at = At { call: Call::WriteEnd, pos, len, copied };
        self.tell(&at, || self.inner.write_end(pos, len, copied));
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        let at = At { call: Call::Writeback, pos: run.pos(), len: run.len(), copied: 0 };
        self.call(&at, &mut || self.inner.writeback(run))
    }

    fn prepare_size(&self, size: u64) -> Result<(), Errno> {
        let at = At { call: Call::PrepareSize, pos: size, len: 0, copied: 0 };
        self.call(&at, &mut || self.inner.prepare_size(size))
    }

    fn truncate_blocks(&self, size: u64) {
        let at = At { call: Call::TruncateBlocks, pos: size, len: 0, copied: 0 };
        self.tell(&at, || self.inner.truncate_blocks(size));
    }

    fn set_size(&self, size: u64) {
        let at = At { call: Call::SetSize, pos: size, len: 0, copied: 0 };
        self.tell(&at, || self.inner.set_size(size));
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        let at = At { call: Call::Sync, pos: 0, len: 0, copied: 0 };
        self.call(&at, &mut || self.inner.sync(kind))
    }

    fn fallocate(&self, change: Fallocate, range: Range<u64>) -> Result<(), Errno> {
        if range.is_empty() {
            return self.inner.fallocate(change, range);
        }
        let len = (range.end - range.start) as usize;
        let at = At { call: Call::Fallocate, pos: range.start, len, copied: 0 };
        self.call(&at, &mut || self.inner.fallocate(change, range.clone()))
    }

    fn shift_unit(&self) -> Option<u64> {
        self.inner.shift_unit()
    }

    fn shift(&self, shift: Shift, range: Range<u64>, size: u64) -> Result<(), Errno> {
        let len = (range.end - range.start) as usize;
        let at = At { call: Call::Fallocate, pos: range.start, len, copied: 0 };
        self.call(&at, &mut || self.inner.shift(shift, range.clone(), size))
    }

    fn extent(&self, pos: u64) -> Result<Option<Range<u64>>, Errno> {
        self.inner.extent(pos)
    }

    fn failed_sync(&self) -> FailedSync {
        self.inner.failed_sync()
    }

    fn strategy(&self) -> Strategy {
        self.strategy.unwrap_or_else(|| self.inner.strategy())
    }

    fn max_size(&self) -> u64 {
        self.max_size.unwrap_or_else(|| self.inner.max_size())
    }

    // Without `is_empty`: reads are called, so that the hook has them.
    fn is_persistent(&self) -> bool {
        self.inner.is_persistent()
    }

    fn is_swap(&self) -> bool {
        self.inner.is_swap()
    }

    fn store_id(&self) -> StoreId {
        self.store_id.unwrap_or_else(|| self.inner.store_id())
    }

    fn wants_stable_pages(&self) -> bool {
        self.inner.wants_stable_pages()
    }
}

impl<S: ?Sized> fmt::Debug for HookedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStore").finish_non_exhaustive()
    }
}
