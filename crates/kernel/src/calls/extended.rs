//! Extended attributes: `setxattr`, `getxattr`, `listxattr`, `removexattr`, and who may use which.
#![forbid(unsafe_code)]

use alloc::vec;
use alloc::vec::Vec;

use faultless_posix::{Errno, Follow, Kind, SetFlags};
use linux_raw_sys::general as linux;

use crate::calls::call::{Call, Outcome};
use crate::calls::names::{cwd, path};
use crate::credentials::{READ, WRITE};
use crate::files::{self, Handle, need_changeable, notify};
use crate::memory::{get, get_string, put};
use crate::task::credentials;

/// How a call names its node.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// By a path, whose last link is followed.
    Path,
    /// By a path, whose last link is not followed.
    Link,
    Descriptor,
}

/// The node; `otherwise` for an open file without one.
fn node(call: &mut Call<'_>, by: By, otherwise: Errno) -> Result<Handle, Errno> {
    let follow = match by {
        By::Path => Follow::Last,
        By::Link => Follow::NotLast,
        By::Descriptor => {
            let file = call.process.file(call.args[0])?;
            return file.node().cloned().ok_or(otherwise);
        }
    };
    let path = path(call, 0)?;
    files::look_up(&cwd(call), &path, follow)
}

/// The name of an attribute.
///
/// # Errors
/// `ERANGE` for one that is empty or too long.
fn name(call: &mut Call<'_>) -> Result<Vec<u8>, Errno> {
    let name = get_string(&mut call.token, call.args[1], linux::XATTR_NAME_MAX as usize);
    match name {
        Err(Errno::NAMETOOLONG) => Err(Errno::RANGE),
        Ok(name) if name.is_empty() => Err(Errno::RANGE),
        name => name,
    }
}

/// Checks that the caller may read or write an attribute of this name, and that there are such.
///
/// # Errors
/// `EOPNOTSUPP`, `EINVAL`: there are none; `EPERM`, `EACCES`; `ENODATA`: none that the caller sees.
fn need(node: &Handle, name: &[u8], wanted: u32) -> Result<(), Errno> {
    let writes = wanted == WRITE;
    if writes {
        need_changeable(&**node)?;
    }
    let unseen = if writes { Errno::PERM } else { Errno::NODATA };
    let own = credentials();
    let dot = name.iter().position(|byte| *byte == b'.').ok_or(Errno::OPNOTSUPP)?;
    match &name[..dot] {
        b"trusted" if !own.is_root() => return Err(unseen),
        b"trusted" => {}
        b"security" if writes && !own.is_root() => return Err(Errno::PERM),
        b"security" => {}
        b"user" => {
            let kind = node.kind();
            if kind != Kind::File && kind != Kind::Directory {
                return Err(unseen);
            }
            let status = node.attributes()?.status;
            let is_sticky = kind == Kind::Directory && status.mode & linux::S_ISVTX != 0;
            if writes && is_sticky && !own.owns(&status) {
                return Err(Errno::PERM);
            }
            own.need(&status, wanted)?;
        }
        _ => return Err(Errno::OPNOTSUPP),
    }
    if dot + 1 == name.len() { Err(Errno::INVAL) } else { Ok(()) }
}

/// Hands bytes to the program, or how many they are if it gives no room.
fn tell(call: &mut Call<'_>, at: usize, room: usize, bytes: &[u8]) -> Outcome {
    if room > 0 {
        if bytes.len() > room {
            return Err(Errno::RANGE);
        }
        put(&mut call.token, at, bytes)?;
    }
    Ok(bytes.len())
}

pub(super) fn get_extended(call: &mut Call<'_>, by: By) -> Outcome {
    let [_, _, value, room, ..] = call.args;
    let node = node(call, by, Errno::NODATA)?;
    let name = name(call)?;
    need(&node, &name, READ)?;
    let found = node.extended(&name)?;
    tell(call, value, room, &found)
}

pub(super) fn set_extended(call: &mut Call<'_>, by: By) -> Outcome {
    let [_, _, value, len, flags, _] = call.args;
    let flags = SetFlags::from_bits(flags as u32).ok_or(Errno::INVAL)?;
    let name = name(call)?;
    if len > linux::XATTR_SIZE_MAX as usize {
        return Err(Errno::TOOBIG);
    }
    let mut bytes = vec![0; len];
    get(&mut call.token, value, &mut bytes)?;
    let node = node(call, by, Errno::PERM)?;
    need(&node, &name, WRITE)?;
    node.set_extended(&name, &bytes, flags)?;
    notify(&node, linux::IN_ATTRIB);
    Ok(0)
}

pub(super) fn remove_extended(call: &mut Call<'_>, by: By) -> Outcome {
    let node = node(call, by, Errno::PERM)?;
    let name = name(call)?;
    need(&node, &name, WRITE)?;
    node.remove_extended(&name)?;
    notify(&node, linux::IN_ATTRIB);
    Ok(0)
}

/// Root alone is told of what only root can read.
pub(super) fn list_extended(call: &mut Call<'_>, by: By) -> Outcome {
    let [_, list, room, ..] = call.args;
    let names = match node(call, by, Errno::NODATA) {
        Err(Errno::NODATA) => Vec::new(),
        node => node?.extended_names()?,
    };
    let is_root = credentials().is_root();
    let seen = names.iter().filter(|name| is_root || !name.starts_with(b"trusted."));
    let bytes: Vec<u8> = seen.flat_map(|name| [&**name, b"\0"].concat()).collect();
    tell(call, list, room, &bytes)
}
