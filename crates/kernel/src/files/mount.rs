//! What is mounted where: file systems on directories of the tree.
#![forbid(unsafe_code)]

use core::fmt::Write;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::Errno;

use crate::files::in_tree::root;
use crate::files::vnode::{Handle, is_same};
use crate::sync::Lock;

struct Mount {
    /// The directory that is covered, and its path.
    on: Handle,
    path: &'static str,
    /// The root of what is mounted.
    root: Handle,
    /// What it is: the source, the kind and the options, as `/proc/mounts` has them.
    what: [&'static str; 3],
}

static MOUNTS: Lock<Vec<Mount>> = Lock::new(Vec::new());

/// Mounts the file system with this root on a directory.
pub(crate) fn mount(on: Handle, path: &'static str, root: Handle, what: [&'static str; 3]) {
    MOUNTS.lock().push(Mount { on, path, root, what });
}

/// Takes away all that is mounted.
pub(super) fn unmount() {
    let mounts = core::mem::take(&mut *MOUNTS.lock());
    drop(mounts);
}

/// The root of what is mounted on a node; the node itself if nothing is.
pub(super) fn enter(node: Handle) -> Handle {
    let root = {
        let mounts = MOUNTS.lock();
        let covered = mounts.iter().find(|mount| is_same(&*mount.on, &*node));
        covered.map(|mount| Arc::clone(&mount.root))
    };
    root.unwrap_or(node)
}

/// The directory that the root of what is mounted covers; any other node itself.
pub(super) fn leave(node: Handle) -> Handle {
    let on = {
        let mounts = MOUNTS.lock();
        let mounted = mounts.iter().find(|mount| is_same(&*mount.root, &*node));
        mounted.map(|mount| Arc::clone(&mount.on))
    };
    on.unwrap_or(node)
}

/// Whether a node is the root of what is mounted.
pub(super) fn is_root(node: &Handle) -> bool {
    MOUNTS.lock().iter().any(|mount| is_same(&*mount.root, &**node))
}

/// Whether a node is the root of a file system.
pub(crate) fn is_mount_root(node: &Handle) -> bool {
    is_root(node) || is_same(&**node, &*root())
}

/// The number of the mount that a node is in; that of the root is 1.
pub(crate) fn mount_number(node: &Handle) -> u64 {
    let device = node.id().0;
    let place = MOUNTS.lock().iter().position(|mount| mount.root.id().0 == device);
    place.map_or(1, |place| place as u64 + 2)
}

/// The path of a directory from the root of all.
///
/// # Errors
/// Those of its file system.
pub(crate) fn path(directory: &Handle) -> Result<Vec<u8>, Errno> {
    let inside = directory.path()?;
    let device = directory.id().0;
    let before = {
        let mounts = MOUNTS.lock();
        mounts.iter().find(|mount| mount.root.id().0 == device).map(|mount| mount.path)
    };
    Ok(match before {
        None => inside,
        Some(before) if inside == b"/" => before.into(),
        Some(before) => [before.as_bytes(), &inside].concat(),
    })
}

/// The text of `/proc/mounts`.
pub(crate) fn table() -> String {
    let mut text = String::from("rootfs / tmpfs rw 0 0\n");
    for mount in &*MOUNTS.lock() {
        let [source, kind, options] = mount.what;
        // A string takes everything.
        let _taken = writeln!(text, "{source} {} {kind} {options} 0 0", mount.path);
    }
    text
}
