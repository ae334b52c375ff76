//! Page faults of user memory: look up, let go, have the page brought, take the lock again, look
//! again.
//!
//! The trap entry is in `trap`. This module takes the lock of the address space twice, and holds
//! nothing between.

use faultless::page::OwnedFrame;
use faultless::prelude::*;
use faultless::usercopy::copy_kernel;

use crate::machine::{Example, Machine};
use crate::space::{AddressSpace, Gone};
use crate::table::{Entry, Owner, PageTable};
use crate::vma::{Sharing, Vma};

/// The signal for an access that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGSEGV`: no mapping there, or not for this access.
    Segv,
    /// `SIGBUS`: the file ends before the page, or its store failed.
    Bus,
    /// `SIGKILL`: no memory; or the task is to die already.
    Kill,
}

impl From<FaultError> for Signal {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Failed(Errno::NoMemory | Errno::Interrupted) => Self::Kill,
            FaultError::PastEnd | FaultError::Failed(_) => Self::Bus,
        }
    }
}

/// What a fault has to do.
enum Needed<F> {
    /// Nothing: the entry allows the access. Another thread was faster.
    Nothing,
    /// The entry that shows the page of the file.
    Page(Vma<F>),
    /// A copy of the page of the file.
    Copy(Vma<F>),
    /// A copy of the private copy, which other address spaces count too.
    CopyOfCopy(Vma<F>),
}

impl<M: Machine> AddressSpace<M> {
    /// Resolves a page fault: afterwards the access can be made again. May sleep. No lock is held,
    /// short or not.
    ///
    /// # Errors
    /// The signal for the user program.
    pub fn fault<T: Task>(
        &self,
        token: &mut InFault,
        page: usize,
        access: Access,
        task: &T,
    ) -> Result<(), Signal> {
        match self.look_up(page, access)? {
            Needed::Nothing => Ok(()),
            Needed::Page(vma) => self.show(token, page, &vma, access, task),
            Needed::Copy(vma) => self.copy(token, page, &vma, task),
            Needed::CopyOfCopy(vma) => self.copy_again(page, &vma),
        }
    }

    /// The first hold of the lock. What is taken along keeps the file alive, and nothing else.
    fn look_up(&self, page: usize, access: Access) -> Result<Needed<M::File>, Signal> {
        let mut state = self.state.lock();
        let vma = state.vma(page).ok_or(Signal::Segv)?;
        if access == Access::Write && vma.access == Access::Read {
            return Err(Signal::Segv);
        }
        let store_to_own = access == Access::Write && vma.sharing == Sharing::Private;
        Ok(match state.table.get(page) {
            Some(entry) if entry.allows(access) => Needed::Nothing,
            // The others are gone. A count comes back by a fork of this space only, which takes
            // the lock.
            Some(entry)
                if entry.owner == Owner::Space
                    && self.cache.frames().references(entry.frame) == 1 =>
            {
                state.table.set(page, Some(Entry { protection: Protection::Writable, ..entry }));
                Needed::Nothing
            }
            Some(entry) if entry.owner == Owner::Space => Needed::CopyOfCopy(vma.clone()),
            _ if store_to_own => Needed::Copy(vma.clone()),
            _ => Needed::Page(vma.clone()),
        })
    }

    /// Shows the page of the file itself.
    fn show<T: Task>(
        &self,
        token: &mut InFault,
        page: usize,
        vma: &Vma<M::File>,
        access: Access,
        task: &T,
    ) -> Result<(), Signal> {
        let install = |mapped: MappedFrame<'_, Example<M>>| {
            let mut state = self.state.lock();
            if !state.still_maps(page, vma) {
                // Unmapped meanwhile. The frame gives its count back; the access is made again, and
                // finds what is there now.
                return;
            }
            let protection = mapped.protection;
            match state.table.get(page) {
                None => {
                    let frame = mapped.frame.into_number();
                    state.table.set(page, Some(Entry { frame, protection, owner: Owner::File }));
                }
                Some(entry) if entry.frame == mapped.frame.number() => {
                    if protection == Protection::Writable {
                        state.table.set(page, Some(Entry { protection, ..entry }));
                    }
                }
                // A private copy, made meanwhile.
                Some(_) => {}
            }
        };
        Ok(vma.file.fault(token, vma.index(page), access, task, install)?)
    }

    /// Shows a copy of the page of the file, for stores. The file is only read.
    fn copy<T: Task>(
        &self,
        token: &mut InFault,
        page: usize,
        vma: &Vma<M::File>,
        task: &T,
    ) -> Result<(), Signal> {
        // Before the page is locked: an allocation may reclaim pages (P3).
        let copy = self.allocate()?;
        let install = |copy| {
            let mut gone = Gone::default();
            let mut state = self.state.lock();
            let old = state.table.get(page);
            let has_copy = old.is_some_and(|entry| entry.owner == Owner::Space);
            if state.still_maps(page, vma) && !has_copy {
                state.table.set(page, Some(private(copy)));
                old.into_iter().for_each(|entry| gone.push(entry));
            }
            gone
        };
        let gone = vma.file.fault_copy(token, vma.index(page), copy, task, install)?;
        self.retire(gone);
        Ok(())
    }

    /// Copies a private copy on write, which a fork has shared.
    ///
    /// While a fork has not flushed, a CPU may still have an entry that allows stores to the old
    /// frame. A store that it makes after the copy would be lost to this address space. So such an
    /// entry is flushed before the copy is made.
    fn copy_again(&self, page: usize, vma: &Vma<M::File>) -> Result<(), Signal> {
        let copy = self.allocate()?;
        let mut gone = Gone::default();
        let mut state = self.state.lock();
        let forks = state.forks;
        if state.unflushed_forks > 0 {
            drop(state);
            M::flush(self.root());
            state = self.state.lock();
        }
        // A frame with several counts had them before the flush, unless there was a fork since: its
        // entry allowed no store all the time.
        if state.forks == forks
            && let Some(old) = state.table.get(page)
            && old.owner == Owner::Space
            && self.cache.frames().references(old.frame) > 1
            && state.still_maps(page, vma)
        {
            // The entry keeps the old frame while the lock is held.
            self.copy_frame(old.frame, &copy);
            state.table.set(page, Some(private(copy)));
            gone.push(old);
        }
        drop(state);
        self.retire(gone);
        Ok(())
    }

    fn allocate(&self) -> Result<OwnedFrame<'static, Example<M>>, Signal> {
        let frame = self.cache.allocate(1).ok().and_then(|mut batch| batch.take_first());
        frame.ok_or(Signal::Kill)
    }

    /// Copies a page to a frame of one's own. The source has a count that outlives the call.
    fn copy_frame(&self, from: FrameNumber, to: &OwnedFrame<'static, Example<M>>) {
        let from = self.cache.frames().address(from);
        // SAFETY: two frames are two pages, and both stay; nothing else has the new one. User mode
        // may store to the source meanwhile, to which there is no reference.
        unsafe { copy_kernel(to.as_ptr().as_ptr(), from.as_ptr(), PAGE_SIZE) };
    }
}

/// The entry for a private copy, which takes its count.
fn private<M: Machine>(copy: OwnedFrame<'_, Example<M>>) -> Entry {
    let (frame, protection) = (copy.into_number(), Protection::Writable);
    Entry { frame, protection, owner: Owner::Space }
}
