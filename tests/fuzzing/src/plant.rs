//! The bugs that can be planted, to see that a target finds them.

#![forbid(unsafe_code)]

/// Name of the environment variable that plants a bug.
pub(super) const VARIABLE: &str = "FAULTLESS_PLANT";

macro_rules! plants {
    ($($(#[$meta:meta])* $name:ident = $target:literal, $text:literal, [$($shows:literal),+];)*) => {
        /// A bug to plant, or none.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Plant {
            /// The code that ships.
            #[default]
            None,
            $($(#[$meta])* $name,)*
        }

        impl Plant {
            /// All bugs.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name, also in the environment.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::None => "none",
                    $(Self::$name => $text,)*
                }
            }

            /// The target that has to find it.
            #[must_use]
            pub const fn target(self) -> &'static str {
                match self {
                    Self::None => "",
                    $(Self::$name => $target,)*
                }
            }

            /// Whether a finding that says this is what the bug does: it was found, and no other.
            #[must_use]
            pub fn is_shown_by(self, what: &str) -> bool {
                match self {
                    Self::None => false,
                    $(Self::$name => [$($shows),+].iter().any(|shows| what.contains(shows)),)*
                }
            }
        }
    };
}

plants! {
    /// B2: after a fault inside a block of eight, the copy reports the whole block.
    CopyOverReports = "partial_copy", "copy-over-reports", ["U1"];
    /// B3: the copy zeroes what it could not fill.
    CopyZeroesTail = "partial_copy", "copy-zeroes-tail", ["U1"];
    /// A8: a copy whose first block of sixteen faults copies nothing.
    CopyAllOrNothing = "partial_copy", "copy-all-or-nothing", ["U2", "U1: bytes from"];
    /// A6: only the first page of a range is probed.
    ProbeFirstPage = "partial_copy", "probe-first-page", ["U6"];
    /// D3: the atomic copy resolves faults.
    AtomicFaults = "partial_copy", "atomic-faults", ["U3"];
    /// A cursor that moves on by what was asked, not by what came.
    CursorOverruns = "partial_copy", "cursor-overruns", ["cursor"];
    /// B2 in a write: bytes that never came count as written.
    TailCopyOverReports = "tail", "tail-copy-over-reports", ["W1: wrote", "recycled memory"];
    /// B8: half of what a read transfers never arrives.
    StoreShortTransfer = "tail", "store-short-transfer", ["recycled memory"];
    /// B9: a hole reads as what the device happens to hold.
    StoreStaleHole = "tail", "store-stale-hole", ["a stale block"];
    /// The store says "hole" of a page that it has.
    StoreForgetsData = "tail", "store-forgets-data", ["W2"];
    /// C2: blocks past the end are not taken back.
    StoreKeepsBlocks = "tail", "store-keeps-blocks", ["W9"];
    /// DL1: what strategy A writes is written by 2.6.23, which copies under the page lock.
    OpsLinux2623 = "ops", "ops-linux-2623", ["lock checker"];
    /// S2 of 2.6.24-rc1: the size grows by what was asked.
    OpsGrowsByAsked = "ops", "ops-grows-by-asked", ["W3: size"];
    /// S3 of 2.6.24-rc1: a source that crosses into a bad page is refused as a whole.
    OpsWholeChunkRefused = "ops", "ops-whole-chunk-refused", ["W1: EFAULT"];
    /// S1 of 2.6.24-rc1: an empty first segment is probed in place of the next.
    OpsEmptySegmentLoop = "ops", "ops-empty-segment-loop", ["W6"];
    /// `sync` promises and does nothing.
    StoreSyncsNothing = "ops", "store-syncs-nothing", ["crash", "the store shows"];
    /// DL1-DL3': threads write by 2.6.23.
    ConcurrencyLinux2623 = "concurrency", "concurrency-linux-2623", ["deadlock"];
    /// The same by the pattern that probes first.
    ConcurrencyPrefaultOnly = "concurrency", "concurrency-prefault-only", ["deadlock"];
    /// A wake that comes between the look and the sleep is lost.
    ConcurrencyLostWake = "concurrency", "concurrency-lost-wake", ["deadlock"];
    /// Truncation leaves user mappings of the pages that it takes.
    ConcurrencyNoZap = "concurrency", "concurrency-no-zap", ["P6", "P2: a mapping"];
    /// F1: a sync does not look how the writebacks ended.
    SyncsBelieve = "syncs", "syncs-believe", ["F1", "F2"];
    /// F3: the store is told of the size by the program's next change of it, and not by a sync.
    SyncsForgetSize = "syncs", "syncs-forget-size", ["F3"];
    /// F5: evict asks first whether a page is dirty, and then whether it is on its way.
    EvictAsksTwice = "syncs", "evict-asks-twice", ["no order", "F1"];
    /// An append writes its first cell again.
    WritesTwice = "syncs", "writes-twice", ["no order"];
    /// A page is lost when the tree grows by a level.
    IndexLosesOnRaise = "index", "index-loses-on-raise", ["lost"];
    /// A run that reaches the last slot of a leaf ends one page early.
    IndexShortRun = "index", "index-short-run", ["find"];
    /// Pruning takes leaves that still have a dirty page.
    IndexPrunesDirty = "index", "index-prunes-dirty", ["lost"];
    /// The binary search never looks at the last entry.
    TableMissesLast = "extable", "table-misses-last", ["not found"];
    /// Sorting exchanges relative fields without aiming them anew.
    TableUnaimedSort = "extable", "table-unaimed-sort", ["meaning"];
    /// The ordinary fault handling runs for an atomic access.
    TableResolvesAtomic = "extable", "table-resolves-atomic", ["U3"];
}

impl Plant {
    /// The bug of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|plant| plant.name() == name)
    }

    /// The bug that `FAULTLESS_PLANT` names.
    ///
    /// # Panics
    /// If it names none.
    pub(super) fn from_environment() -> Self {
        match std::env::var(VARIABLE) {
            Err(_) => Self::None,
            Ok(name) if name.is_empty() || name == "none" => Self::None,
            Ok(name) => Self::find(&name).expect("FAULTLESS_PLANT names a bug"),
        }
    }
}
