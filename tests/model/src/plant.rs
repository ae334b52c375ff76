//! The bugs that can be planted through the seam. A check that does not find them is broken.
//!
//! One per process, chosen before the first model runs. The families ask [`is`] at each operation
//! and recognise the word by what is done to it: the orderings that the code under test uses are
//! particular enough.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Plant {
    /// The code as it ships.
    Nothing,
    /// Sequentially consistent operations are acquire and release only.
    WeakSeqCst,
    /// Unlocking does not look for waiters.
    NoLook,
    /// Waiters are forgotten after they were woken instead of before.
    ClearAfterWake,
    /// Newcomers do not see who waits.
    Barge,
    /// A waiter does not see that its leaf has changed hands.
    BlindWaiter,
    /// A wake-up gets lost.
    LostWake,
    /// Marks are set without release order.
    RelaxedPublish,
    /// Removals, and truncations, are not counted.
    Uncounted,
    /// A retired leaf keeps its owner.
    KeptIdentity,
    /// A grace period waits for nobody.
    NoGrace,
    /// A grace period waits only for the phase that readers are turned away from.
    OnePhase,
    /// Stores are without release order, that of the size among them.
    RelaxedSize,
    /// A writer does not see who holds a range.
    BlindRange,
    /// Writeback cleans the page after the store has it, instead of before.
    LateClean,
    /// Fences do nothing.
    WeakFences,
    /// 2.6.23: a faulting copy under the page lock.
    FaultUnderLock,
    /// Prefault, then a faulting copy under the page lock.
    PrefaultOnly,
    /// Truncation does not remove user mappings.
    NoUnmap,
    /// Writeback does not write-protect.
    NoProtect,
    /// Room past the end is not given back.
    KeptRoom,
    /// A store whose writeback failed says that it did not.
    SwallowedFailure,
    /// The drop of a mapping does not see its requests.
    Unawaited,
    /// A failed writeback is recorded after its pages have stopped being under writeback.
    LateRecord,
}

/// All of them, with the names of the command line.
pub const ALL: [(Plant, &str); 24] = [
    (Plant::Nothing, "nothing"),
    (Plant::WeakSeqCst, "weak-seqcst"),
    (Plant::NoLook, "no-look"),
    (Plant::ClearAfterWake, "clear-after-wake"),
    (Plant::Barge, "barge"),
    (Plant::BlindWaiter, "blind-waiter"),
    (Plant::LostWake, "lost-wake"),
    (Plant::RelaxedPublish, "relaxed-publish"),
    (Plant::Uncounted, "uncounted"),
    (Plant::KeptIdentity, "kept-identity"),
    (Plant::NoGrace, "no-grace"),
    (Plant::OnePhase, "one-phase"),
    (Plant::RelaxedSize, "relaxed-size"),
    (Plant::BlindRange, "blind-range"),
    (Plant::LateClean, "late-clean"),
    (Plant::WeakFences, "weak-fences"),
    (Plant::FaultUnderLock, "fault-under-lock"),
    (Plant::PrefaultOnly, "prefault-only"),
    (Plant::NoUnmap, "no-unmap"),
    (Plant::NoProtect, "no-protect"),
    (Plant::KeptRoom, "kept-room"),
    (Plant::SwallowedFailure, "swallowed-failure"),
    (Plant::Unawaited, "unawaited"),
    (Plant::LateRecord, "late-record"),
];

static PLANTED: AtomicU8 = AtomicU8::new(Plant::Nothing as u8);

impl Plant {
    /// The plant with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, known)| *known == name).map(|(plant, _)| *plant)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(plant, _)| *plant == self).map_or("?", |(_, name)| name)
    }

    /// Plants it, for the rest of the process.
    pub fn plant(self) {
        PLANTED.store(self as u8, Ordering::Relaxed);
    }
}

/// Whether `plant` is what is planted.
#[must_use]
pub fn is(plant: Plant) -> bool {
    PLANTED.load(Ordering::Relaxed) == plant as u8
}
