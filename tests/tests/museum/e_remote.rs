//! E18: another client of the store makes the file longer or shorter.

use std::sync::Arc;

use faultless::filemap::{Dirty, NoTask, Strategy};
use faultless_host::stores::MemoryStore;
use faultless_host::{Machine, Mmu, syscall};
use faultless_tests::{
    Backing, File, PAGE, Rig, Setup, Store, assert_same, balanced_on_both_mmus, pattern,
};

use crate::planted;

/// Learns of the size that the store has now.
type Learn = fn(&File, u64);

const FAULTLESS: Learn = |file, size| {
    let learned = syscall(|token| file.size_changed_remotely(token, size, Dirty::Keep, &NoTask));
    assert_eq!(learned, Ok(()));
};

/// Where the file ends at first, and what is the same in all versions of it.
const END: usize = PAGE + 100;
const SHORT: usize = 50;

/// What is in the file when the other client has made it longer.
fn longer() -> Vec<u8> {
    pattern(1, 3 * PAGE)
}

/// What is in it when it was made shorter, and then longer again.
fn again() -> Vec<u8> {
    [&longer()[..SHORT], &pattern(2, 2 * PAGE)].concat()
}

/// macfuse#229, drive9#877: a file with a cached page at its end is made longer; then shorter, and
/// longer again with other bytes. What is read after the first change and after the last.
fn e18<M: Mmu>(machine: &Machine<M>, learn: Learn) -> [Vec<u8>; 2] {
    let setup = Setup { backing: Backing::Memory, strategy: Strategy::BeginEnd };
    let store = MemoryStore::new();
    let client = || Rig::over(machine, setup, Store::plain(Arc::clone(&store)));
    let (ours, theirs) = (client(), client());
    let change = |bytes: &[u8]| {
        theirs.fill(bytes);
        learn(ours.file(), bytes.len() as u64);
    };
    ours.fill(&longer()[..END]);
    change(&longer());
    let grown = ours.read(0, 3 * PAGE);
    change(&longer()[..SHORT]);
    assert_eq!(ours.read(0, PAGE), longer()[..SHORT]);
    change(&again());
    let last = ours.read(0, 3 * PAGE);
    assert_eq!(store.contents(), again(), "the store knows by itself");
    [grown, last]
}

balanced_on_both_mmus! {
    /// P1, P2.
    fn e18_a_size_that_another_client_changed_shows_what_the_store_has(machine) {
        let [grown, last] = e18(machine, FAULTLESS);
        assert_same(&grown, &longer(), "the longer file");
        assert_same(&last, &again(), "the file that was made longer again");
    }

    fn e18_a_size_that_is_only_a_number_is_caught(machine) {
        let [grown, last] = e18(machine, |file, size| planted::size_changed(file, size));
        assert_same(&grown[END..2 * PAGE], &[0; PAGE - 100], "zeros for data");
        assert_same(&last[SHORT..PAGE], &longer()[SHORT..PAGE], "stale data");
    }
}
