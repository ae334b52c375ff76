//! What the kernel tries out on itself, if the command line asks for it: before the first program
//! (`selftest=`), and all along (`locks`, `watchdog=`).
//!
//! | what | module |
//! |---|---|
//! | the user copies, with the conformance suite of Faultless | `user_copies` |
//! | the deadlocks, staged on Faultless, and on a write path of 2007 that hangs | `staged` |
//! | where they have their mappings | `place` |
//! | a kernel stack that overflows | `overflow` |
//! | the order of locks, by the checker of Faultless | [`locks`] |
//! | hangs | [`watchdog`] |
//!
//! Nothing else of the kernel depends on what is found here.

pub(crate) mod locks;
mod overflow;
mod place;
mod staged;
mod user_copies;
pub(crate) mod watchdog;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};

use crate::arch::serial::say;
use crate::boot::options::options;
use crate::memory::Space;

use staged::Path;

/// Runs what the command line names: `user-copies`, `staged`; a scene that hangs:
/// `control-own-page`, `control-crossed`, `control-nested-reader`; or `overflow`, which ends the
/// run. Called by the first process, in
/// an address space without mappings. May sleep; no lock is held.
///
/// # Errors
/// Something could not be set up.
///
/// # Panics
/// A test fails.
pub(crate) fn run(token: &mut MayFault, space: &Space) -> Result<(), Errno> {
    let Some(what) = &options().selftest else { return Ok(()) };
    for what in what.split(|byte| *byte == b',') {
        match what {
            b"user-copies" => {
                protected();
                user_copies::run(token, space)?;
            }
            b"staged" => {
                staged::own_page(token, space, Path::Faultless)?;
                staged::crossed(token, space, Path::Faultless)?;
                staged::nested_reader(token, space, Path::Faultless)?;
            }
            b"control-own-page" => staged::own_page(token, space, Path::UnderLock)?,
            b"control-crossed" => staged::crossed(token, space, Path::UnderLock)?,
            b"control-nested-reader" => staged::nested_reader(token, space, Path::UnderLock)?,
            b"overflow" => overflow::run(),
            _ => return Err(Errno::INVAL),
        }
    }
    Ok(())
}

/// The CPU checks what user copies are for.
fn protected() {
    let wanted = Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION
        | Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION;
    let is_on = Cr4::read().contains(wanted) && Cr0::read().contains(Cr0Flags::WRITE_PROTECT);
    assert!(is_on, "SMAP, SMEP or write protection is off");
    say!("selftest: SMAP, SMEP and write protection are on");
}
