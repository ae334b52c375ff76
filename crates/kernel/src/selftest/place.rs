//! Where the tests have their mappings, in an address space of their own.
#![forbid(unsafe_code)]

use faultless::prelude::PAGE_SIZE;
use faultless_posix::{Errno, Rights};

use crate::memory::{AddressSpace, Space, anonymous_request};

/// The first address.
pub(super) const BASE: usize = 0x1000_0000;

/// Maps private memory of `pages` pages at [`BASE`] and `offset` pages; its address.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn map_private(space: &Space, offset: usize, pages: usize) -> Result<usize, Errno> {
    let (address, len) = (BASE + offset * PAGE_SIZE, pages * PAGE_SIZE);
    let request = anonymous_request(address, len, Rights::READ | Rights::WRITE);
    AddressSpace::map(space, address, request)?;
    Ok(address)
}
