//! File descriptors: small numbers for open files.
#![forbid(unsafe_code)]

use core::fmt;

use alloc::vec::Vec;

use crate::errno::Errno;

/// The descriptors of a process. It has no lock of its own.
///
/// `F` is a counted handle of an open file: `Arc<Description<…>>`, or what a kernel has that knows
/// pipes and devices, too.
///
/// What is taken out is returned, not dropped: the last handle of an open file may drop the file,
/// which is not for a short lock.
pub struct Descriptors<F> {
    open: Vec<Option<Descriptor<F>>>,
    limit: usize,
}

/// What becomes of a descriptor when the program is replaced (`FD_CLOEXEC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExec {
    /// It stays open.
    Keep,
    /// It is closed.
    Close,
}

#[derive(Clone)]
struct Descriptor<F> {
    description: F,
    on_exec: OnExec,
}

impl<F> Descriptors<F> {
    /// No open file; at most `limit` of them (`RLIMIT_NOFILE`).
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { open: Vec::new(), limit }
    }

    /// Changes how many there are at most (`RLIMIT_NOFILE`). Descriptors past it stay open.
    pub const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The open file of a descriptor.
    ///
    /// # Errors
    /// `EBADF` if there is none.
    pub fn get(&self, descriptor: usize) -> Result<&F, Errno> {
        let open = self.open.get(descriptor).and_then(Option::as_ref);
        open.map(|open| &open.description).ok_or(Errno::BADF)
    }

    /// Gives an open file the lowest free descriptor that is at least `least` (`open`, `dup`,
    /// `F_DUPFD`).
    ///
    /// # Errors
    /// `EINVAL` if `least` is past the limit; `EMFILE` if no descriptor is free.
    pub fn add(&mut self, least: usize, description: F, on_exec: OnExec) -> Result<usize, Errno> {
        if least >= self.limit {
            return Err(Errno::INVAL);
        }
        let free = (least..self.limit).find(|&at| self.open.get(at).is_none_or(Option::is_none));
        let at = free.ok_or(Errno::MFILE)?;
        self.set(at, description, on_exec)?;
        Ok(at)
    }

    /// Gives an open file this descriptor (`dup2`); the one that it had. A `dup2` of a descriptor
    /// to itself changes nothing, and is not a call of this.
    ///
    /// # Errors
    /// `EBADF` if it is past the limit.
    pub fn set(
        &mut self,
        descriptor: usize,
        description: F,
        on_exec: OnExec,
    ) -> Result<Option<F>, Errno> {
        if descriptor >= self.limit {
            return Err(Errno::BADF);
        }
        if self.open.len() <= descriptor {
            self.open.resize_with(descriptor + 1, || None);
        }
        let old = self.open[descriptor].replace(Descriptor { description, on_exec });
        Ok(old.map(|old| old.description))
    }

    /// Frees a descriptor (`close`); the open file that it had.
    ///
    /// # Errors
    /// `EBADF` if it had none.
    pub fn remove(&mut self, descriptor: usize) -> Result<F, Errno> {
        let open = self.open.get_mut(descriptor).and_then(Option::take);
        open.map(|open| open.description).ok_or(Errno::BADF)
    }

    /// What becomes of a descriptor by `exec` (`F_GETFD`).
    ///
    /// # Errors
    /// `EBADF` if it has no open file.
    pub fn on_exec(&self, descriptor: usize) -> Result<OnExec, Errno> {
        let open = self.open.get(descriptor).and_then(Option::as_ref);
        open.map(|open| open.on_exec).ok_or(Errno::BADF)
    }

    /// Sets what becomes of a descriptor by `exec` (`F_SETFD`).
    ///
    /// # Errors
    /// `EBADF` if it has no open file.
    pub fn set_on_exec(&mut self, descriptor: usize, on_exec: OnExec) -> Result<(), Errno> {
        let open = self.open.get_mut(descriptor).and_then(Option::as_mut);
        open.ok_or(Errno::BADF)?.on_exec = on_exec;
        Ok(())
    }

    /// The descriptors of a child (`fork`): the open files are shared.
    #[must_use]
    pub fn fork(&self) -> Self
    where
        F: Clone,
    {
        Self { open: self.open.clone(), limit: self.limit }
    }

    /// Takes out every descriptor for which `closes` says so, as `exec` and `exit` do; their open
    /// files.
    pub fn remove_if(&mut self, mut closes: impl FnMut(usize, OnExec) -> bool) -> Vec<F> {
        let mut removed = Vec::new();
        for (at, open) in self.open.iter_mut().enumerate() {
            let taken = open.take_if(|open| closes(at, open.on_exec));
            removed.extend(taken.map(|open| open.description));
        }
        removed
    }

    /// The descriptors that have an open file.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &F)> {
        let open = self.open.iter().enumerate();
        open.filter_map(|(at, open)| open.as_ref().map(|open| (at, &open.description)))
    }
}

impl<F: fmt::Debug> fmt::Debug for Descriptors<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
