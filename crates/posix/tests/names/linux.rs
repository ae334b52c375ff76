//! The operations on a folder of the running system.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Error;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::ops::{Answer, Everything, HANDLES, Modified, Numbers, Op, Outcome, Path, Seen};

type Result<T> = std::result::Result<T, i32>;

pub struct Linux {
    root: PathBuf,
    handles: Vec<File>,
    kept: Option<File>,
    numbers: Numbers,
    _folder: TempDir,
}

/// The result of a system call.
fn check(result: i32) -> Result<i32> {
    if result < 0 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no 0 inside")
}

impl Linux {
    /// A new folder: on tmpfs, if there is one; or on a file system that counts links as tmpfs
    /// does.
    pub fn new() -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        // A mistake of a path's with `..` would stay inside.
        let root = folder.path().join("1/2/3/4");
        std::fs::create_dir_all(&root).expect("a folder");
        let root = root.canonicalize().expect("a path");
        let handles = (0..HANDLES).map(|_| File::open(&root).expect("it is there")).collect();
        Self { root, handles, kept: None, numbers: Numbers::default(), _folder: folder }
    }

    pub fn run(&mut self, op: &Op) -> Outcome {
        self.numbers.forget();
        self.answer(op)
    }

    pub fn everything(&mut self) -> Everything {
        let mut all = Everything::new();
        self.numbers.forget();
        let mut todo = vec![String::new()];
        while let Some(path) = todo.pop() {
            let at = Path { handle: 0, path: format!("/{path}") };
            let seen = self.stat(&at, libc::AT_SYMLINK_NOFOLLOW).expect("it is listed");
            let mut target = self.read_link(&at).unwrap_or_default();
            self.set_modified(&at);
            if seen.kind & libc::S_IFMT == libc::S_IFDIR {
                let names = self.open(&at, libc::O_DIRECTORY).and_then(|folder| names(&folder));
                for name in names.expect("a folder").into_keys() {
                    todo.push(format!("{path}/{name}"));
                }
                if !path.is_empty() {
                    let up = Path { handle: 0, path: format!("{path}/..") };
                    target = format!("in {}", self.stat(&up, 0).expect("a parent").node);
                }
            }
            all.insert(path, (seen, target));
        }
        all
    }

    /// A path of the case, as it is here.
    fn real(&self, path: &str) -> CString {
        match path.starts_with('/') {
            true => c(&format!("{}{path}", self.root.display())),
            false => c(path),
        }
    }

    /// The descriptor and the path for an `…at` call.
    fn at(&self, path: &Path) -> (i32, CString) {
        (self.handles[path.handle].as_raw_fd(), self.real(&path.path))
    }

    /// A path of this system, as it is in the case.
    fn unreal(&self, path: &str) -> String {
        let root = self.root.display().to_string();
        match path.strip_prefix(&root) {
            Some("") => "/".to_owned(),
            Some(rest) => rest.to_owned(),
            None => path.to_owned(),
        }
    }

    fn answer(&mut self, op: &Op) -> Outcome {
        let done = |result| check(result).map(|_| Answer::Done);
        match op {
            Op::Mkdir(path) => {
                let (at, path) = self.at(path);
                // SAFETY: a string that ends.
                done(unsafe { libc::mkdirat(at, path.as_ptr(), 0o755) })
            }
            Op::Rmdir(path) => {
                let (at, path) = self.at(path);
                // SAFETY: a string that ends.
                done(unsafe { libc::unlinkat(at, path.as_ptr(), libc::AT_REMOVEDIR) })
            }
            Op::Unlink(path) => {
                let (at, path) = self.at(path);
                // SAFETY: a string that ends.
                done(unsafe { libc::unlinkat(at, path.as_ptr(), 0) })
            }
            Op::Open(path, flags) => {
                let file = self.open(path, *flags)?;
                let seen = self.stat_file(&file);
                self.kept = Some(file);
                Ok(Answer::Node(seen))
            }
            Op::Rename(old, new, flags) => {
                let ((old_at, old), (new_at, new)) = (self.at(old), self.at(new));
                // SAFETY: strings that end.
                done(unsafe { libc::renameat2(old_at, old.as_ptr(), new_at, new.as_ptr(), *flags) })
            }
            Op::Link(old, new, flags) => {
                let ((old_at, old), (new_at, new)) = (self.at(old), self.at(new));
                // SAFETY: strings that end.
                done(unsafe { libc::linkat(old_at, old.as_ptr(), new_at, new.as_ptr(), *flags) })
            }
            Op::Symlink(target, path) => {
                let (target, (at, path)) = (self.real(target), self.at(path));
                // SAFETY: strings that end.
                done(unsafe { libc::symlinkat(target.as_ptr(), at, path.as_ptr()) })
            }
            Op::Readlink(path) => self.read_link(path).map(Answer::Text),
            Op::Stat(path, flags) => self.stat(path, *flags).map(Answer::Node),
            Op::List(path) => {
                let folder = self.open(path, libc::O_DIRECTORY)?;
                let numbers = &mut self.numbers;
                let all = names(&folder)?.into_iter();
                let all = all.map(|(name, (kind, node))| (name, (kind, numbers.of(node))));
                Ok(Answer::Names(all.collect()))
            }
            Op::Handle(which, path) => {
                self.handles[*which] = self.open(path, libc::O_DIRECTORY)?;
                Ok(Answer::Done)
            }
            Op::Cwd(which) => {
                // `getcwd` of another thread's descriptor. Linux marks what was removed.
                let link = format!("/proc/self/fd/{}", self.handles[*which].as_raw_fd());
                let path = std::fs::read_link(link).expect("it is open");
                let path = path.to_str().expect("plain names").to_owned();
                if path.ends_with(" (deleted)") {
                    return Err(libc::ENOENT);
                }
                Ok(Answer::Text(self.unreal(&path)))
            }
            Op::Kept => {
                let kept = self.kept.take().ok_or(libc::EBADF)?;
                let seen = self.stat_file(&kept);
                self.kept = Some(kept);
                Ok(Answer::Node(seen))
            }
            Op::LinkKept(path) => {
                let descriptor = self.kept.as_ref().ok_or(libc::EBADF)?.as_raw_fd();
                let old = c(&format!("/proc/self/fd/{descriptor}"));
                let ((at, path), flags) = (self.at(path), libc::AT_SYMLINK_FOLLOW);
                // SAFETY: strings that end.
                done(unsafe {
                    libc::linkat(libc::AT_FDCWD, old.as_ptr(), at, path.as_ptr(), flags)
                })?;
                self.answer(&Op::Kept)
            }
        }
    }

    fn open(&self, path: &Path, flags: i32) -> Result<File> {
        let (at, path) = self.at(path);
        // SAFETY: a string that ends.
        let new = unsafe { libc::openat(at, path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) };
        // SAFETY: it is new, and owned by nothing else.
        check(new).map(|new| unsafe { File::from_raw_fd(new) })
    }

    fn stat(&mut self, path: &Path, flags: i32) -> Result<Seen> {
        let (at, path) = self.at(path);
        let mut stat = MaybeUninit::uninit();
        // SAFETY: a string that ends, and room for the answer.
        check(unsafe { libc::fstatat(at, path.as_ptr(), stat.as_mut_ptr(), flags) })?;
        // SAFETY: the call has succeeded.
        Ok(self.seen(&unsafe { stat.assume_init() }))
    }

    /// Sets the time of the contents to 0.
    fn set_modified(&self, path: &Path) {
        let (at, path) = self.at(path);
        let omit = libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT };
        let times = [omit, libc::timespec { tv_sec: 0, tv_nsec: 0 }];
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: a string that ends, and two times.
        check(unsafe { libc::utimensat(at, path.as_ptr(), times.as_ptr(), flags) })
            .expect("it is listed");
    }

    fn stat_file(&mut self, file: &File) -> Seen {
        let mut stat = MaybeUninit::uninit();
        // SAFETY: room for the answer.
        check(unsafe { libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) }).expect("it is open");
        // SAFETY: the call has succeeded.
        self.seen(&unsafe { stat.assume_init() })
    }

    fn seen(&mut self, stat: &libc::stat) -> Seen {
        let node = self.numbers.of(stat.st_ino);
        let modified = Modified::at(stat.st_mtime + stat.st_mtime_nsec);
        Seen { kind: stat.st_mode & libc::S_IFMT, links: stat.st_nlink, node, modified }
    }

    fn read_link(&self, path: &Path) -> Result<String> {
        let (at, path) = self.at(path);
        let mut target = vec![0_u8; 5000];
        let (room, len) = (target.as_mut_ptr(), target.len());
        // SAFETY: a string that ends, and room for the answer.
        let read = unsafe { libc::readlinkat(at, path.as_ptr(), room.cast(), len) };
        let len = check(i32::try_from(read).expect("it is short"))?;
        target.truncate(usize::try_from(len).expect("no error"));
        Ok(self.unreal(&String::from_utf8(target).expect("plain names")))
    }
}

/// All names of a folder but `.` and `..`, with type and number.
fn names(folder: &File) -> Result<BTreeMap<String, (u8, u64)>> {
    let mut names = BTreeMap::new();
    let mut room = vec![0_u64; 4096];
    loop {
        let (to, len) = (room.as_mut_ptr(), size_of_val(&room[..]));
        // SAFETY: room for the answer.
        let got = unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), to, len) };
        let got = check(i32::try_from(got).expect("it is short"))? as usize;
        if got == 0 {
            return Ok(names);
        }
        let bytes: Vec<u8> = room.iter().flat_map(|word| word.to_ne_bytes()).take(got).collect();
        let mut at = 0;
        while at < got {
            let entry = &bytes[at..];
            let number = u64::from_ne_bytes(entry[..8].try_into().expect("8 bytes"));
            let len = u16::from_ne_bytes(entry[16..18].try_into().expect("2 bytes"));
            let name = CStr::from_bytes_until_nul(&entry[19..]).expect("it ends");
            let name = name.to_str().expect("plain names").to_owned();
            if name != "." && name != ".." {
                names.insert(name, (entry[18], number));
            }
            at += usize::from(len);
        }
    }
}
