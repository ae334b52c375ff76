//! The machine, as the first process of a run makes it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use faultless::parts::QueueWait;
use faultless::prelude::PageCache;

use crate::counters::{COUNTERS, Counters};
use crate::environment::{ENVIRONMENT, Environment};
use crate::files::{FILES, Files};
use crate::frames::{FIRST, Memory};
use crate::kernel::CACHE;
use crate::locks::LOCKS;
use crate::options::{MACHINE, Options};
use crate::process::PROCESSES;
use crate::stores::{DISK_OF_MACHINE, Disk};
use crate::sync::Short;
use crate::thread::Sleepers;

/// Makes the parts.
///
/// # Safety
/// The machine is being made, by this thread.
pub(crate) unsafe fn make(options: Options, folder: &str) {
    // SAFETY: the caller's; so for all parts.
    unsafe { MACHINE.make((options, folder.trim_end_matches('/').into())) };
    // SAFETY: as above.
    let (memory, first) = unsafe { Memory::new(options.frames) };
    // SAFETY: as above.
    unsafe { FIRST.make(first) };
    // SAFETY: as above.
    unsafe { DISK_OF_MACHINE.make(Disk::new(options.backing)) };
    // SAFETY: as above.
    unsafe { COUNTERS.make(Counters::default()) };
    // SAFETY: as above.
    unsafe { LOCKS.make(options.check_locks.then(Box::default)) };
    // SAFETY: as above.
    unsafe { CACHE.make(PageCache::at_run_time(memory, QueueWait::with_locks(Sleepers))) };
    // SAFETY: as above.
    unsafe { FILES.make(Files::volume()) };
    // SAFETY: as above.
    unsafe { ENVIRONMENT.make(Environment::read()) };
    // SAFETY: as above.
    unsafe { PROCESSES.make(Short::new(BTreeMap::new())) };
}
