//! A script, played once.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use faultless_filemap::Strategy;

use super::super::Plant;
use super::super::reuse::reuse;
use super::scheduler;
use super::script::{Reclaims, Script, Setting};
use super::world::{FRAMES, LITTLE_FRAMES, World};
use faultless_host::memory::{FrameOrder, PhysicalMemory, Poisoning};

thread_local! {
    static MEMORY: Cell<Option<Arc<PhysicalMemory>>> = const { Cell::new(None) };
    /// A small one.
    static LITTLE: Cell<Option<Arc<PhysicalMemory>>> = const { Cell::new(None) };
}

/// How a run went.
pub(super) struct Played {
    /// Decisions that were used.
    pub(super) used: usize,
    /// Calls of the stores that could have failed.
    pub(super) calls: u32,
}

/// Plays a script with the first thread for `first` points, then as `decisions` say.
pub(super) fn play(
    script: Script,
    strategy: Strategy,
    plant: Plant,
    first: u32,
    decisions: &[u8],
) -> Played {
    let (place, frames) = match script.setting.reclaims {
        Reclaims::Short => (&LITTLE, LITTLE_FRAMES),
        Reclaims::Never | Reclaims::Always => (&MEMORY, FRAMES),
    };
    let make = || PhysicalMemory::new(frames, FrameOrder::Contiguous, Poisoning::Checked);
    reuse(place, make, |memory| {
        let world = Rc::new(World::new(memory, script, strategy, plant));
        let threads = (0..world.script.threads.len()).map(|thread| -> scheduler::Work {
            let world = Rc::clone(&world);
            Box::new(move || world.thread(thread))
        });
        let threads = threads.chain(world.server());
        let Setting { wakes, holders, .. } = world.script.setting;
        let start = if holders == 0 { first } else { u32::MAX };
        world.first.set(first);
        let order = scheduler::Order { first: start, decisions, wakes, favour: None };
        let used = world.run(threads.collect(), order);
        let calls = world.troubles.calls();
        world.return_frames();
        world.check();
        world.space.tear_down();
        let (cache, books) = (Arc::clone(&world.cache), world.books);
        drop(world);
        assert_eq!(cache.metadata_bytes(), books, "E23: nodes are kept without a file");
        drop(cache);
        assert_eq!(memory.in_use(), 0, "frames are still held (P5)");
        Played { used, calls }
    })
}
