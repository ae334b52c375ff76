//! Scripts that were found to matter: each stands for a kind of loss, and is swept as a pair is.

#![forbid(unsafe_code)]

use faultless_filemap::Strategy;
use faultless_page::Shift;

use super::super::Plant;
use super::pairs::{Extent, Failures, trouble};
use super::script::{
    CELLS, Cached, Crashes, Leaves, Op, Operation, PER_PAGE, Script, Setting, Sources,
};
use super::trouble::Stores;
use faultless_host::stores::Lie;

/// Cells of the first file: two and a half pages.
const SIZE: usize = 2 * PER_PAGE + PER_PAGE / 2;
/// Ranges that a file has room for.
const RANGES: usize = 8;

/// A script with a name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    cached: Cached,
    leaves: Leaves,
    sources: Sources,
    holders: usize,
    failures: Failures,
    threads: &'static [&'static [Operation]],
}

const PLAIN: Case = Case {
    name: "",
    cached: Cached::Dirty,
    leaves: Leaves::One,
    sources: Sources::Resident,
    holders: 0,
    failures: Failures::One,
    threads: &[],
};

/// Makes the file empty, and then one hole.
const EMPTY: Operation = Operation::Truncate { cells: 0 };
const HOLES: Operation = Operation::Truncate { cells: CELLS };
/// Moves all but the first page down in its place.
const FIRST_PAGE_GOES: Operation =
    Operation::Shift { shift: Shift::Collapse, at: 0, cells: PER_PAGE };
