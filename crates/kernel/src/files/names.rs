//! Paths and what they lead to: nodes, open files, programs.
#![forbid(unsafe_code)]

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Errno, Follow, Kind, Node, Origin};
use linux_raw_sys::general as linux;
use spin::Once;

use crate::files::directory::{Directory, OpenDirectory};
use crate::files::file::OpenFile;
use crate::files::in_tree::{new_file, root, tree};
use crate::files::mount;
use crate::files::nodes::Attributes;
use crate::files::open::{Opened, open_node};
use crate::files::regular::Regular;
use crate::files::uses::Use;
use crate::files::vnode::Handle;
use crate::files::walk::Walk;
use crate::memory::{Machine, Open};
use crate::sync::Lock;
use crate::task::{Running, caller};

/// Opens what a node stands for, with the flags of `open`.
pub(crate) type Opens = fn(u32) -> OpenFile;

/// Nodes that stand for something else, by their numbers.
static OPENS: Lock<BTreeMap<(u64, u64), Opens>> = Lock::new(BTreeMap::new());

/// Lets a node stand for something else.
pub(crate) fn opens_as(node: &Node<Machine>, opens: Opens) {
    OPENS.lock().insert((node.status().device, node.number()), opens);
}

/// What a path stands for, if it stands for another one (`/proc/self/exe`).
pub(crate) type Resolves = fn(&[u8]) -> Option<Vec<u8>>;

static RESOLVES: Once<Resolves> = Once::new();

/// Says how paths are resolved that stand for others.
pub(crate) fn resolve_by(resolves: Resolves) {
    RESOLVES.call_once(|| resolves);
}

/// The path that a path stands for, if it is such a one.
pub(crate) fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    RESOLVES.get().and_then(|resolves| resolves(path))
}

/// Makes a directory of the tree, at boot.
///
/// # Errors
/// Those of `mkdir`.
pub(crate) fn make_directory(path: &[u8], mode: u32) -> Result<Arc<Node<Machine>>, Errno> {
    let made = tree().make_directory(&caller(), tree().root(), path, mode);
    match made {
        Err(Errno::EXIST) => tree().lookup(&caller(), tree().root(), path, Follow::Last),
        made => made,
    }
}

/// Makes a file of the tree, at boot; the one that is there already.
///
/// # Errors
/// Those of `open`.
pub(crate) fn make_file(path: &[u8], mode: u32) -> Result<Arc<Node<Machine>>, Errno> {
    let flags = linux::O_CREAT | linux::O_WRONLY;
    let opened = tree().open(&caller(), tree().root(), path, flags, mode, || Ok(new_file()))?;
    Ok(opened.node)
}

/// The directory that the first process begins in.
///
/// # Errors
/// Those of a path.
pub(crate) fn first_directory(path: &[u8]) -> Result<Directory, Errno> {
    let node = look_up(&root(), path, Follow::Last)?;
    if node.kind() == Kind::Directory { Ok(node) } else { Err(Errno::NOTDIR) }
}

/// The node of a path that is relative to `at`.
///
/// # Errors
/// Those of a path.
pub(crate) fn look_up(at: &Directory, path: &[u8], follow: Follow) -> Result<Handle, Errno> {
    let resolved = resolve(path);
    Walk::new(at, resolved.as_deref().unwrap_or(path))?.reach_node(follow)
}

/// `stat` of a path.
///
/// # Errors
/// Those of a path.
pub(crate) fn attributes_at(
    at: &Directory,
    path: &[u8],
    follow: Follow,
) -> Result<Attributes, Errno> {
    look_up(at, path, follow)?.attributes()
}

/// `readlink`.
///
/// # Errors
/// `EINVAL` if it is no symbolic link; those of a path.
pub(crate) fn read_link(at: &Directory, path: &[u8]) -> Result<Vec<u8>, Errno> {
    match resolve(path) {
        Some(target) => Ok(target),
        None => look_up(at, path, Follow::NotLast)?.target(),
    }
}

/// `open`: a file of whatever kind; a new one has this mode.
///
/// # Errors
/// Those of `open`.
pub(crate) fn open(
    token: &mut MayFault,
    at: &Directory,
    path: &[u8],
    flags: u32,
    mode: u32,
) -> Result<OpenFile, Errno> {
    let resolved = resolve(path);
    let Opened { node, origin } = open_node(at, resolved.as_deref().unwrap_or(path), flags, mode)?;
    let opens = OPENS.lock().get(&node.id()).copied();
    if let Some(opens) = opens {
        return Ok(opens(flags));
    }
    if node.kind() != Kind::File {
        return Ok(Arc::new(OpenDirectory::new(node, flags)));
    }
    let regular = Regular::new(Arc::clone(&node), node.open(flags)?)?;
    let description = regular.description();
    let truncates = flags & linux::O_TRUNC != 0 && flags & linux::O_PATH == 0;
    if truncates && origin == Origin::Found && description.inode().size() > 0 {
        description.truncate(token, 0, &Running)?;
    }
    Ok(Arc::new(regular))
}

/// The file of a program, which cannot be opened for writing as long as the use is there.
///
/// # Errors
/// `EACCES` for anything else; `ETXTBSY` if it is open for writing; those of a path.
pub(crate) fn open_program(at: &Directory, path: &[u8]) -> Result<(Open, Use), Errno> {
    let node = look_up(at, path, Follow::Last)?;
    if node.kind() != Kind::File || node.attributes()?.status.mode & 0o111 == 0 {
        return Err(Errno::ACCES);
    }
    let running = Use::running(&*node)?;
    Ok((node.open(linux::O_RDONLY)?, running))
}

/// A path from the root.
pub(crate) fn absolute(at: &Directory, path: &[u8]) -> Vec<u8> {
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
