//! Calls that change names: paths are walked here, and the file system of the directory does the
//! rest.
#![forbid(unsafe_code)]

use faultless_posix::{Errno, Kind};
use linux_raw_sys::general as linux;

use crate::files::directory::Directory;
use crate::files::mount;
use crate::files::vnode::{Handle, New, is_same, need_changeable};
use crate::files::walk::{Last, Name, Walk, need_change, need_removal};
use crate::files::watches::{notify_loss, notify_move, notify_name, notify_self};

/// Makes a directory, a symbolic link, or a name of something else.
///
/// # Errors
/// `EEXIST`; those of a path and of the file system.
pub(crate) fn make(at: &Directory, path: &[u8], new: New<'_>) -> Result<(), Errno> {
    if let New::Link(target) = new {
        check_target(target)?;
    }
    let place = free_place(at, path)?;
    if !matches!(new, New::Directory(_)) {
        place.need_no_slash()?;
    }
    let made = place.directory.make(&place.name.name, new)?;
    notify_name(&place.directory, &place.name.name, &made, linux::IN_CREATE);
    Ok(())
}

/// Checks what a symbolic link is to stand for.
fn check_target(target: &[u8]) -> Result<(), Errno> {
    match target.len() {
        0 => Err(Errno::NOENT),
        len if len >= linux::PATH_MAX as usize => Err(Errno::NAMETOOLONG),
        _ => Ok(()),
    }
}

/// Gives a node one more name.
///
/// # Errors
/// `EEXIST`; `EXDEV` for a node of another file system; those of a path.
pub(crate) fn link(node: &Handle, at: &Directory, path: &[u8]) -> Result<(), Errno> {
    let place = free_place(at, path)?;
    place.need_no_slash()?;
    need_one_system(node, &place.directory)?;
    need_changeable(&**node)?;
    place.directory.link(&**node, &place.name.name)?;
    notify_self(node, linux::IN_ATTRIB);
    notify_name(&place.directory, &place.name.name, node, linux::IN_CREATE);
    Ok(())
}

/// A place where something is to be made.
struct Place {
    directory: Directory,
    name: Name,
}

impl Place {
    /// A slash behind the name asks for a directory.
    fn need_no_slash(&self) -> Result<(), Errno> {
        if self.name.has_slash { Err(Errno::NOENT) } else { Ok(()) }
    }
}

/// The place that a path names, where nothing is.
fn free_place(at: &Directory, path: &[u8]) -> Result<Place, Errno> {
    let mut walk = Walk::new(at, path)?;
    let Last::Name(name) = walk.reach_last()? else { return Err(Errno::EXIST) };
    if walk.find(&name.name)?.is_some() {
        return Err(Errno::EXIST);
    }
    need_change(&walk.current)?;
    Ok(Place { directory: walk.current, name })
}

fn need_one_system(one: &Handle, other: &Handle) -> Result<(), Errno> {
    if one.id().0 == other.id().0 { Ok(()) } else { Err(Errno::XDEV) }
}

/// `unlink`.
///
/// # Errors
/// `EISDIR`; `ENOTDIR` for a slash behind something else than a directory; those of a path.
pub(crate) fn unlink(at: &Directory, path: &[u8]) -> Result<(), Errno> {
    let mut walk = Walk::new(at, path)?;
    let Last::Name(Name { name, has_slash }) = walk.reach_last()? else {
        return Err(Errno::ISDIR);
    };
    if has_slash {
        let node = walk.find(&name)?.ok_or(Errno::NOENT)?;
        let is_directory = node.kind() == Kind::Directory;
        return Err(if is_directory { Errno::ISDIR } else { Errno::NOTDIR });
    }
    let node = walk.find(&name)?.ok_or(Errno::NOENT)?;
    need_removal(&walk.current, &node)?;
    if node.kind() == Kind::Directory {
        return Err(Errno::ISDIR);
    }
    walk.current.unlink(&name)?;
    notify_name(&walk.current, &name, &node, linux::IN_DELETE);
    notify_loss(&node);
    Ok(())
}

/// `rmdir`.
///
/// # Errors
/// `EINVAL` for `.`; `ENOTEMPTY`, also for `..`; `EBUSY` for the root and for what something is
/// mounted on; those of a path.
pub(crate) fn remove_directory(at: &Directory, path: &[u8]) -> Result<(), Errno> {
    let mut walk = Walk::new(at, path)?;
    let name = match walk.reach_last()? {
        Last::Root => return Err(Errno::BUSY),
        Last::Dot => return Err(Errno::INVAL),
        Last::DotDot => return Err(Errno::NOTEMPTY),
        Last::Name(name) => name.name,
    };
    let node = walk.find(&name)?.ok_or(Errno::NOENT)?;
    need_removal(&walk.current, &node)?;
    if node.kind() != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    if mount::is_root(&node) {
        return Err(Errno::BUSY);
    }
    walk.current.remove_directory(&name)?;
    notify_name(&walk.current, &name, &node, linux::IN_DELETE);
    notify_loss(&node);
    Ok(())
}

/// `renameat2`.
///
/// # Errors
/// `EBUSY` for `.`, `..`, the root and what something is mounted on; `EXDEV` for another file
/// system; those of `rename`.
pub(crate) fn rename(
    (old_at, old): (&Directory, &[u8]),
    (new_at, new): (&Directory, &[u8]),
    flags: u32,
) -> Result<(), Errno> {
    let (mut from, mut to) = (Walk::new(old_at, old)?, Walk::new(new_at, new)?);
    let (old, new) = (from.reach_last()?, to.reach_last()?);
    need_one_system(&from.current, &to.current)?;
    let Last::Name(old) = old else { return Err(Errno::BUSY) };
    let Last::Name(new) = new else {
        let keeps = flags & linux::RENAME_NOREPLACE != 0;
        return Err(if keeps { Errno::EXIST } else { Errno::BUSY });
    };
    let source = from.find(&old.name)?.ok_or(Errno::NOENT)?;
    let target = to.find(&new.name)?;
    let slash = old.has_slash || new.has_slash;
    if slash && source.kind() != Kind::Directory {
        return Err(Errno::NOTDIR);
    }
    need_removal(&from.current, &source)?;
    match &target {
        Some(target) => need_removal(&to.current, target)?,
        None => need_change(&to.current)?,
    }
    if mount::is_root(&source) || target.as_ref().is_some_and(mount::is_root) {
        return Err(Errno::BUSY);
    }
    from.current.rename(&old.name, &*to.current, &new.name, flags)?;
    let (before, after) = ((&from.current, &*old.name), (&to.current, &*new.name));
    match &target {
        // Two names of one node stay.
        Some(target) if is_same(&**target, &*source) => {}
        Some(target) if flags & linux::RENAME_EXCHANGE != 0 => {
            notify_move(before, after, &source);
            notify_move(after, before, target);
        }
        target => {
            notify_move(before, after, &source);
            target.iter().for_each(notify_loss);
        }
    }
    Ok(())
}
