//! The fence of the production words, on the memory of the machine that runs the tests. The model
//! checker has fences of its own.

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

use crate::{CoreSync, SyncFamily};

const ROUNDS: u64 = 100_000;

/// A word in a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Lone(AtomicU64);

/// In each round stores its number to `mine` and then reads `theirs`; the rounds in which it did
/// not see the other's store.
fn look(mine: &Lone, theirs: &Lone, arrived: &Lone, fence: fn(Ordering)) -> Vec<u64> {
    let mut missed = Vec::new();
    for round in 1..=ROUNDS {
        arrived.0.fetch_add(1, SeqCst);
        let mut spins = 0_u32;
        while arrived.0.load(Acquire) < 2 * round {
            spins += 1;
            // The other thread may have to share this processor.
            if spins > 1000 { thread::yield_now() } else { core::hint::spin_loop() }
        }
        mine.0.store(round, Relaxed);
        fence(SeqCst);
        if theirs.0.load(Relaxed) < round {
            missed.push(round);
        }
    }
    missed
}

/// Rounds in which both threads missed the other's store.
fn both_missed(fence: fn(Ordering)) -> usize {
    let [a, b, arrived]: [Lone; 3] = Default::default();
    thread::scope(|scope| {
        let other = scope.spawn(|| look(&b, &a, &arrived, fence));
        let missed = look(&a, &b, &arrived, fence);
        let others = other.join().expect("no panic");
        missed.iter().filter(|round| others.binary_search(round).is_ok()).count()
    })
}

/// As truncation and whoever puts a page in do: one stores the size and then looks for pages, the
/// other the page, and then looks at the size.
#[test]
fn of_two_threads_that_store_and_then_look_one_sees_the_other() {
    assert_eq!(both_missed(CoreSync::fence), 0);
}
