//! Paths: the one module that looks them up.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::parts::RamStore;
use faultless::prelude::MayFault;
use faultless_posix::{Description, Errno, Follow, Kind, Node, Origin, Tree};
use linux_raw_sys::general as linux;
use spin::Once;

use crate::files::directory::{Directory, OpenDirectory};
use crate::files::file::OpenFile;
use crate::files::nodes::{Attributes, attributes};
use crate::files::regular::Regular;
use crate::memory::{FileHandle, Machine, Open};
use crate::sync::Lock;
use crate::task::{Running, caller};

/// The device number of the tree in memory.
const DEVICE: u64 = 0x10;

static TREE: Once<Tree<Machine>> = Once::new();

/// Opens what a node stands for, with the flags of `open`.
pub(crate) type Opens = fn(u32) -> OpenFile;

/// Nodes that stand for something else, by their numbers.
static OPENS: Lock<BTreeMap<u64, Opens>> = Lock::new(BTreeMap::new());

/// Lets a node stand for something else.
pub(crate) fn opens_as(node: &Node<Machine>, opens: Opens) {
    OPENS.lock().insert(node.number(), opens);
}

/// What a path stands for, if it stands for another one (`/proc/self/exe`).
pub(crate) type Resolves = fn(&[u8]) -> Option<Vec<u8>>;

static RESOLVES: Once<Resolves> = Once::new();

/// Says how paths are resolved that stand for others.
pub(crate) fn resolve_by(resolves: Resolves) {
    RESOLVES.call_once(|| resolves);
}

fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    RESOLVES.get().and_then(|resolves| resolves(path))
}

/// The root file system: a tree of names in memory.
pub(crate) fn tree() -> &'static Tree<Machine> {
    TREE.call_once(|| Tree::new(DEVICE, &caller(), 0o755))
}

/// An empty file of the tree.
fn new_file() -> FileHandle {
    FileHandle::new(Box::new(RamStore::new()), 0)
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
    let node = look_up(tree().root(), path, Follow::Last)?;
    if node.kind() == Kind::Directory { Ok(node) } else { Err(Errno::NOTDIR) }
}

/// The node of a path that is relative to `at`.
///
/// # Errors
/// Those of a path.
pub(crate) fn look_up(
    at: &Directory,
    path: &[u8],
    follow: Follow,
) -> Result<Arc<Node<Machine>>, Errno> {
    let resolved = resolve(path);
    tree().lookup(&caller(), at, resolved.as_deref().unwrap_or(path), follow)
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
    Ok(attributes(&*look_up(at, path, follow)?))
}

/// `readlink`.
///
/// # Errors
/// `EINVAL` if it is no symbolic link; those of a path.
pub(crate) fn read_link(at: &Directory, path: &[u8]) -> Result<Vec<u8>, Errno> {
    if let Some(target) = resolve(path) {
        return Ok(target);
    }
    let node = tree().lookup(&caller(), at, path, Follow::NotLast)?;
    Ok(node.target(&caller())?.to_vec())
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
    let path = resolved.as_deref().unwrap_or(path);
    let opened = tree().open(&caller(), at, path, flags, mode, || Ok(new_file()))?;
    let node = opened.node;
    let opens = OPENS.lock().get(&node.number()).copied();
    if let Some(opens) = opens {
        return Ok(opens(flags));
    }
    let Some(file) = node.file().cloned() else {
        return Ok(Arc::new(OpenDirectory::new(node, flags)));
    };
    let description: Open = Arc::new(Description::new(file, flags)?);
    let truncates = flags & linux::O_TRUNC != 0 && flags & linux::O_PATH == 0;
    if truncates && opened.origin == Origin::Found && description.inode().size() > 0 {
        description.truncate(token, 0, &Running)?;
    }
    Ok(Arc::new(Regular::new(node, description)))
}

/// The file of a program.
///
/// # Errors
/// `EACCES` for anything else; those of a path.
pub(crate) fn open_program(at: &Directory, path: &[u8]) -> Result<Open, Errno> {
    let node = look_up(at, path, Follow::Last)?;
    let file = node.file().ok_or(Errno::ACCES)?;
    if node.status().mode & 0o111 == 0 {
        return Err(Errno::ACCES);
    }
    Ok(Arc::new(Description::new(file.clone(), linux::O_RDONLY)?))
}

/// A path from the root.
pub(crate) fn absolute(at: &Directory, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return path.to_vec();
    }
    let mut whole = tree().path(at).unwrap_or_default();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend_from_slice(path.strip_prefix(b"./").unwrap_or(path));
    whole
}
