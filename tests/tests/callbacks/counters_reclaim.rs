//! What giving pages up costs, counted.

use std::sync::Arc;

use faultless::filemap::{DirtyVictims, Files, Inode, NoTask, Reclaimed, Reclaimer};
use faultless_host::counting::locked;
use faultless_host::stores::MemoryStore;
use faultless_host::{CountingKernel, MachineConfig, syscall};
use faultless_tests::costs::Bench;
use faultless_tests::{PAGE, calls};

/// Pages of a leaf.
const LEAF: usize = 64;
/// Leaves of the file: enough for a step to look at 32 pages at once.
const LEAVES: usize = 32;

/// The one file.
struct Only<'f>(&'f Arc<Inode<CountingKernel>>);

impl Files<CountingKernel> for Only<'_> {
    type Handle = Arc<Inode<CountingKernel>>;

    fn find(&self, mapping: u64) -> Option<Self::Handle> {
        (self.0.mapping().id() == mapping).then(|| Arc::clone(self.0))
    }
}

/// A file of so many leaves, in the cache and dirty.
fn hot() -> Bench {
    let bench = Bench::with(&MemoryStore::new(), MachineConfig::new().frames(4096));
    for leaves in (0..LEAVES).step_by(8) {
        let _cost = bench.write(leaves * LEAF * PAGE, 8 * LEAF * PAGE);
    }
    bench
}

/// A step, and the locked instructions that it took.
fn step(bench: &Bench, wanted: usize) -> (Reclaimed, u64) {
    let before = locked();
    let cache = bench.file.mapping().cache();
    let reclaimer = Reclaimer::new(DirtyVictims::Leave);
    let wanted = u32::try_from(wanted).expect("small");
    let done = syscall(|token| reclaimer.step(cache, &Only(&bench.file), token, wanted, &NoTask));
    (done, locked() - before)
}

#[test]
fn row_23_a_look_at_half_a_leaf_takes_at_most_six_locked_instructions() {
    let bench = hot();
    let (done, locked) = step(&bench, LEAF);
    assert_eq!((done.dropped, done.kept as usize), (0, 3 * LEAVES * LEAF));
    let looks = u64::from(done.kept) / 32;
    println!("{locked} locked instructions for {looks} looks at half a leaf");
    // The leaf is locked and unlocked, the books are locked for the offer and for what became of
    // it, and marks are cleared.
    assert!(locked <= 6 * looks, "{locked} for {looks} looks");
}

#[test]
fn row_23_pages_that_leave_cost_less_than_a_locked_instruction_each() {
    let bench = hot();
    assert_eq!(calls::fsync(&bench.file), Ok(()));
    let (done, locked) = step(&bench, LEAVES * LEAF / 2);
    println!("{locked} locked instructions for {} pages", done.dropped);
    assert_eq!(done.dropped as usize, LEAVES * LEAF / 2);
    assert!(locked <= u64::from(done.dropped), "{locked} for {} pages", done.dropped);
}