/// Reads its second page, and waits for no other.
const READER: &[Operation] = &[Operation::Read { at: PER_PAGE, cells: PER_PAGE }];

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "f5_evict_keeps_a_page_whose_writeback_just_failed",
        threads: &[&[Operation::Flush], &[Operation::Evict]],
        ..PLAIN
    },
    Case {
        name: "f1_an_fsync_believes_no_page_that_it_only_waited_for",
        threads: &[&[Operation::Flush], &[Operation::Fsync]],
        ..PLAIN
    },
    Case {
        name: "f1_an_msync_believes_no_page_that_it_only_waited_for",
        leaves: Leaves::Two,
        threads: &[&[Operation::Flush], &[Operation::SyncPage { page: 0 }]],
        ..PLAIN
    },
    Case {
        name: "f1_an_o_dsync_write_believes_no_page_that_it_only_waited_for",
        cached: Cached::Yes,
        threads: &[&[Operation::SyncWrite { at: 1, cells: 2 }], &[Operation::Flush]],
        ..PLAIN
    },
    Case {
        name: "f2_each_of_two_waiters_is_told",
        threads: &[&[Operation::Flush], &[Operation::Fsync], &[Operation::Fsync]],
        ..PLAIN
    },
    Case {
        name: "f3_a_growing_write_between_its_steps_is_synced_with_its_size",
        leaves: Leaves::Two,
        threads: &[
            &[Operation::Write { at: SIZE - 2, cells: CELLS - SIZE + 2 }],
            &[Operation::Fsync],
        ],
        ..PLAIN
    },
    Case {
        name: "f3_an_append_that_comes_short_is_synced_with_its_size",
        sources: Sources::Swapped,
        threads: &[&[Operation::Append { cells: PER_PAGE }], &[Operation::Fsync]],
        ..PLAIN
    },
    Case {
        name: "f3_an_msync_of_a_growing_write_between_its_steps_covers_its_size",
        sources: Sources::Swapped,
        threads: &[
            &[Operation::Append { cells: PER_PAGE }],
            &[Operation::Store { cell: SIZE }, Operation::SyncPage { page: 2 }],
        ],
        ..PLAIN
    },
    Case {
        name: "f3_a_shrink_between_its_steps_is_synced_with_its_size",
        threads: &[&[Operation::Truncate { cells: PER_PAGE + 3 }], &[Operation::Fsync]],
        ..PLAIN
    },
    Case {
        name: "p2_a_store_between_the_seal_and_the_growth_stays_past_the_end",
        cached: Cached::Yes,
        threads: &[
            &[Operation::Truncate { cells: CELLS - 1 }],
            &[Operation::Store { cell: SIZE + 2 }],
        ],
        ..PLAIN
    },
    Case {
        name: "p2_a_store_between_the_seal_and_a_write_past_the_end_stays_past_the_end",
        cached: Cached::Yes,
        threads: &[
            &[Operation::Write { at: SIZE + 3, cells: 1 }],
            &[Operation::Store { cell: SIZE + 2 }],
        ],
        ..PLAIN
    },
    Case {
        name: "w_a_growing_write_is_one_though_all_ranges_are_taken",
        cached: Cached::Yes,
        sources: Sources::Swapped,
        holders: RANGES,
        failures: Failures::None,
        threads: &[
            &[Operation::Append { cells: PER_PAGE }],
            &[Operation::Write { at: SIZE, cells: 1 }],
        ],
        ..PLAIN
    },
    Case {
        name: "p1_a_page_of_a_hole_is_read_once_all_of_it_is_defined",
        failures: Failures::None,
        threads: &[&[EMPTY, HOLES, Operation::Write { at: PER_PAGE + 2, cells: 2 }], READER],
        ..PLAIN
    },
    Case {
        name: "p1_a_short_copy_into_a_hole_is_read_once_all_of_the_page_is_defined",
        sources: Sources::Swapped,
        failures: Failures::None,
        threads: &[&[EMPTY, HOLES, Operation::Write { at: PER_PAGE + 1, cells: 6 }], READER],
        ..PLAIN
    },
    Case {
        name: "w9_room_that_a_truncation_is_about_to_give_back_is_not_relied_on",
        failures: Failures::None,
        threads: &[
            &[Operation::Truncate { cells: PER_PAGE + 3 }, Operation::Append { cells: 4 }],
            &[Operation::Store { cell: PER_PAGE }],
        ],
        ..PLAIN
    },
    Case {
        name: "w9_what_is_on_its_way_when_a_truncation_comes_lands_before_its_room_goes",
        threads: &[
            &[Operation::SyncPage { page: 1 }],
            &[Operation::Truncate { cells: PER_PAGE + 3 }],
        ],
        ..PLAIN
    },
    Case {
        name: "l3_a_killed_writer_lets_those_behind_it_in",
        leaves: Leaves::Two,
        cached: Cached::Yes,
        sources: Sources::Swapped,
        failures: Failures::None,
        threads: &[
            &[Operation::Write { at: 0, cells: PER_PAGE }],
            &[Operation::Write { at: PER_PAGE - 2, cells: PER_PAGE + 2 }],
            &[Operation::Write { at: 2 * PER_PAGE - 1, cells: 3 }],
            &[Operation::Kill { thread: 1 }],
        ],
        ..PLAIN
    },
    Case {
        name: "w3_a_restarted_write_counts_what_is_in_the_file",
        cached: Cached::Yes,
        failures: Failures::Two,
        threads: &[&[Operation::Write { at: 0, cells: SIZE }], &[Operation::Truncate { cells: 0 }]],
        ..PLAIN
    },
    Case {
        name: "w2_a_write_that_came_short_is_whole_though_the_file_is_cut_and_grows",
        cached: Cached::Yes,
        sources: Sources::Swapped,
        failures: Failures::None,
        threads: &[&[Operation::Write { at: 1, cells: PER_PAGE - 1 }], &[EMPTY, HOLES]],
        ..PLAIN
    },
    Case {
        name: "w2_a_write_past_a_cut_is_whole_though_the_file_grows_again",
        cached: Cached::Yes,
        sources: Sources::Swapped,
        failures: Failures::None,
        threads: &[
            &[Operation::Write { at: PER_PAGE + 4, cells: PER_PAGE }],
            &[Operation::Truncate { cells: 3 }, Operation::Write { at: SIZE, cells: 2 }],
        ],
        ..PLAIN
    },
    Case {
        name: "p6_a_write_brings_no_page_in_while_the_store_moves_it",
        cached: Cached::No,
        threads: &[
            &[Operation::Write { at: PER_PAGE, cells: PER_PAGE }],
            &[FIRST_PAGE_GOES, HOLES],
        ],
        ..PLAIN
    },
    Case {
        name: "w2_a_write_that_came_short_is_whole_beside_one_that_grows_the_file_behind_a_cut",
        cached: Cached::Yes,
        sources: Sources::Swapped,
        failures: Failures::None,
        threads: &[
            &[Operation::Write { at: 4, cells: SIZE - 4 }],
            &[
                Operation::Truncate { cells: 2 * PER_PAGE },
                Operation::Write { at: 5, cells: SIZE - 5 },
            ],
        ],
        ..PLAIN
    },
    Case {
        name: "w2_a_write_of_two_leaves_is_whole_beside_one_that_grows_the_file_behind_a_cut",
        leaves: Leaves::Two,
        cached: Cached::Yes,
        failures: Failures::None,
        threads: &[
            &[Operation::Truncate { cells: 2 * PER_PAGE }],
            &[Operation::Write { at: 4, cells: SIZE - 4 }],
            &[Operation::Load { page: 0 }, Operation::Write { at: 5, cells: SIZE - 5 }],
        ],
        ..PLAIN
    },
];

