//! What the tree begins with: the nodes of devices, and links beside them.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Kind};

use crate::files::devices;
use crate::files::in_tree::tree;
use crate::files::names::make_directory;
use crate::task::caller;

/// Links beside the devices.
const LINKS: [(&[u8], &[u8]); 4] = [
    (b"/dev/fd", b"/proc/self/fd"),
    (b"/dev/stdin", b"/proc/self/fd/0"),
    (b"/dev/stdout", b"/proc/self/fd/1"),
    (b"/dev/stderr", b"/proc/self/fd/2"),
];

/// Makes the nodes.
///
/// # Errors
/// Those of names.
pub(super) fn init() -> Result<(), Errno> {
    make_directory(b"/dev", 0o755)?;
    make_directory(b"/dev/shm", 0o1777)?;
    let (tree, caller) = (tree(), caller());
    for (path, number) in devices::nodes() {
        let kind = (Kind::Characters, number);
        tree.make_special(&caller, tree.root(), path, 0o666, kind)?;
    }
    for (path, target) in LINKS {
        tree.make_link(&caller, target, tree.root(), path)?;
    }
    Ok(())
}
