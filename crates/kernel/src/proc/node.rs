//! Nodes of `/proc`.
#![forbid(unsafe_code)]

use core::any::Any;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless_posix::{Errno, Kind, Status};

use crate::files::{
    Attributes, Entry, Handle, New, NewTimes, OpenFile, PipeEnd, Socket, Space, Vnode,
    make_directory, mount, path, root,
};
use crate::memory::{FileHandle, Open};
use crate::proc::made::Made;
use crate::proc::{process, system};
use crate::process::{Process, all_processes, current, with_process};
use crate::sched;
use crate::task::caller;

/// The device number of the file system, and what `statfs` calls it.
const DEVICE: u64 = 0x11;
const MAGIC: u64 = 0x9fa0;

/// Where it is mounted, and what `/proc/mounts` says of it.
const PLACE: &str = "/proc";
const WHAT: [&str; 3] = ["proc", "proc", "rw"];

/// Makes the directory, and mounts the file system there.
///
/// # Errors
/// Those of names.
pub(crate) fn init() -> Result<(), Errno> {
    make_directory(PLACE.as_bytes(), 0o555)?;
    let on = root().find(b"proc")?.ok_or(Errno::NOENT)?;
    mount(on, PLACE, InProc::handle(None, ""), WHAT);
    Ok(())
}

/// What a path stands for.
enum What {
    Directory,
    Text(Made),
    /// A link to a path.
    Link(Vec<u8>),
    /// An open file of a process.
    Open(OpenFile),
    /// What is told of one, by its descriptor.
    Told(usize),
}

/// A node: a path below the root, or below the directory of a process.
#[derive(Clone)]
struct InProc {
    process: Option<u32>,
    path: String,
}

/// The number of a descriptor, behind the path of a directory of all of them.
fn descriptor(path: &str, directory: &str) -> Option<usize> {
    path.strip_prefix(directory)?.strip_prefix('/')?.parse().ok()
}

/// The directories of all descriptors: links to the files, and what is told of them.
const FILES: &str = "fd";
const TOLD: &str = "fdinfo";

/// What stands behind `/proc/self/fd/N`.
fn target(file: &OpenFile) -> Vec<u8> {
    if let Some(path) = file.path() {
        return path;
    }
    if let Some(directory) = file.directory() {
        return path(directory.node()).unwrap_or_else(|_| b"(deleted)".into());
    }
    let kind = match file {
        _ if file.kind::<PipeEnd>().is_some() => "pipe",
        _ if file.kind::<Socket>().is_some() => "socket",
        _ => "anon_inode",
    };
    let number = (Arc::as_ptr(file).cast::<()>().addr() >> 4) as u32;
    alloc::format!("{kind}:[{number}]").into_bytes()
}

impl InProc {
    fn handle(process: Option<u32>, path: &str) -> Handle {
        Arc::new(Self { process, path: path.into() })
    }

    fn of(&self) -> Option<Arc<Process>> {
        with_process(self.process?, Arc::clone).ok()
    }

