//! Files on Linux tmpfs, in small pages and in huge ones.
//!
//! Tmpfs of huge pages is a mount, which only a privileged process can make. It is attached
//! nowhere: it has no name, and is gone when its only file is closed.

use std::fs::File;
use std::io::{self, Error};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use faultless_page::PAGE_SIZE;

use super::measure::Role;

/// In which pages a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    Small,
    Huge,
}

impl Pages {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Huge];

    /// The part that tmpfs with such pages plays.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::Small => Role::Tmpfs,
            Self::Huge => Role::HugeTmpfs,
        }
    }
}

/// Why there is no tmpfs with huge pages, if one was asked for.
static REFUSED: OnceLock<String> = OnceLock::new();

/// Why tmpfs with huge pages does not take part, if it should have.
pub(super) fn refused() -> Option<&'static str> {
    REFUSED.get().map(String::as_str)
}

/// An empty file. `None` if there are no huge pages for one, which [`refused`] tells.
///
/// # Errors
/// The system's, for small pages.
pub(super) fn file(pages: Pages) -> io::Result<Option<File>> {
    match pages {
        Pages::Small => memfd().map(Some),
        Pages::Huge => Ok(huge_file()
            .map_err(|why| {
                REFUSED.get_or_init(|| why);
            })
            .ok()),
    }
}

/// A file with so many bytes.
///
/// # Errors
/// As of [`file()`].
pub(super) fn filled(pages: Pages, bytes: usize) -> io::Result<Option<File>> {
    let file = file(pages)?;
    for pos in (0..bytes).step_by(PAGE_SIZE) {
        if let Some(file) = &file {
            pwrite(file, pos as u64, &[1; PAGE_SIZE]);
        }
    }
    Ok(file)
}

/// Writes to a file. A benchmark that cannot write has nothing to report.
pub(super) fn pwrite(file: &File, pos: u64, source: &[u8]) {
    let written = file.write_at(source, pos);
    assert!(matches!(written, Ok(n) if n == source.len()), "tmpfs: {written:?}");
}

/// Reads from a file.
pub(super) fn pread(file: &File, pos: u64, target: &mut [u8]) {
    let read = file.read_at(target, pos);
    assert!(matches!(read, Ok(n) if n == target.len()), "tmpfs: {read:?}");
}

/// A file on the mount that the kernel has for itself.
fn memfd() -> io::Result<File> {
    // SAFETY: the name is a C string; no flags.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), 0) };
    owned(fd.into()).map(File::from)
}

/// A file on a mount of its own that has huge pages, or what was tried and why it failed.
fn huge_file() -> Result<File, String> {
    let failed = |what| move |error: Error| format!("{what}: {error}");
    let context = open_context().map_err(failed("fsopen of tmpfs"))?;
    let option = Some((c"huge", c"always"));
    configure(&context, SET_STRING, option).map_err(failed("fsconfig with huge=always"))?;
    configure(&context, CREATE, None).map_err(failed("fsconfig that creates tmpfs"))?;
    let mount = mount(&context).map_err(failed("fsmount"))?;
    let file = unnamed_file(&mount).map_err(failed("open with O_TMPFILE"))?;
    has_huge_pages(&file).map_err(failed("a write of 2 MiB"))?.then_some(file).ok_or_else(|| {
        "tmpfs was mounted with huge=always, and a write of 2 MiB came to lie in small pages"
            .to_owned()
    })
}

/// Commands of `fsconfig`.
const SET_STRING: libc::c_uint = 1;
const CREATE: libc::c_uint = 6;
/// The flags of `fsopen` and `fsmount` that close descriptors on exec.
const CLOEXEC: libc::c_uint = 1;

fn open_context() -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), CLOEXEC) })
}

fn configure(
    context: &OwnedFd,
    command: libc::c_uint,
    option: Option<(&std::ffi::CStr, &std::ffi::CStr)>,
) -> io::Result<()> {
    let (key, value) = option
        .map_or_else(Default::default, |(key, value)| (Some(key.as_ptr()), Some(value.as_ptr())));
    let or_null = |text: Option<*const libc::c_char>| text.unwrap_or(std::ptr::null());
    let (key, value, fd) = (or_null(key), or_null(value), context.as_raw_fd());
    // SAFETY: both strings are C strings that live during the call, or null where none is wanted.
    match unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn mount(context: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })
}

fn unnamed_file(mount: &OwnedFd) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::openat(mount.as_fd().as_raw_fd(), c".".as_ptr(), flags, 0o600) };
    owned(fd.into()).map(File::from)
}

/// The descriptor that a call has returned, or its error.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match libc::c_int::try_from(fd) {
        // SAFETY: a descriptor that was just made and that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last_os_error()),
    }
}

/// Whether what is written to an empty file comes to lie in huge pages. The file is empty again
/// afterwards.
fn has_huge_pages(file: &File) -> io::Result<bool> {
    const HUGE: usize = 2 << 20;
    let before = huge_kib()?;
    file.write_all_at(&vec![1; HUGE], 0)?;
    let after = huge_kib()?;
    file.set_len(0)?;
    Ok(after >= before + (HUGE >> 10) as u64)
}

/// KiB of tmpfs in huge pages, on the whole machine.
fn huge_kib() -> io::Result<u64> {
    let told = std::fs::read_to_string("/proc/meminfo")?;
    let line = told.lines().find_map(|line| line.strip_prefix("ShmemHugePages:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| Error::other("/proc/meminfo does not tell of ShmemHugePages"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_what_was_written_or_it_is_told_why_there_is_none() {
        for pages in Pages::ALL {
            let Some(file) = filled(pages, 3 * PAGE_SIZE).expect("tmpfs") else {
                let why = refused().expect("a reason");
                assert!(pages == Pages::Huge && !why.is_empty());
                println!("no huge pages: {why}");
                continue;
            };
            pwrite(&file, 5000, b"abc");
            let mut found = [0; 5];
            pread(&file, 4999, &mut found);
            assert_eq!(&found, b"\x01abc\x01");
            assert_eq!(file.metadata().expect("told").len(), 3 * PAGE_SIZE as u64);
        }
    }

    #[test]
    fn a_mount_of_huge_pages_is_seen_nowhere() {
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("told");
        let before = mounts();
        let _file = file(Pages::Huge).expect("no error of small pages");
        assert_eq!(mounts(), before);
    }
}
