//! What a node has beside its attributes: extended attributes, and flags (`FS_IOC_SETFLAGS`).
//!
//! Names are whole, with what stands before the first dot (`user.mime`): which of them there may be
//! and who may look at them is the kernel's.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;
use faultless::page::Spin;
use linux_raw_sys::general as linux;

use crate::errno::Errno;
use crate::names::node::{Caller, Node};
use crate::system::System;

/// Bytes of the names and values of one node, at most.
const MOST: usize = 1 << 16;

bitflags! {
    /// The flags of `setxattr`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SetFlags: u32 {
        /// There must be none of the name.
        const CREATE = linux::XATTR_CREATE;
        /// There must be one of the name.
        const REPLACE = linux::XATTR_REPLACE;
    }
}

impl SetFlags {
    /// Checks them against the value that is there.
    ///
    /// # Errors
    /// `EEXIST`; `ENODATA`.
    pub const fn check(self, found: Option<&[u8]>) -> Result<(), Errno> {
        match found {
            Some(_) if self.contains(Self::CREATE) => Err(Errno::EXIST),
            None if self.contains(Self::REPLACE) => Err(Errno::NODATA),
            _ => Ok(()),
        }
    }
}

impl<S: System> Node<S> {
    /// `getxattr`. Takes the node's short lock.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn extended(&self, name: &[u8]) -> Result<Arc<[u8]>, Errno> {
        self.state.lock().extended.get(name).cloned().ok_or(Errno::NODATA)
    }

    /// `listxattr`. Takes the node's short lock.
    pub fn extended_names(&self) -> Vec<Arc<[u8]>> {
        self.state.lock().extended.keys().cloned().collect()
    }

    /// `setxattr`. Takes the node's short lock.
    ///
    /// # Errors
    /// Those of [`SetFlags::check`]; `ENOSPC` for more than 64 KiB of names and values.
    pub fn set_extended(
        &self,
        caller: &Caller,
        name: &[u8],
        value: &[u8],
        flags: SetFlags,
    ) -> Result<(), Errno> {
        let (name, value): (Arc<[u8]>, Arc<[u8]>) = (name.into(), value.into());
        let mut state = self.state.lock();
        let old = state.extended.get(&name).map(|old| &**old);
        flags.check(old)?;
        let replaced = old.map_or(0, |old| name.len() + old.len());
        let others: usize =
            state.extended.iter().map(|(name, value)| name.len() + value.len()).sum();
        if others - replaced + name.len() + value.len() > MOST {
            return Err(Errno::NOSPC);
        }
        state.extended.insert(name, value);
        state.attributes.changed = caller.now;
        Ok(())
    }

    /// `removexattr`. Takes the node's short lock.
    ///
    /// # Errors
    /// `ENODATA`.
    pub fn remove_extended(&self, caller: &Caller, name: &[u8]) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.extended.remove(name).ok_or(Errno::NODATA)?;
        state.attributes.changed = caller.now;
        Ok(())
    }

    /// The flags of the node (`FS_IOC_GETFLAGS`). What they forbid is up to the kernel. Takes the
    /// node's short lock.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.state.lock().attributes.flags
    }

    /// `FS_IOC_SETFLAGS`. Takes the node's short lock.
    pub fn set_flags(&self, caller: &Caller, flags: u32) {
        let mut state = self.state.lock();
        state.attributes.flags = flags;
        state.attributes.changed = caller.now;
    }
}