/// Scripts with a sync, for a machine that stops at each moment of the stores.
pub const CRASHES: &[Case] = &[
    Case {
        name: "a growing write of several steps, and fsync",
        leaves: Leaves::Two,
        threads: &[
            &[Operation::Write { at: SIZE - 2, cells: CELLS - SIZE + 2 }],
            &[Operation::Fsync],
        ],
        failures: Failures::None,
        ..PLAIN
    },
    Case {
        name: "an append that comes short, fsync, and a flusher",
        sources: Sources::Swapped,
        threads: &[
            &[Operation::Append { cells: PER_PAGE }],
            &[Operation::Fsync],
            &[Operation::Flush],
        ],
        failures: Failures::None,
        ..PLAIN
    },
    Case {
        name: "a shrink and growth, and fsync",
        threads: &[
            &[Operation::Truncate { cells: PER_PAGE + 3 }, Operation::Append { cells: PER_PAGE }],
            &[Operation::Fsync],
        ],
        failures: Failures::None,
        ..PLAIN
    },
    Case {
        name: "an overwrite, fsync, and a flusher",
        threads: &[
            &[Operation::Write { at: 4, cells: PER_PAGE }],
            &[Operation::Fsync],
            &[Operation::Flush],
        ],
        ..PLAIN
    },
    Case {
        name: "a write with O_DSYNC, and a shrink",
        cached: Cached::Yes,
        threads: &[
            &[Operation::SyncWrite { at: PER_PAGE, cells: PER_PAGE }],
            &[Operation::Truncate { cells: PER_PAGE + 3 }],
        ],
        failures: Failures::None,
        ..PLAIN
    },
    Case {
        name: "pages that were sent and not waited for, a write, and fsync",
        threads: &[
            &[Operation::Send, Operation::Write { at: 4, cells: PER_PAGE }],
            &[Operation::Fsync],
        ],
        ..PLAIN
    },
    Case {
        name: "pages that were sent and not waited for, a shrink, and fsync",
        threads: &[
            &[Operation::Send, Operation::Fsync],
            &[Operation::Truncate { cells: PER_PAGE + 3 }],
        ],
        failures: Failures::None,
        ..PLAIN
    },
    Case {
        name: "a store and msync, a flusher and evict",
        threads: &[
            &[Operation::Store { cell: 5 }, Operation::SyncPage { page: 0 }],
            &[Operation::Flush, Operation::Evict],
        ],
        ..PLAIN
    },
];

impl Case {
    /// The case of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Plays it with each call of its stores failing in turn, and with none; how many runs that
    /// were.
    ///
    /// # Errors
    /// How it broke the contract.
    pub fn sweep(&self, strategy: Strategy, extent: Extent, plant: Plant) -> Result<u64, String> {
        let lie = match plant {
            Plant::SyncsForgetSize => Lie::DataSyncForgetsSize,
            _ => Lie::None,
        };
        self.play(strategy, extent, plant, Setting { lie, ..Setting::default() })
    }

    /// The same on stores that end their requests later, on a thread of their own.
    ///
    /// # Errors
    /// How it broke the contract.
    pub fn sweep_late(&self, strategy: Strategy, extent: Extent) -> Result<u64, String> {
        let stores = Stores::Late(Vec::new());
        self.play(strategy, extent, Plant::None, Setting { stores, ..Setting::default() })
    }

    /// As [`sweep`](Self::sweep), with the machine stopping at each moment of the stores, which
    /// break their word as `lie` says.
    ///
    /// # Errors
    /// How it broke the contract.
    pub fn crash(&self, strategy: Strategy, extent: Extent, lie: Lie) -> Result<u64, String> {
        self.stop(strategy, extent, lie, Stores::default())
    }

    /// The same on stores that end their requests later.
    ///
    /// # Errors
    /// How it broke the contract.
    pub fn crash_late(&self, strategy: Strategy, extent: Extent, lie: Lie) -> Result<u64, String> {
        self.stop(strategy, extent, lie, Stores::Late(Vec::new()))
    }

    fn stop(
        &self,
        strategy: Strategy,
        extent: Extent,
        lie: Lie,
        stores: Stores,
    ) -> Result<u64, String> {
        let setting = Setting { lie, stores, crashes: Crashes::Everywhere, ..Setting::default() };
        self.play(strategy, extent, Plant::None, setting)
    }

    fn play(
        &self,
        strategy: Strategy,
        extent: Extent,
        plant: Plant,
        setting: Setting,
    ) -> Result<u64, String> {
        let setting = Setting { sources: self.sources, holders: self.holders, ..setting };
        let script = Script { setting, ..self.script() };
        trouble(&script, strategy, extent, self.failures, plant)
            .map_err(|what| format!("{}, {strategy:?}: {what}", self.name))
    }

    fn script(&self) -> Script {
        let mut tags = 1..;
        let mut op =
            |operation: Operation| Op { file: 0, operation, tag: tags.next().unwrap_or(u8::MAX) };
        let threads: Vec<Vec<Op>> = self
            .threads
            .iter()
            .map(|operations| operations.iter().copied().map(&mut op).collect())
            .collect();
        let held =
            (0..self.holders).map(|nth| vec![op(Operation::Write { at: 2 * nth, cells: 2 })]);
        let threads = held.collect::<Vec<_>>().into_iter().chain(threads).collect();
        let setting = Setting::default();
        let (cached, leaves) = (self.cached, self.leaves);
        Script { initial: [SIZE, PER_PAGE], cached, leaves, threads, setting }
    }
}
