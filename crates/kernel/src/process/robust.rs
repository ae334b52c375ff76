//! Robust futexes: what a thread holds at its end is marked, and one that waits for it is woken.
//!
//! The list is the program's (`set_robust_list`), and may be anything.
#![forbid(unsafe_code)]

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use linux_raw_sys::general as linux;

use crate::memory::{change_word, get_words};
use crate::process::futex::{FutexKey, futex_wake};
use crate::process::state::memory;

/// Entries of a list that are looked at: it may lead back to where it was.
const MOST: usize = 2048;

/// The lowest bit of an address: the futex is one with priority inheritance.
const PRIORITY: u64 = 1;

/// Lets go what the list at `head` says that thread `number` holds.
///
/// # Errors
/// `EFAULT`: the list cannot be read on, or a word of it cannot be changed.
pub(super) fn let_go(token: &mut MayFault, head: usize, number: u32) -> Result<(), Errno> {
    let [first, offset, pending] = get_words(token, head)?;
    let at = |entry: u64| (entry & !PRIORITY).wrapping_add(offset) as usize;
    let mut entry = first;
    for _ in 0..MOST {
        if entry & !PRIORITY == head as u64 {
            break;
        }
        // Read before the word is let go: another thread may then use the entry again.
        let next = get_words::<1>(token, (entry & !PRIORITY) as usize);
        if entry != pending {
            mark(at(entry), number)?;
        }
        entry = next?[0];
    }
    if pending & !PRIORITY != 0 {
        // The thread was about to take it, or had let it go and not woken another one yet.
        mark(at(pending), number)?;
    }
    Ok(())
}

/// Says of a word that its owner has died, if that is the thread.
fn mark(address: usize, number: u32) -> Result<(), Errno> {
    let key = FutexKey::of(address)?;
    let is_own = |word: u32| word & linux::FUTEX_TID_MASK == number;
    let before = change_word(memory()?.space(), address, |word| {
        is_own(word).then_some(word & linux::FUTEX_WAITERS | linux::FUTEX_OWNER_DIED)
    })?;
    if is_own(before) {
        futex_wake(key, 1, u32::MAX);
    }
    Ok(())
}
