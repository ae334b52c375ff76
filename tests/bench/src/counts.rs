//! The rows of the scoreboard that count. They are exact, and tests besides.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::WriteOptions;
use faultless_host::CountingUser;
use faultless_host::stores::MemoryStore;
use faultless_page::PAGE_SIZE;

use super::kernel::{Bare, Layout, Measured, Rig, Whole};
use super::memory::Arena;

/// A row that counts.
pub(super) struct Count {
    pub(super) number: u32,
    pub(super) title: &'static str,
    pub(super) found: f64,
    pub(super) must: f64,
    pub(super) stretch: f64,
}

/// Counts everything that there is to count.
///
/// # Errors
/// The system's, when memory is short.
pub(super) fn all() -> io::Result<Vec<Count>> {
    let rig = filled::<Bare>()?;
    let metadata = rig.metadata_per_page();
    let for_reclaim = filled::<Whole>()?.metadata_per_page() - metadata;
    let before = rig.allocated();
    let user = CountingUser::new(rig.user());
    for len in [1, 64, 4096, 65536] {
        for pos in [0, 4095, 5 << 20] {
            rig.write_as(&user, &WriteOptions::at(pos), len);
        }
    }
    assert!(user.accesses().atomic_copies > 0, "nothing was copied");
    let exact = |number, title, found, bar| Count { number, title, found, must: bar, stretch: bar };
    Ok(vec![
        exact(18, "user touches besides the copy", user.accesses().besides_the_copy() as f64, 0.0),
        Count {
            number: 19,
            title: "bytes of metadata for each cached page",
            found: metadata,
            must: 32.0,
            stretch: 10.0,
        },
        exact(20, "allocations for cached overwrites", (rig.allocated() - before) as f64, 0.0),
        // The injector is another implementor of the trait; this one is what ships.
        exact(
            21,
            "bytes of short-copy injector in a user's address space",
            std::mem::size_of_val(rig.user()) as f64 - std::mem::size_of::<Range<usize>>() as f64,
            0.0,
        ),
        Count {
            number: 24,
            title: "bytes of state for reclaim for each cached page",
            found: for_reclaim,
            must: 2.0,
            stretch: 1.0,
        },
    ])
}

/// A kernel whose memory a file fills, as far as it knows.
fn filled<K: Measured>() -> io::Result<Rig<K>> {
    const FILE: usize = 64 << 20;
    const STEP: usize = 1 << 20;
    let memory = Arc::new(Arena::new(STEP)?);
    let frames = Arena::new(FILE + (16 << 20))?;
    let rig = Rig::over(MemoryStore::volatile(), frames, Layout::Contiguous, memory);
    rig.set_capacity((FILE / PAGE_SIZE) as u64);
    for pos in (0..FILE).step_by(STEP) {
        rig.write(&WriteOptions::at(pos as u64), STEP);
    }
    Ok(rig)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_within_what_a_release_needs() {
        for count in all().expect("memory") {
            assert!(count.found <= count.must, "row {}: {}", count.number, count.found);
        }
    }
}
