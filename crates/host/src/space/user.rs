//! The address space as the kernel's user memory: every access goes past the lock checker and the
//! script, and then to the MMU.

use std::ops::Range;

use faultless_page::PAGE_SIZE;
use faultless_usercopy::{MayFault, UserAddr, UserMemory, UserSlice};

use super::{AddressSpace, Space};
use crate::copies::copies_by_access;
use crate::counters::Counters;
use crate::kernel::Flavor;
use crate::lockcheck;
use crate::mmu::{Mmu, Operation, Outcome, Policy};
use crate::script::{Action, Event, Moment};

/// What a script has decided about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Go,
    /// A copy ends after so many bytes.
    Limit(usize),
    /// A fault-in does nothing and says that all is well.
    Lie,
    /// A fault-in does nothing and says that nothing can be reached.
    Refuse,
}

impl<M: Mmu, F: Flavor> Space<M, F> {
    /// Carries out what the script has for this event.
    pub(super) fn play(&self, event: Event, addr: usize, len: usize) -> Verdict {
        let (number, actions) = self.script.at(event);
        let mut verdict = Verdict::Go;
        for action in actions {
            let pages = self.pages_of(addr, len);
            match action {
                Action::Short(bytes) => verdict = Verdict::Limit(bytes),
                Action::Steal => self.swap_out(pages),
                Action::StealAll => self.swap_out(0..self.pages),
                // Another thread would take M; what is mapped stays consistent without it.
                Action::Unmap => drop(self.take_away(pages)),
                Action::UnmapBefore => {
                    drop(self.take_away(pages.start.saturating_sub(1)..pages.start))
                }
                Action::Protect(protection) => self.set_protection(pages, protection),
                Action::Lie => verdict = Verdict::Lie,
                Action::Refuse => verdict = Verdict::Refuse,
                Action::Call(call) => call(Moment { number, addr, len }),
            }
        }
        verdict
    }

    /// Tells the lock checker that an access is about to be made that may fault.
    pub(super) fn announce(&self, addr: usize, len: usize) {
        if F::CHECKED {
            self.watchdog.check().adopt();
            lockcheck::may_fault(self.id, &self.reachable(self.pages_of(addr, len)));
        }
    }

    /// One access of the kernel.
    ///
    /// # Safety
    /// As for [`Mmu::access`].
    pub(super) unsafe fn access(
        &self,
        operation: Operation,
        addr: UserAddr,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        if len == 0 {
            return Outcome { left: 0, fault: None };
        }
        let event = match policy {
            Policy::Atomic => Event::AtomicCopy,
            Policy::Faulting => Event::FaultingCopy,
        };
        let probe = matches!(operation, Operation::ProbeRead | Operation::ProbeWrite);
        let verdict = if probe {
            Counters::update(|counters| counters.accesses += 1);
            Verdict::Go
        } else {
            self.play(event, addr.get(), len)
        };
        if policy == Policy::Faulting {
            self.announce(addr.get(), len);
        }
        let now = match verdict {
            Verdict::Limit(bytes) => bytes.min(len),
            _ => len,
        };
        if now == 0 {
            return Outcome { left: len, fault: None };
        }
        // SAFETY: the caller's promise; `now <= len`.
        let outcome = unsafe { self.mmu.access(self, operation, addr.get(), now, policy) };
        Outcome { left: outcome.left + (len - now), fault: outcome.fault }
    }
}

// SAFETY: U1, U2, U3 and U7 are `Mmu::access`'s, shortened at most by a script; U5: the range is
// fixed at reservation and holds user memory only; U6: the probes are accesses of one byte that
// change nothing, and fault-in is the provided one.
unsafe impl<M: Mmu, F: Flavor> UserMemory for Space<M, F> {
    copies_by_access!();

    fn user_range(&self) -> Range<usize> {
        let base = self.mmu.base();
        base..base + self.pages * PAGE_SIZE
    }

    unsafe fn raw_probe_readable(&self, _may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::ProbeRead, addr, 1, Policy::Faulting) }.left
    }

    unsafe fn raw_probe_writeable(&self, _may: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.access(Operation::ProbeWrite, addr, 1, Policy::Faulting) }.left
    }
}

impl<M: Mmu, F: Flavor> AddressSpace<M, F> {
    /// # Safety
    /// As for [`Mmu::access`].
    unsafe fn access(
        &self,
        operation: Operation,
        addr: UserAddr,
        len: usize,
        policy: Policy,
    ) -> Outcome {
        // SAFETY: the caller's promise.
        unsafe { self.inner.access(operation, addr, len, policy) }
    }
}

// SAFETY: as for `Space`, to which everything is passed on, except that a script may make a
// fault-in lie: then U6 is broken on purpose, which no memory safety depends on.
unsafe impl<M: Mmu, F: Flavor> UserMemory for AddressSpace<M, F> {
    copies_by_access!();

    fn user_range(&self) -> Range<usize> {
        self.inner.user_range()
    }

    unsafe fn raw_probe_readable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.inner.raw_probe_readable(token, addr) }
    }

    unsafe fn raw_probe_writeable(&self, token: &mut MayFault, addr: UserAddr) -> usize {
        // SAFETY: the same promise.
        unsafe { self.inner.raw_probe_writeable(token, addr) }
    }

    fn fault_in_readable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        match self.inner.play(Event::FaultIn, slice.addr().get(), slice.len()) {
            Verdict::Lie => 0,
            Verdict::Refuse => slice.len(),
            Verdict::Go | Verdict::Limit(_) => self.inner.fault_in_readable(token, slice),
        }
    }

    fn fault_in_writeable(&self, token: &mut MayFault, slice: UserSlice) -> usize {
        match self.inner.play(Event::FaultIn, slice.addr().get(), slice.len()) {
            Verdict::Lie => 0,
            Verdict::Refuse => slice.len(),
            Verdict::Go | Verdict::Limit(_) => self.inner.fault_in_writeable(token, slice),
        }
    }
}
