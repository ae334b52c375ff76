//! What the Linux runner needs to know of the process and its files: the limit on file sizes, the
//! end of user addresses, the names of file systems; and files without a
//! name.
//!
//! `RLIMIT_FSIZE` belongs to the whole process. It is set just around the calls that it concerns,
//! and only in cases that have one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use faultless_page::PAGE_SIZE;

use super::op::WINDOW;

/// The name of the file system that keeps everything in the page cache.
pub(super) const TMPFS: &str = "tmpfs";

/// `RLIMIT_FSIZE` of this process, for as long as this lives.
pub(super) struct Limit(Option<libc::rlimit>);

impl Limit {
    /// Sets it, if there is one to set.
    pub(super) fn set(limit: Option<u64>) -> Self {
        Self(limit.map(|limit| {
            let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: points to a `rlimit`.
            let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut before) };
            assert_eq!(result, 0, "getrlimit: {}", io::Error::last_os_error());
            apply_limit(&libc::rlimit { rlim_cur: limit, ..before });
            before
        }))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            apply_limit(before);
        }
    }
}

fn apply_limit(limit: &libc::rlimit) {
    // SAFETY: points to a `rlimit`.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, limit) };
    assert_eq!(result, 0, "setrlimit: {}", io::Error::last_os_error());
}

/// The first address at which no user memory can begin, found by asking: a write of nothing at an
/// address beyond is refused, and none that lies before.
pub(super) fn end_of_user_addresses(file: &File) -> io::Result<usize> {
    let (mut good, mut bad) = (0, 1_usize << (usize::BITS - 1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        let addr = std::ptr::without_provenance(middle);
        // SAFETY: nothing is read at that address: the length is 0.
        if unsafe { libc::pwrite(file.as_raw_fd(), addr, 0, 0) } == 0 {
            good = middle;
        } else {
            bad = middle;
        }
    }
    if good < WINDOW * PAGE_SIZE {
        return Err(io::Error::other("the end of user addresses cannot be found"));
    }
    Ok(good)
}

/// The name of the file system on which `file` lies.
pub(super) fn kind_of(file: &File) -> io::Result<String> {
    // SAFETY: a `statfs` is integers, for all of which zero is a value.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: points to a `statfs`.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(match about.f_type as u64 & 0xffff_ffff {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => TMPFS.into(),
        0x794c_7630 => "overlayfs".into(),
        other => format!("file system {other:#x}"),
    })
}

/// An empty file in `folder` that no other process can find.
pub(super) fn unlinked_file(folder: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("faultless-oracle-{}-{number}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
