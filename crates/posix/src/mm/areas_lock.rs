//! M: the sleeping lock of the areas of an address space, for kernels that
//! [want one](System::LOCKS_AREAS).
//!
//! A writer that waits blocks later readers, so a thread never takes it twice, for reading either:
//! nothing here makes an access to user memory with it held, and faults are the only ones that take
//! it without being called. Files that a call unmaps are dropped after it was let go.
#![forbid(unsafe_code)]

use core::fmt;

use faultless::page::SleepRwGuard;
use faultless::parts::Lock;

use crate::errno::Errno;
use crate::mm::space::{AddressSpace, cache};
use crate::system::{AreasEvent, System};

/// The areas stay as they are while it lives, if the kernel [locks them](System::LOCKS_AREAS).
#[must_use]
pub struct AreasGuard<'s, S: System> {
    lock: Lock,
    /// `None` only inside `drop`, and without a lock.
    held: Option<SleepRwGuard<'s, S::Kernel>>,
}

impl<S: System> AddressSpace<S> {
    /// Holds M for reading: no call changes the areas meanwhile. May sleep. No lock that ranks
    /// behind M is held, and M is not. The holder makes no access to user memory that may fault.
    ///
    /// # Errors
    /// `EINTR`: the thread is to die.
    pub fn read_areas(&self) -> Result<AreasGuard<'_, S>, Errno> {
        self.hold(Lock::SpaceRead(self.age))
    }

    /// Holds M for writing, for a call that changes the areas. Otherwise as
    /// [`read_areas`](Self::read_areas).
    ///
    /// # Errors
    /// As `read_areas`.
    pub(crate) fn write_areas(&self) -> Result<AreasGuard<'_, S>, Errno> {
        self.hold(Lock::SpaceWrite(self.age))
    }

    fn hold(&self, lock: Lock) -> Result<AreasGuard<'_, S>, Errno> {
        let Some(areas) = &self.areas else { return Ok(AreasGuard { lock, held: None }) };
        S::trace_areas(lock, AreasEvent::Acquiring);
        let wait = cache(self).wait();
        let held = match lock {
            Lock::SpaceWrite(_) => areas.write(wait, &S::is_killed),
            _ => areas.read(wait, &S::is_killed),
        };
        let event = if held.is_ok() { AreasEvent::Acquired } else { AreasEvent::GaveUp };
        S::trace_areas(lock, event);
        Ok(AreasGuard { lock, held: Some(held?) })
    }
}

impl<S: System> Drop for AreasGuard<'_, S> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // Told before another thread can have it.
            S::trace_areas(self.lock, AreasEvent::Released);
            drop(held);
        }
    }
}

impl<S: System> fmt::Debug for AreasGuard<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AreasGuard").field("lock", &self.lock).finish_non_exhaustive()
    }
}
