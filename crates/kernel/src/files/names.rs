//! Paths and what they lead to: nodes, open files, programs.
#![forbid(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::MayFault;
use faultless_posix::{Description, Errno, Follow, Kind, Node, Origin};
use linux_raw_sys::general as linux;

use crate::credentials::{EXECUTE, READ, WRITE};
use crate::files::devices;
use crate::files::directory::{Directory, OpenDirectory};
use crate::files::file::OpenFile;
use crate::files::in_tree::{new_file, root, tree};
use crate::files::nodes::Attributes;
use crate::files::open::{How, Opened, open_node};
use crate::files::path_only::{Named, PathOnly};
use crate::files::paths::{OpenedBy, absolute};
use crate::files::pipe;
use crate::files::regular::Regular;
use crate::files::text::text;
use crate::files::uses::Use;
use crate::files::vnode::{APPEND, Handle, IMMUTABLE, NewTimes};
use crate::files::walk::{MAX_LINKS, Walk};
use crate::files::watches::{OpenNode, notify};
use crate::memory::{Machine, Open};
use crate::task::{Running, caller, credentials};

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
    Walk::new(at, path)?.reach_node(follow)
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
    look_up(at, path, Follow::NotLast)?.target()
}

/// `open`: a file of whatever kind. May wait for the other end of a FIFO.
///
/// # Errors
/// Those of `open`.
pub(crate) fn open(
    token: &mut MayFault,
    at: &Directory,
    path: &[u8],
    how: How,
) -> Result<OpenFile, Errno> {
    let flags = how.flags;
    match open_node(at, path, how)? {
        Opened::Again(file) => match file.node() {
            Some(node) => {
                let path = OpenedBy::new(&root(), &file.path().unwrap_or_default());
                open_found(token, node, path, Origin::Found, flags)
            }
            None if flags & linux::O_PATH != 0 => Ok(file),
            None => file.again(flags),
        },
        Opened::Node(node, origin) => {
            let path = OpenedBy::new(at, path);
            open_found(token, &node, path, origin, flags)
        }
    }
}

/// Opens a node.
fn open_found(
    token: &mut MayFault,
    node: &Handle,
    path: OpenedBy,
    origin: Origin,
    flags: u32,
) -> Result<OpenFile, Errno> {
    if flags & linux::O_PATH != 0 {
        return Ok(Arc::new(PathOnly::new(Arc::clone(node), flags)));
    }
    if origin == Origin::Found {
        need_open(node, flags)?;
    }
    let is_file = matches!(node.kind(), Kind::File | Kind::Fifo);
    if flags & linux::O_DIRECT != 0 && !is_file {
        return Err(Errno::INVAL);
    }
    let named = |inner| -> OpenFile {
        let opened = OpenNode::new(node, flags);
        Arc::new(Named { node: Arc::clone(node), path: path.clone(), inner, _opened: opened })
    };
    match node.kind() {
        Kind::File => {}
        Kind::Directory => return Ok(Arc::new(OpenDirectory::new(Arc::clone(node), flags))),
        Kind::Fifo => return pipe::open_named(node.id(), flags).map(named),
        Kind::Characters => {
            let device = node.attributes()?.status.special;
            return devices::open(device, flags).map(named);
        }
        Kind::Link => return Err(Errno::LOOP),
        Kind::Socket | Kind::Blocks => return Err(Errno::NXIO),
    }
    if let Some(made) = node.text()? {
        return Ok(text(Arc::clone(node), made, flags));
    }
    let regular = Regular::new(Arc::clone(node), node.open(flags)?, path)?;
    if flags & linux::O_TRUNC != 0 && origin == Origin::Found {
        truncate(token, node, regular.description())?;
        notify(node, linux::IN_MODIFY);
    }
    Ok(Arc::new(regular))
}

/// What `O_TRUNC` does with a file that was there. The times are stamped even if it is empty.
fn truncate(token: &mut MayFault, node: &Handle, description: &Open) -> Result<(), Errno> {
    if description.inode().size() == 0 {
        let now = caller().now;
        return node.set_times(NewTimes { accessed: None, modified: Some(now) });
    }
    // By whatever right it was opened.
    let cut = Description::<Machine>::new(description.file().clone(), linux::O_WRONLY);
    cut.truncate(token, 0, &Running)
}

/// Checks that the caller may open what is there.
///
/// # Errors
/// `EACCES`; `EPERM` for `O_NOATIME` of a file of another user, and for what its flags forbid.
fn need_open(node: &Handle, flags: u32) -> Result<(), Errno> {
    let (kept, writes) = (node.flags()?, flags & linux::O_ACCMODE != linux::O_RDONLY);
    let (appends, cuts) = (flags & linux::O_APPEND != 0, flags & linux::O_TRUNC != 0);
    let changes = kept & IMMUTABLE != 0 && (writes || cuts);
    let is_file = node.kind() == Kind::File;
    if changes || (is_file && kept & APPEND != 0 && ((writes && !appends) || cuts)) {
        return Err(Errno::PERM);
    }
    let credentials = credentials();
    if credentials.is_root_of_files() {
        return Ok(());
    }
    let status = node.attributes()?.status;
    let mut wanted = match flags & linux::O_ACCMODE {
        linux::O_RDONLY => READ,
        linux::O_WRONLY => WRITE,
        _ => READ | WRITE,
    };
    if flags & linux::O_TRUNC != 0 {
        wanted |= WRITE;
    }
    credentials.need(&status, wanted)?;
    let owns = credentials.owns(&status);
    if flags & linux::O_NOATIME != 0 && !owns { Err(Errno::PERM) } else { Ok(()) }
}

/// The path of a program from the root, behind the links that its last component leads to: what
/// `/proc` knows it by. It has been found.
pub(crate) fn program_path(at: &Directory, path: &[u8]) -> Vec<u8> {
    let mut path = absolute(at, path);
    for _ in 0..MAX_LINKS {
        let Ok(target) = read_link(at, &path) else { break };
        let kept = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        path.truncate(if target.starts_with(b"/") { 0 } else { kept });
        path.extend(target);
    }
    path
}

/// The file of a program, which cannot be opened for writing as long as the use is there.
///
/// # Errors
/// `EACCES` for anything else; `ETXTBSY` if it is open for writing; those of a path.
pub(crate) fn open_program(at: &Directory, path: &[u8]) -> Result<(Open, Use), Errno> {
    let node = look_up(at, path, Follow::Last)?;
    if node.kind() != Kind::File {
        return Err(Errno::ACCES);
    }
    credentials().need(&node.attributes()?.status, EXECUTE)?;
    let running = Use::running(&*node)?;
    Ok((node.open(linux::O_RDONLY)?, running))
}
