//! Paths from the root.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::files::mount;
use crate::files::vnode::Handle;

/// The path that a file was opened by.
#[derive(Clone)]
pub(super) struct OpenedBy {
    at: Handle,
    path: Vec<u8>,
}

impl OpenedBy {
    pub(super) fn new(at: &Handle, path: &[u8]) -> Self {
        Self { at: Arc::clone(at), path: path.to_vec() }
    }

    /// From the root.
    pub(super) fn absolute(&self) -> Vec<u8> {
        absolute(&self.at, &self.path)
    }
}

/// A path from the root.
pub(crate) fn absolute(at: &Handle, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let mut whole = mount::path(at).unwrap_or_default();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(path.strip_prefix(b"./").unwrap_or(path));
    whole
}