    /// The table that it stands in.
    const fn table(&self) -> &'static [(&'static str, Made)] {
        if self.process.is_some() { process::TEXTS } else { system::TEXTS }
    }

    fn what(&self) -> Option<What> {
        if let Some(number) = self.process {
            let process = self.of()?;
            let link = match &*self.path {
                "exe" => Some(process.executable.lock().clone()),
                "cwd" => Some(path(&process.cwd()).unwrap_or_default()),
                "root" => Some(b"/".into()),
                _ => None,
            };
            if let Some(link) = link {
                return Some(What::Link(link));
            }
            if let Some(descriptor) = descriptor(&self.path, FILES) {
                return process.any_file(descriptor).ok().map(What::Open);
            }
            if let Some(descriptor) = descriptor(&self.path, TOLD) {
                return process.any_file(descriptor).ok().map(|_| What::Told(descriptor));
            }
            let directories = ["", FILES, TOLD, "task"];
            if directories.contains(&&*self.path) && process.number() == number {
                return Some(What::Directory);
            }
        } else {
            let own = current()?.number();
            match &*self.path {
                "" => return Some(What::Directory),
                "self" => return Some(What::Link(own.to_string().into_bytes())),
                "thread-self" => {
                    let thread = sched::with_current(sched::Thread::number);
                    return Some(What::Link(alloc::format!("{own}/task/{thread}").into_bytes()));
                }
                "mounts" => return Some(What::Link(b"self/mounts".into())),
                _ => {}
            }
        }
        let below =
            |name: &str| name.strip_prefix(&*self.path).is_some_and(|rest| rest.starts_with('/'));
        let table = self.table();
        if let Some((_, made)) = table.iter().find(|(name, _)| *name == self.path) {
            return Some(What::Text(*made));
        }
        table.iter().any(|(name, _)| below(name)).then_some(What::Directory)
    }

    /// The node of a name in this directory.
    fn inside(&self, name: &str) -> Self {
        if let Ok(number) = name.parse::<u32>() {
            match (self.process, &*self.path) {
                (None, "") => return Self { process: Some(number), path: String::new() },
                (Some(process), "task") => {
                    return Self { process: Some(process), path: String::new() };
                }
                _ => {}
            }
        }
        let separator = if self.path.is_empty() { "" } else { "/" };
        Self { process: self.process, path: alloc::format!("{}{separator}{name}", self.path) }
    }

    /// The names in this directory.
    fn names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        let prefix = if self.path.is_empty() { String::new() } else { self.path.clone() + "/" };
        for (name, _) in self.table() {
            let rest = name.strip_prefix(&*prefix);
            let first = rest.and_then(|rest| rest.split('/').next());
            names.extend(first.map(String::from));
        }
        let more: Vec<String> = match (self.of(), &*self.path) {
            (Some(process), FILES | TOLD) => {
                let table = process.files();
                let files = table.lock();
                return files.iter().map(|(at, _)| at.to_string()).collect();
            }
            (Some(process), "task") => {
                let threads = process.threads();
                return threads.iter().map(|thread| thread.number().to_string()).collect();
            }
            (Some(_), "") => ["exe", "cwd", "root", FILES, TOLD, "task"].map(String::from).into(),
            (None, "") => {
                let numbers = all_processes().into_iter().map(|process| process.number());
                let links = ["self", "thread-self", "mounts"].map(String::from);
                links.into_iter().chain(numbers.map(|number| number.to_string())).collect()
            }
            _ => Vec::new(),
        };
        names.extend(more);
        names.into_iter().collect()
    }

    /// A number that no other node has, as far as a hash goes.
    fn number(&self) -> u64 {
        const PRIME: u64 = 0x100_0000_01b3;
        let of = self.process.map_or(0, u64::from);
        let bytes = of.to_ne_bytes().into_iter().chain(self.path.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

impl Vnode for InProc {
    fn id(&self) -> (u64, u64) {
        (DEVICE, self.number())
    }

    fn kind(&self) -> Kind {
        match self.what() {
            Some(What::Text(_) | What::Told(_)) => Kind::File,
            Some(What::Link(_) | What::Open(_)) => Kind::Link,
            Some(What::Directory) | None => Kind::Directory,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let what = self.what().ok_or(Errno::NOENT)?;
        let (kind, mode) = match what {
            What::Directory => (Kind::Directory, 0o555),
            What::Text(made) => (Kind::File, made.mode()),
            What::Told(_) => (Kind::File, 0o444),
            What::Link(_) | What::Open(_) => (Kind::Link, 0o777),
        };
        let now = caller().now;
        let owner = self.of().map(|process| process.credentials());
        let status = Status {
            device: DEVICE,
            special: 0,
            number: self.number(),
            kind,
            mode: kind.mode_bits() | mode,
            links: if kind == Kind::Directory { 2 } else { 1 },
            uid: owner.as_ref().map_or(0, |owner| owner.user.effective),
            gid: owner.as_ref().map_or(0, |owner| owner.group.effective),
            size: 0,
            accessed: now,
            modified: now,
            changed: now,
        };
        Ok(Attributes { status, sectors: 0 })
    }

    fn file(&self) -> Result<FileHandle, Errno> {
        Err(Errno::INVAL)
    }

    fn open(&self, _flags: u32) -> Result<Open, Errno> {
        Err(Errno::INVAL)
    }

    fn text(&self) -> Result<Option<Vec<u8>>, Errno> {
        let of = || self.of().ok_or(Errno::NOENT);
        let made = match self.what() {
            Some(What::Text(Made::Read(made) | Made::Written(made))) => made(),
            Some(What::Text(Made::Of(made) | Made::WrittenOf(made))) => made(&of()?),
            Some(What::Text(Made::Words(made))) => return Ok(Some(made(&of()?))),
            Some(What::Told(descriptor)) => {
                let process = of()?;
                process::descriptor(&process, descriptor)?
            }
            _ => return Err(Errno::NOENT),
        };
        Ok(Some(made.into_bytes()))
    }

    fn open_file(&self) -> Option<Box<dyn Any>> {
        match self.what() {
            Some(What::Open(file)) => Some(Box::new(file)),
            _ => None,
        }
    }

    fn target(&self) -> Result<Vec<u8>, Errno> {
        match self.what() {
            Some(What::Link(target)) => Ok(target),
            Some(What::Open(file)) => Ok(target(&file)),
            Some(What::Directory | What::Text(_) | What::Told(_)) => Err(Errno::INVAL),
            None => Err(Errno::NOENT),
        }
    }

    fn find(&self, name: &[u8]) -> Result<Option<Handle>, Errno> {
        let Ok(name) = core::str::from_utf8(name) else { return Ok(None) };
        let node = self.inside(name);
        let is_there = node.what().is_some();
        Ok(is_there.then(|| -> Handle { Arc::new(node) }))
    }

    fn parent(&self) -> Result<Handle, Errno> {
        Ok(match self.path.rsplit_once('/') {
            Some((above, _)) => Self::handle(self.process, above),
            None if self.path.is_empty() => Self::handle(None, ""),
            None => Self::handle(self.process, ""),
        })
    }

    fn path(&self) -> Result<Vec<u8>, Errno> {
        let mut path = String::new();
        if let Some(number) = self.process {
            path = alloc::format!("/{number}");
        }
        if !self.path.is_empty() || path.is_empty() {
            path = path + "/" + &*self.path;
        }
        Ok(path.into_bytes())
    }

    fn make(&self, _name: &[u8], _new: New<'_>) -> Result<Handle, Errno> {
        Err(Errno::NOENT)
    }

    fn link(&self, _node: &dyn Vnode, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn unlink(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn remove_directory(&self, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn rename(
        &self,
        _old: &[u8],
        _directory: &dyn Vnode,
        _new: &[u8],
        _flags: u32,
    ) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn entry(&self, cookie: u64, _end: u64) -> Result<Option<Entry>, Errno> {
        let names = [".", ".."].map(String::from).into_iter().chain(self.names());
        let Some(name) = usize::try_from(cookie).ok().and_then(|at| names.into_iter().nth(at))
        else {
            return Ok(None);
        };
        let node = if name.starts_with('.') { self.clone() } else { self.inside(&name) };
        let (number, kind) = (node.number(), node.kind().entry_type());
        Ok(Some(Entry { name: name.into_bytes(), number, kind, next: cookie + 1 }))
    }

    fn end_cookie(&self) -> u64 {
        u64::MAX
    }

    fn set_mode(&self, _mode: u32) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn set_owner(&self, _uid: Option<u32>, _gid: Option<u32>) -> Result<(), Errno> {
        Err(Errno::PERM)
    }

    fn set_times(&self, _times: NewTimes) -> Result<(), Errno> {
        Ok(())
    }

    fn accessed(&self) {}

    fn space(&self) -> Space {
        Space {
            magic: MAGIC,
            block_size: 4096,
            blocks: 0,
            free_blocks: 0,
            available_blocks: 0,
            inodes: 0,
            free_inodes: 0,
        }
    }

    fn sync_names(&self) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    fn sync_all(&self, _open: Option<&Open>) -> Result<(), Errno> {
        Ok(())
    }
}
