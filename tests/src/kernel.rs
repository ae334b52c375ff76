//! The kernel that tests run on, its files, and the size of its pages.
#![forbid(unsafe_code)]

use std::sync::Arc;

use faultless::filemap::Inode;
use faultless_host::{Checked, HostKernel};

/// The kernel that tests run on: it counts, and it checks locks.
pub type Kernel = HostKernel<Checked>;

/// A file of a test machine.
pub type File = Arc<Inode<Kernel>>;

/// Bytes of a page, short enough for arithmetic in tests.
pub const PAGE: usize = faultless::page::PAGE_SIZE;
