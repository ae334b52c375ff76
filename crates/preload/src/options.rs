//! What `cargo xtask run` asks of the machine: `name=value` pairs, separated by commas, in an
//! environment variable.

use core::ffi::CStr;

use alloc::string::String;

use faultless::prelude::Strategy;

use crate::arena::Part;

/// The variable that holds them.
pub(crate) const VARIABLE: &CStr = c"FAULTLESS_RUN";

/// Where files keep their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// In the cache alone.
    Ram,
    /// In the files of the folder.
    File,
    /// On a disk in memory, in blocks of this size.
    Block(usize),
}

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Copies are reported whole although they came short.
    ShortCopies,
    /// User mappings are not write-protected before writeback.
    NoWriteProtect,
    /// User mappings are not removed by truncation.
    NoUnmap,
    /// A faulting copy is made while a page is locked.
    FaultUnderLock,
    /// Writebacks of which the store is not told.
    LostDirty,
}

/// The options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The descriptor of the arena's file.
    pub(crate) fd: i32,
    /// Memory in pages.
    pub(crate) frames: usize,
    pub(crate) backing: Backing,
    pub(crate) strategy: Strategy,
    /// Of so many calls of a store, one fails; 0 for none.
    pub(crate) fail: u64,
    /// How long a call of a store takes, in microseconds.
    pub(crate) latency: u64,
    /// How often a second pages are written back, evicted and stolen; 0 for never.
    pub(crate) chaos: u64,
    pub(crate) trace: bool,
    pub(crate) check_locks: bool,
    pub(crate) plant: Option<Plant>,
    /// Only to write everything back and to tell what was done.
    pub(crate) finish: bool,
}

/// The options of the machine, and its folder, without a slash at its end.
pub(crate) static MACHINE: Part<(Options, String)> = Part::new(0);

/// The options of the machine.
pub(crate) fn options() -> &'static Options {
    &MACHINE.get().0
}

/// The folder whose files are in Faultless.
pub(crate) fn folder() -> &'static str {
    &MACHINE.get().1
}

/// The name of the folder of hidden links.
pub(crate) const HIDDEN: &str = ".faultless";

/// The hidden link of the file with this number, with a NUL at its end.
pub(crate) fn hidden_link(number: u64) -> String {
    alloc::format!("{}/{HIDDEN}/{number}\0", folder())
}

/// What the environment says: the options, and the folder; nothing if it says nothing.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read() -> Option<Result<(Options, &'static str), &'static str>> {
    // SAFETY: a name with a NUL at its end; nothing changes the environment yet.
    let value = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a string of the environment, which stays: a program that replaces it uses new memory.
    let text = unsafe { CStr::from_ptr(value) };
    Some(text.to_str().map_err(|_| "options that are no text").and_then(parse))
}

/// The folder comes last: its name may have any byte.
fn parse(text: &'static str) -> Result<(Options, &'static str), &'static str> {
    let mut options = Options {
        fd: -1,
        frames: 0,
        backing: Backing::Ram,
        strategy: Strategy::BeginEnd,
        fail: 0,
        latency: 0,
        chaos: 0,
        trace: false,
        check_locks: false,
        plant: None,
        finish: false,
    };
    let mut rest = text;
    loop {
        let (name, value) = rest.split_once('=').ok_or("an option without a value")?;
        if name == "folder" {
            return Ok((options, value));
        }
        let (value, next) = value.split_once(',').ok_or("options without a folder")?;
        let number = || value.parse::<u64>().map_err(|_| "an option that is no number");
        match name {
            "fd" => options.fd = number()? as i32,
            "frames" => options.frames = number()? as usize,
            "fail" => options.fail = number()?,
            "latency" => options.latency = number()?,
            "chaos" => options.chaos = number()?,
            "trace" => options.trace = number()? != 0,
            "locks" => options.check_locks = number()? != 0,
            "finish" => options.finish = number()? != 0,
            "strategy" => {
                options.strategy = match value {
                    "a" => Strategy::PrepareCommit,
                    "b" => Strategy::BeginEnd,
                    _ => return Err("no such strategy"),
                }
            }
            "store" => {
                options.backing = match value {
                    "ram" => Backing::Ram,
                    "file" => Backing::File,
                    "block:512" => Backing::Block(512),
                    "block:1024" => Backing::Block(1024),
                    "block:4096" => Backing::Block(4096),
                    _ => return Err("no such store"),
                }
            }
            "plant" => {
                options.plant = Some(match value {
                    "short-copies" => Plant::ShortCopies,
                    "no-write-protect" => Plant::NoWriteProtect,
                    "no-unmap" => Plant::NoUnmap,
                    "fault-under-lock" => Plant::FaultUnderLock,
                    "lost-dirty" => Plant::LostDirty,
                    _ => return Err("no such bug"),
                })
            }
            _ => return Err("no such option"),
        }
        rest = next;
    }
}
