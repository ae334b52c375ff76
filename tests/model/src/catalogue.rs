//! All models by name, with their bounds and the bugs that each must find.
#![forbid(unsafe_code)]

use crate::on_loom::explore::Run;
use crate::on_loom::{epoch, index, locks, marks, reclaim, requests, rwlock, writes};
use crate::on_shuttle::{failing, scenarios};
use crate::plant::Plant::{
    self, Barge, BlindRange, BlindWaiter, ClearAfterWake, FaultUnderLock, KeptIdentity, KeptRoom,
    LateClean, LateRecord, LostWake, NoGrace, NoLook, NoProtect, NoUnmap, OnePhase, PrefaultOnly,
    RelaxedPublish, RelaxedSize, SwallowedFailure, Unawaited, Uncounted, WeakFences, WeakSeqCst,
};

/// A model for loom.
#[derive(Clone, Copy, Debug)]
pub struct LoomModel {
    /// Its name: what it shows.
    pub name: &'static str,
    /// Builds one execution.
    pub set_up: fn() -> Run,
    /// Most preemptions in an execution, in the everyday run.
    pub bound: usize,
    /// In the long run.
    pub long: usize,
    /// Bugs that it must find.
    pub twins: &'static [Plant],
}

macro_rules! loom_models {
    ($($set_up:path, $bound:literal, $long:literal, [$($twin:expr),*];)*) => {
        &[$(LoomModel {
            name: stringify!($set_up),
            set_up: $set_up,
            bound: $bound,
            long: $long,
            twins: &[$($twin),*],
        }),*]
    };
}

/// The models for loom.
pub const LOOM: &[LoomModel] = loom_models! {
    locks::one_page, 4, 6, [WeakSeqCst, NoLook, LostWake];
    locks::one_page_three_threads, 2, 3, [LostWake];
    locks::overlapping_runs, 2, 3, [WeakSeqCst, LostWake];
    locks::overtaking, 2, 4, [Barge];
    locks::killed_waiter, 2, 3, [LostWake];
    locks::killed_beside_unlock, 2, 3, [LostWake];
    locks::stale_waiter, 2, 3, [BlindWaiter];
    locks::sleep_mutex, 2, 3, [LostWake];
    locks::sleep_mutex_killed, 2, 3, [LostWake];
    rwlock::readers_and_writer, 2, 3, [LostWake];
    rwlock::writers_and_reader, 2, 3, [LostWake];
    rwlock::readers_and_killed_writer, 2, 3, [LostWake];
    rwlock::writer_before_later_reader, 2, 3, [LostWake];
    rwlock::killed_writer_and_reader_behind, 2, 3, [LostWake];
    epoch::two_removals, 4, 6, [OnePhase, NoGrace, WeakSeqCst];
    epoch::two_readers, 2, 3, [LostWake];
    epoch::two_removers, 2, 3, [NoGrace];
    index::recycled_frame, 3, 4, [NoGrace, WeakSeqCst];
    index::replaced_page, 3, 4, [Uncounted];
    index::migrated_page, 3, 4, [NoGrace, WeakSeqCst];
    index::page_without_bytes, 3, 4, [Uncounted];
    index::merged_pages, 3, 4, [NoGrace];
    index::insertion_into_one_leaf, 2, 3, [RelaxedPublish];
    index::insertion_into_two_leaves, 2, 3, [RelaxedPublish];
    index::stale_locker, 3, 4, [KeptIdentity];
    index::stale_reader, 3, 4, [NoGrace];
    index::recent_locker, 3, 4, [KeptIdentity];
    index::recent_reader, 3, 4, [NoGrace];
    marks::uptodate, 5, 8, [RelaxedPublish];
    marks::write_during_writeback, 4, 6, [LateClean];
    marks::waiting_for_writeback, 2, 3, [LostWake, WeakSeqCst];
    marks::two_writebacks, 2, 3, [ClearAfterWake];
    marks::growing_size, 5, 8, [RelaxedSize];
    reclaim::hit_and_take, 2, 3, [NoGrace, LostWake];
    reclaim::insertion_and_search, 2, 3, [];
    reclaim::removal_and_take, 2, 3, [LostWake];
    reclaim::two_steps, 2, 3, [LostWake];
    reclaim::last_drop_and_search, 2, 3, [];
    reclaim::last_drop_and_first_page, 2, 3, [];
    requests::read_and_waiter, 3, 4, [LostWake, NoLook];
    requests::read_and_readers, 3, 4, [RelaxedPublish];
    requests::read_waiter_and_neighbour, 2, 3, [LostWake, WeakSeqCst];
    requests::read_and_prune, 2, 3, [LostWake];
    requests::read_and_drop, 4, 6, [Unawaited, LostWake];
    requests::read_and_waiter_that_drops, 3, 5, [Unawaited, LostWake];
    requests::writeback_and_drop, 4, 6, [Unawaited, LostWake];
    requests::parts_and_drop, 2, 3, [Unawaited, LostWake];
    requests::failure_and_sync, 3, 4, [LateRecord];
    requests::failure_and_waiter, 3, 4, [LateRecord, LostWake];
    writes::two_steps_and_one, 2, 4, [BlindRange];
    writes::two_steps_each, 2, 3, [];
    writes::truncate_and_read, 3, 4, [Uncounted];
    writes::truncate_to_nothing_and_read, 2, 3, [NoGrace];
    writes::truncate_to_nothing_and_fill, 2, 3, [WeakFences];
    writes::truncate_to_half_and_fill, 2, 3, [];
    writes::truncate_and_overwrite, 3, 4, [];
    writes::truncate_and_overwrite_uncached, 2, 3, [WeakFences];
    writes::truncate_to_nothing_grow_and_overwrite, 2, 3, [];
    writes::truncate_to_two_grow_and_overwrite, 2, 3, [];
    writes::truncate_overwrite_and_read, 1, 2, [Uncounted];
    writes::grow_and_read, 4, 6, [RelaxedSize];
    writes::hole_and_read, 4, 6, [RelaxedSize];
};

