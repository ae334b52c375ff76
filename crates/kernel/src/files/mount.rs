//! What is mounted where: the disk, on one directory of the tree.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::files::vnode::{Handle, is_same};
use crate::sync::Lock;

struct Mount {
    /// The directory that is covered, and its path.
    on: Handle,
    path: &'static [u8],
    /// The root of what is mounted.
    root: Handle,
}

static MOUNT: Lock<Option<Mount>> = Lock::new(None);

/// Mounts the file system with this root on a directory.
pub(super) fn mount(on: Handle, path: &'static [u8], root: Handle) {
    *MOUNT.lock() = Some(Mount { on, path, root });
}

/// Takes away what is mounted.
pub(super) fn unmount() {
    let mount = MOUNT.lock().take();
    drop(mount);
}

/// The root of what is mounted on a node; the node itself if nothing is.
pub(super) fn enter(node: Handle) -> Handle {
    let root = {
        let mount = MOUNT.lock();
        let covered = mount.as_ref().filter(|mount| is_same(&*mount.on, &*node));
        covered.map(|mount| Arc::clone(&mount.root))
    };
    root.unwrap_or(node)
}

/// The directory that the root of what is mounted covers; any other node itself.
pub(super) fn leave(node: Handle) -> Handle {
    let on = {
        let mount = MOUNT.lock();
        let mounted = mount.as_ref().filter(|mount| is_same(&*mount.root, &*node));
        mounted.map(|mount| Arc::clone(&mount.on))
    };
    on.unwrap_or(node)
}

/// Whether a node is the root of what is mounted.
pub(super) fn is_root(node: &Handle) -> bool {
    MOUNT.lock().as_ref().is_some_and(|mount| is_same(&*mount.root, &**node))
}

/// The path of a directory from the root of all.
///
/// # Errors
/// Those of its file system.
pub(crate) fn path(directory: &Handle) -> Result<Vec<u8>, Errno> {
    let inside = directory.path()?;
    let device = directory.id().0;
    let before = {
        let mount = MOUNT.lock();
        mount.as_ref().filter(|mount| mount.root.id().0 == device).map(|mount| mount.path)
    };
    Ok(match before {
        None => inside,
        Some(before) if inside == b"/" => before.to_vec(),
        Some(before) => [before, &inside].concat(),
    })
}
