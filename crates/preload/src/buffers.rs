//! Calls of Linux's with buffers in mappings of files. Linux cannot serve the faults there: such a
//! call fails with `EFAULT`, and is made again with the pages brought in.
//!
//! Which memory a call uses is not known for each call. What is looked at instead is what its
//! arguments point into, and what the words there point into: that finds the buffers of a vector in
//! a message header. Each time that the call fails more pages are brought in.
#![forbid(unsafe_code)]

use core::ops::Range;

use alloc::vec::Vec;

use faultless::prelude::{Access, PAGE_SIZE, UserAddr, UserMemory, UserSlice};
use faultless_posix::Rights;
use syscalls::Sysno;

use crate::call::{Call, get, get_words, put_words, with_vector};
use crate::gate::{self, RED_ZONE, WATCHED_WORDS};
use crate::raw;
use crate::restart;
use crate::words::words_of;

/// How often a call is made again: so often that pages can be taken away meanwhile.
const ATTEMPTS: usize = 24;

/// Attempts after which the number of pages grows no more.
const DOUBLINGS: usize = 16;

/// How many words are looked at, where a pointer leads.
const WORDS: usize = 32;

/// How far pointers are followed: an argument, a message header, a vector, a buffer.
const DEPTH: usize = 3;

/// An address below this is a number.
const LOWEST: usize = 1 << 16;

/// An address from here on is none of the program's.
const HIGHEST: usize = 1 << 47;

const BYTES: usize = WATCHED_WORDS * 8;

type Watched = [usize; WATCHED_WORDS];

/// Has Linux make a call from within the library, with pointers of the program's.
pub(crate) fn linux(call: &mut Call<'_>, number: Sysno, args: [usize; 6]) -> isize {
    let mut attempt = 0;
    loop {
        let result = raw::harmless(number, args);
        let is_over = result != -(libc::EFAULT as isize) || attempt == ATTEMPTS;
        if is_over || !bring_in(call, args, attempt) {
            return result;
        }
        attempt += 1;
    }
}

/// Has Linux make the call at the gate; whether the call has to be watched there. The program's own
/// arguments are back in their registers afterwards.
pub(crate) fn watch(call: &mut Call<'_>) -> bool {
    let has_files = call.maps_files();
    let is_lent = call.args != call.asked;
    if has_files && Sysno::new(call.number).is_some_and(takes_once) {
        bring_in(call, call.args, DOUBLINGS / 2 + 1);
    }
    if !is_lent && !has_files && !restart::is_timed(call.number, &call.args) {
        return false;
    }
    let [a, b, c, d, e, f] = call.asked;
    let rip = *call.register(libc::REG_RIP) as usize;
    let slot = *call.register(libc::REG_RSP) as usize - RED_ZONE - BYTES;
    if keep(call, slot, [rip, call.number, 0, a, b, c, d, e, f]) {
        *call.register(libc::REG_RSP) = slot as i64;
        *call.register(libc::REG_RIP) = gate::watch() as i64;
    } else {
        *call.register(libc::REG_RAX) = -i64::from(libc::EFAULT);
    }
    true
}

/// Calls that take a message, which is lost if they fail.
const fn takes_once(number: Sysno) -> bool {
    matches!(number, Sysno::recvfrom | Sysno::recvmsg | Sysno::recvmmsg)
}

fn keep(call: &mut Call<'_>, slot: usize, words: Watched) -> bool {
    put_words(call, slot, words.map(|word| word as u64)).is_ok()
}

/// A watched call has failed with `EFAULT`: it is made again, unless that is right. The registers
/// are those of the gate.
pub(crate) fn again(call: &mut Call<'_>) {
    let slot = *call.register(libc::REG_RSP) as usize;
    // A stack that was there at the call, and is no longer: the program faults by itself.
    let words: Watched =
        get_words(call, slot).unwrap_or([0; WATCHED_WORDS]).map(|word| word as usize);
    let [rip, number, attempt, asked @ ..] = words;
    let next =
        [rip, number, attempt + 1, asked[0], asked[1], asked[2], asked[3], asked[4], asked[5]];
    if attempt < ATTEMPTS && bring_in(call, call.args, attempt) && keep(call, slot, next) {
        *call.register(libc::REG_RAX) = number as i64;
        *call.register(libc::REG_RIP) = gate::watch() as i64;
        return;
    }
    for (at, value) in asked.into_iter().enumerate() {
        call.set_argument(at, value);
    }
    *call.register(libc::REG_RSP) = (slot + BYTES + RED_ZONE) as i64;
    *call.register(libc::REG_RIP) = rip as i64;
}

