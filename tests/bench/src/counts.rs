//! The rows of the scoreboard that count. They are exact, and tests besides.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Range;
use std::sync::Arc;

use faultless_filemap::WriteOptions;
use faultless_host::CountingUser;
use faultless_host::stores::MemoryStore;
use faultless_page::PAGE_SIZE;

use super::instructions;
use super::kernel::{Bare, Layout, Measured, Rig, Whole};
use super::memory::Arena;

/// The rows that count.
pub(super) const ROWS: &[u32] = &[15, 16, 18, 19, 20, 21, 24];

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
    let mut counts = instruction_counts()?;
    counts.extend([
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
    ]);
    Ok(counts)
}

/// Rows 15 and 16, in a build that is optimised, on an architecture that can count.
fn instruction_counts() -> io::Result<Vec<Count>> {
    if cfg!(debug_assertions) {
        return Ok(Vec::new());
    }
    let profiles = match instructions::all() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        profiles => profiles?,
    };
    let net = |call| profiles.iter().find(|p| p.call == call).map_or(0, |p| p.net()) as f64;
    let further = (net("write 64 KiB") - net("write 4 KiB")) / 15.0;
    Ok(vec![
        Count {
            number: 15,
            title: "instructions of a 1 B overwrite, without the copy",
            found: net("write 1 B"),
            must: 250.0,
            stretch: 140.0,
        },
        Count {
            number: 16,
            title: "instructions for each further 4 KiB page",
            found: further,
            must: 25.0,
            stretch: 10.0,
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
