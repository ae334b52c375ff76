//! The environment of programs. The variables by which this library gets into a program are hidden
//! from the program, and given to every program that it starts: also to one that is started with an
//! environment of its own, or none.

use core::ffi::{CStr, c_char};

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use crate::arena::Part;
use crate::options::VARIABLE;

/// The variable by which the dynamic linker loads libraries.
const PRELOAD: &CStr = c"LD_PRELOAD";

/// What the first program of the run had.
pub(crate) static ENVIRONMENT: Part<Environment> = Part::new(8);

/// The values of the variables.
pub(crate) struct Environment {
    library: Vec<u8>,
    options: Vec<u8>,
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

impl Environment {
    /// The environment of the program that runs.
    pub(crate) fn read() -> Self {
        Self { library: value_of(PRELOAD), options: value_of(VARIABLE) }
    }

    /// Hides the variables from the program that runs. It has not begun.
    pub(crate) fn hide(&self) {
        // SAFETY: nothing else uses the environment yet: pointers to strings, and a null behind.
        let mut from = unsafe { environ };
        let mut to = from;
        loop {
            // SAFETY: as above.
            let entry = unsafe { from.read() };
            let kept = if entry.is_null() { entry } else { self.without(entry) };
            if entry.is_null() || !kept.is_null() {
                // SAFETY: not behind the entry that was read.
                unsafe { to.write(kept) };
                // SAFETY: as above.
                to = unsafe { to.add(1) };
            }
            if entry.is_null() {
                return;
            }
            // SAFETY: this entry was not the last one.
            from = unsafe { from.add(1) };
        }
    }

    /// What the program sees of an entry; null for nothing. The library comes first in a list that
    /// has others of the program's own.
    fn without(&self, entry: *mut c_char) -> *mut c_char {
        // SAFETY: a string of the environment.
        let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if is_of(VARIABLE, bytes) {
            return core::ptr::null_mut();
        }
        let list = is_of(PRELOAD, bytes).then(|| &bytes[PRELOAD.count_bytes() + 1..]);
        let Some(rest) = list.and_then(|list| list.strip_prefix(&*self.library)) else {
            return entry;
        };
        let Some(rest) = rest.strip_prefix(b":") else { return core::ptr::null_mut() };
        let length = rest.len() + 1;
        let rest = rest.as_ptr();
        // SAFETY: the value lies in the entry, behind the name.
        let value = unsafe { entry.cast::<u8>().add(PRELOAD.count_bytes() + 1) };
        // SAFETY: the rest of the entry, with its NUL, to a place before it.
        unsafe { core::ptr::copy(rest, value, length) };
        entry
    }

    /// The entries that a program has to be started with, given those that it is to see; and
    /// whether each of those is to be left out.
    pub(crate) fn add(&self, seen: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<usize>) {
        let mut library = entry(PRELOAD, &self.library);
        let mut left_out = Vec::new();
        for (at, seen) in seen.iter().enumerate() {
            let seen = seen.strip_suffix(b"\0").unwrap_or(seen);
            if is_of(PRELOAD, seen) {
                let others = &seen[PRELOAD.count_bytes() + 1..];
                if !others.is_empty() && !others.starts_with(&self.library) {
                    library.push(b':');
                    library.extend_from_slice(others);
                }
                left_out.push(at);
            } else if is_of(VARIABLE, seen) {
                left_out.push(at);
            }
        }
        library.push(0);
        let mut options = entry(VARIABLE, &self.options);
        options.push(0);
        (alloc::vec![library, options], left_out)
    }
}

fn entry(name: &CStr, value: &[u8]) -> Vec<u8> {
    [name.to_bytes(), b"=", value].concat()
}

fn is_of(name: &CStr, entry: &[u8]) -> bool {
    entry.strip_prefix(name.to_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

fn value_of(name: &CStr) -> Vec<u8> {
    // SAFETY: a name with a NUL at its end; nothing changes the environment yet.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return Vec::new();
    }
    // SAFETY: a string of the environment.
    unsafe { CStr::from_ptr(value) }.to_bytes().to_owned()
}