/// Reads words of the program's, as far as they can be read: up to the end of the page, at least.
fn look_at(call: &mut Call<'_>, at: usize) -> Vec<usize> {
    let mut bytes = [0; WORDS * 8];
    let in_page = (PAGE_SIZE - at % PAGE_SIZE).min(bytes.len());
    let read = [bytes.len(), in_page]
        .into_iter()
        .find(|&length| get(call, at, &mut bytes[..length]).is_ok());
    let words = &words_of::<WORDS>(&bytes)[..read.unwrap_or(0) / 8];
    words.iter().map(|word| *word as usize).collect()
}

/// Brings in pages of files that the arguments lead to; whether there were any. Later attempts
/// bring in more pages, every other one for stores.
pub(crate) fn bring_in(call: &mut Call<'_>, args: [usize; 6], attempt: usize) -> bool {
    let areas = call.process.space.areas();
    if areas.is_empty() {
        return false;
    }
    let areas = areas.into_iter().map(|area| {
        let bytes = area.pages.start * PAGE_SIZE..area.pages.end * PAGE_SIZE;
        (bytes, area.rights.contains(Rights::WRITE))
    });
    let search = Search {
        areas: areas.collect(),
        bytes: PAGE_SIZE << (attempt / 2).min(DOUBLINGS),
        access: if attempt % 2 == 1 { Access::Write } else { Access::Read },
    };
    args.into_iter().fold(false, |found, at| search.follow(call, at, 0) | found)
}

/// What is brought in.
struct Search {
    /// The mappings of files, in order, and whether they can be written to.
    areas: Vec<(Range<usize>, bool)>,
    /// Bytes behind each pointer.
    bytes: usize,
    access: Access,
}

impl Search {
    fn area(&self, at: usize) -> Option<&(Range<usize>, bool)> {
        let next = self.areas.partition_point(|(bytes, _)| bytes.end <= at);
        self.areas.get(next).filter(|(bytes, _)| bytes.contains(&at))
    }

    /// Follows a pointer; whether it leads to a mapping of a file.
    fn follow(&self, call: &mut Call<'_>, at: usize, depth: usize) -> bool {
        if !(LOWEST..HIGHEST).contains(&at) {
            return false;
        }
        let area = self.area(at);
        if let Some((bytes, is_writable)) = area {
            let end = bytes.end.min(at.saturating_add(self.bytes));
            let access = if *is_writable { self.access } else { Access::Read };
            bring_in_buffer(call, at, end - at, access);
        }
        if depth == DEPTH {
            return area.is_some();
        }
        let found = area.is_some();
        look_at(call, at).into_iter().fold(found, |found, at| {
            // The last step leads to files only.
            let leads = depth + 1 < DEPTH || self.area(at).is_some();
            (leads && self.follow(call, at, depth + 1)) | found
        })
    }
}

/// Brings in the pages of a buffer, as far as they are of files.
pub(crate) fn bring_in_buffer(call: &mut Call<'_>, buffer: usize, length: usize, access: Access) {
    let is_file = call.process.space.has_mapping_in(buffer..buffer.saturating_add(length));
    if !is_file {
        return;
    }
    if let Ok(slice) = UserSlice::new(&call.memory, UserAddr::new(buffer), length) {
        if access == Access::Write {
            call.memory.fault_in_writeable(&mut call.token, slice);
        } else {
            call.memory.fault_in_readable(&mut call.token, slice);
        }
    }
}

/// Brings in what a transfer of Linux's is to read or write.
pub(crate) fn bring_in_transfer(call: &mut Call<'_>, number: Sysno) {
    let [_, buffer, length, ..] = call.args;
    let stores = matches!(
        number,
        Sysno::read | Sysno::pread64 | Sysno::readv | Sysno::preadv | Sysno::preadv2
    );
    let access = if stores { Access::Write } else { Access::Read };
    match number {
        Sysno::read | Sysno::write | Sysno::pread64 | Sysno::pwrite64 => {
            bring_in_buffer(call, buffer, length, access);
        }
        _ => {
            // Linux finds the same wrong with it.
            let _found_by_linux = with_vector(call, buffer, length, |bytes, token| {
                let length = bytes.count();
                if access == Access::Write {
                    bytes.fault_in_writeable(token, length);
                } else {
                    bytes.fault_in_readable(token, length);
                }
                Ok(())
            });
        }
    }
}
