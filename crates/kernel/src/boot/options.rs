//! The command line: `trace locks terminal watchdog=30 fail=50 selftest=user-copies,staged
//! cwd=/somewhere -- PROGRAM ARGUMENTS…`, where blanks in a word are `%20` and percent signs `%25`.
#![forbid(unsafe_code)]

use core::str::FromStr;

use alloc::vec::Vec;

use spin::Once;

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// System calls are told as they happen.
    pub(crate) trace: Tracing,
    /// What is tried out before the first program.
    pub(crate) selftest: Option<Vec<u8>>,
    /// Seconds after which a wait that signals do not end is a hang, which ends the run.
    pub(crate) watchdog: Option<u64>,
    /// Locks are checked for their order.
    pub(crate) locks: Checking,
    /// A person types: keys that send signals do.
    pub(crate) console: Typing,
    /// While programs run, the disk fails one in so many transfers.
    pub(crate) fail: Option<u32>,
    /// Where the first program begins.
    pub(crate) cwd: Vec<u8>,
    /// The first program and its arguments.
    pub(crate) words: Vec<Vec<u8>>,
    /// The environment.
    pub(crate) environment: Vec<Vec<u8>>,
}

/// Whether system calls are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tracing {
    #[default]
    Off,
    On,
}

/// Who types at the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Typing {
    /// A pipe: all bytes are input.
    #[default]
    Pipe,
    Person,
}

/// Whether the order of locks is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Checking {
    #[default]
    Off,
    On,
}

static OPTIONS: Once<Options> = Once::new();

/// The options of the run.
pub(crate) fn options() -> &'static Options {
    OPTIONS.call_once(Options::default)
}

pub(super) fn init(line: &[u8]) {
    OPTIONS.call_once(|| parse(line));
}

fn parse(line: &[u8]) -> Options {
    let mut options = Options { cwd: b"/".into(), ..Options::default() };
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(unescape);
    for word in words.by_ref() {
        if word == b"--" {
            break;
        } else if word == b"trace" {
            options.trace = Tracing::On;
        } else if word == b"locks" {
            options.locks = Checking::On;
        } else if word == b"terminal" {
            options.console = Typing::Person;
        } else if let Some(what) = word.strip_prefix(b"selftest=") {
            options.selftest = Some(what.into());
        } else if let Some(seconds) = word.strip_prefix(b"watchdog=") {
            options.watchdog = number(seconds);
        } else if let Some(one_in) = word.strip_prefix(b"fail=") {
            options.fail = number(one_in);
        } else if let Some(cwd) = word.strip_prefix(b"cwd=") {
            options.cwd = cwd.into();
        } else if let Some(variable) = word.strip_prefix(b"env:") {
            options.environment.push(variable.into());
        }
    }
    options.words = words.collect();
    options
}

fn number<N: FromStr>(digits: &[u8]) -> Option<N> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// `%` and two hexadecimal digits stand for a byte, and `%` alone for an empty word.
fn unescape(word: &[u8]) -> Vec<u8> {
    if word == b"%" {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let escaped = word.get(at + 1..at + 3).filter(|_| word[at] == b'%');
        let escaped = escaped.and_then(|digits| core::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(word[at]);
                at += 1;
            }
        }
    }
    bytes
}