/// A model for shuttle.
#[derive(Clone, Copy, Debug)]
pub struct ShuttleModel {
    /// Its name.
    pub name: &'static str,
    /// One execution.
    pub scenario: fn(),
    /// Whether all its schedules are searched that switch threads at page locks, inode locks, M and
    /// waits.
    pub extent: Extent,
    /// Bugs that it must find.
    pub twins: &'static [Plant],
}

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Random and PCT schedules.
    Sampled,
    /// Those, and depth first through all of them, as far as the budget goes.
    Exhaustive,
}

macro_rules! shuttle_models {
    ($($scenario:path, $extent:ident, [$($twin:expr),*];)*) => {
        &[$(ShuttleModel {
            name: stringify!($scenario),
            scenario: $scenario,
            extent: Extent::$extent,
            twins: &[$($twin),*],
        }),*]
    };
}

/// The models for shuttle.
pub const SHUTTLE: &[ShuttleModel] = shuttle_models! {
    scenarios::own_page, Exhaustive, [FaultUnderLock];
    scenarios::two_files, Sampled, [FaultUnderLock];
    scenarios::write_and_mlock, Exhaustive, [FaultUnderLock];
    scenarios::stolen_source, Sampled, [FaultUnderLock, PrefaultOnly];
    scenarios::queued_writer, Sampled, [FaultUnderLock];
    scenarios::unmapped_source, Exhaustive, [];
    scenarios::truncate_and_fault, Exhaustive, [NoUnmap];
    scenarios::truncate_and_fill, Sampled, [];
    scenarios::truncate_and_overwrite, Sampled, [];
    scenarios::truncate_and_fail, Sampled, [KeptRoom];
    scenarios::store_and_writeback, Exhaustive, [NoProtect];
    scenarios::everything, Sampled, [];
    failing::f1_flush_and_two_syncs, Sampled, [SwallowedFailure];
    failing::f1_write_through_and_flush, Sampled, [SwallowedFailure];
    failing::f5_flush_and_evict, Sampled, [SwallowedFailure];
};

/// The model for loom with this name.
#[must_use]
pub fn loom_model(name: &str) -> Option<&'static LoomModel> {
    LOOM.iter().find(|model| model.name == name)
}

/// The model for shuttle with this name.
#[must_use]
pub fn shuttle_model(name: &str) -> Option<&'static ShuttleModel> {
    SHUTTLE.iter().find(|model| model.name == name)
}
