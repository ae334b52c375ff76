//! The part of `/proc` that programs look at: `self/exe`, `self/maps` and `self/status`.
//!
//! `exe` is resolved as text, before a path is looked up; the others are texts that are made when
//! they are opened.
#![forbid(unsafe_code)]

use core::fmt::Write;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use faultless::prelude::{MayFault, PAGE_SIZE};
use faultless_posix::{Errno, Rights, Sharing};
use linux_raw_sys::general as linux;

use crate::files::{
    Attributes, File, OpenFile, make_directory, make_file, opens_as, resolve_by, stream_attributes,
};
use crate::memory::{UserBytes, copy_out};
use crate::process::state::{Process, current};
use crate::waits::SleepLock;

const FOLDER: &[u8] = b"/proc/self/";

/// Makes the names, and the directory for shared memory.
///
/// # Errors
/// Those of names.
pub(super) fn init() -> Result<(), Errno> {
    make_directory(b"/dev/shm", 0o1777)?;
    make_directory(b"/proc", 0o555)?;
    make_directory(b"/proc/self", 0o555)?;
    make_file(b"/proc/self/exe", 0o444)?;
    opens_as(&*make_file(b"/proc/self/maps", 0o444)?, |_flags| open(maps));
    opens_as(&*make_file(b"/proc/self/status", 0o444)?, |_flags| open(status));
    resolve_by(resolve);
    Ok(())
}

/// What a path of `/proc` stands for: the number of the process itself is `self`, and `exe` is its
/// program.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(b"/proc/")?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    let process = current()?;
    let number = core::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<u32>().ok());
    let is_own = number == Some(process.number());
    if (is_own || &rest[..end] == b"self") && &rest[end + 1..] == b"exe" {
        return Some(process.executable.lock().clone());
    }
    is_own.then(|| [FOLDER, &rest[end + 1..]].concat())
}

/// Opens a text of the current process.
fn open(text: fn(&Process) -> String) -> OpenFile {
    let text = current().map(|process| text(&process).into_bytes()).unwrap_or_default();
    Arc::new(Text { text, position: SleepLock::new(0) })
}

/// A line for each mapping.
fn maps(process: &Process) -> String {
    let mut text = String::new();
    let Ok(memory) = process.memory() else { return text };
    for area in memory.space().areas() {
        let flag = |right, letter| if area.rights.contains(right) { letter } else { '-' };
        let sharing = if area.sharing == Sharing::Shared { 's' } else { 'p' };
        // A string takes everything.
        let _taken = writeln!(
            text,
            "{:08x}-{:08x} {}{}{}{sharing} {:08x} 00:10 {}",
            area.pages.start * PAGE_SIZE,
            area.pages.end * PAGE_SIZE,
            flag(Rights::READ, 'r'),
            flag(Rights::WRITE, 'w'),
            flag(Rights::EXECUTE, 'x'),
            area.first.start(),
            area.inode().mapping().id(),
        );
    }
    text
}

fn status(process: &Process) -> String {
    let executable = process.executable.lock().clone();
    let name = executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    alloc::format!(
        "Name:\t{}\nState:\tR (running)\nTgid:\t{number}\nPid:\t{number}\nPPid:\t{}\n\
         Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nThreads:\t{}\n",
        name.escape_ascii(),
        process.parent_number(),
        process.threads().len(),
        number = process.number(),
    )
}

/// A text that is open.
struct Text {
    text: Vec<u8>,
    position: SleepLock<usize>,
}

impl File for Text {
    fn read(&self, token: &mut MayFault, to: &mut UserBytes<'_>) -> Result<usize, Errno> {
        let mut position = self.position.lock();
        let rest = &self.text[*position..];
        let len = rest.len().min(to.count());
        let done = copy_out(to, token, &rest[..len]);
        *position += done;
        if done == 0 && len > 0 { Err(Errno::FAULT) } else { Ok(done) }
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(stream_attributes(linux::S_IFREG, 0))
    }

    fn flags(&self) -> u32 {
        linux::O_RDONLY
    }

    fn set_flags(&self, _flags: u32) {}
}
