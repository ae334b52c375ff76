//! Words and short locks that count the locked instructions of the calling thread.
//!
//! On x86-64 a locked instruction is the price of every read-modify-write, of a sequentially
//! consistent store and of a full fence; [`locked`] counts them all, so that "an overwrite costs
//! two" is a test.

#![forbid(unsafe_code)]

use std::cell::Cell;

use faultless_page::{Access, CoreSync, Hook, Hooked, SyncFamily};

thread_local! {
    static LOCKED: Cell<u64> = const { Cell::new(0) };
}

/// Locked instructions of the calling thread so far, among those that went through
/// [`CountingSync`].
#[must_use]
pub fn locked() -> u64 {
    LOCKED.get()
}

/// The hook that counts.
#[derive(Clone, Copy, Debug)]
pub enum CountLocked {}

impl Hook for CountLocked {
    const SPIN_ROUNDS: u32 = CoreSync::SPIN_ROUNDS;

    fn before(access: Access) {
        if access.is_locked_instruction() {
            let _ = LOCKED.try_with(|locked| locked.set(locked.get() + 1));
        }
    }

    fn relax() {
        std::thread::yield_now();
    }
}

/// The family of counting words. A short lock counts as one locked instruction.
pub type CountingSync = Hooked<CountLocked>;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use faultless_page::{Spin, Word};

    use super::*;
    use crate::kernel::Counted;
    use crate::machine::{Machine, MachineConfig};
    use crate::mm_scripted::ScriptedMmu;
    use crate::mmu::Protection;
    use crate::stores::MemoryStore;
    use faultless_filemap::WriteOptions;

    #[test]
    fn only_locked_instructions_count() {
        let before = locked();
        let word = <CountingSync as SyncFamily>::Word64::new(1);
        let _ = Word::load(&word, Ordering::SeqCst);
        word.store(2, Ordering::Release);
        assert_eq!(locked() - before, 0);
        let _ = word.compare_exchange(2, 3, Ordering::Acquire, Ordering::Relaxed);
        let _ = word.fetch_and(1, Ordering::Release);
        word.store(2, Ordering::SeqCst);
        drop(<CountingSync as SyncFamily>::Spin::new(()).lock());
        assert_eq!(locked() - before, 4);
    }

    #[test]
    fn a_hot_overwrite_locks_the_page_and_unlocks_it_and_that_is_all() {
        let machine = Machine::<ScriptedMmu, Counted>::build(MachineConfig::new());
        let file = machine.inode(&MemoryStore::volatile(), 0);
        let space = machine.space();
        space.map_anonymous(0, 1, Protection::ReadWrite);
        space.fill(space.at(0, 0), 1, 4096).expect("mapped");
        let write = || {
            let before = locked();
            let from = [space.slice(0, 0, 64)];
            let written = space.sys_write(&file, &from, &WriteOptions::at(0));
            assert_eq!(written.map(|done| done.bytes), Ok(64));
            locked() - before
        };
        let _cold = write();
        assert_eq!([write(), write()], [2, 2]);
    }
}
