//! What a store was told, in order, and what of it is on the disk when the machine stops.
//!
//! A sync covers what had returned before it began. A [`Lie`] covers less.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use faultless_page::{Fallocate, Shift, SyncKind};

use super::super::faulty::Call;
use super::super::image::{Image, SECTOR};
use crate::rng::Rng;

/// How a store breaks its word. Planted, to see that it is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// It does not.
    #[default]
    None,
    /// `sync` returns before its own flush has happened.
    SyncKeepsNothing,
    /// `sync` for data leaves the size out, without which the data cannot be found.
    DataSyncForgetsSize,
    /// Half of a write has arrived when it says that all of it has.
    TornWriteAcknowledged,
    /// What was trimmed is still on the disk.
    TrimForgotten,
    /// A writeback that failed is reported as done.
    SwallowsErrors,
    /// A sync flushes only the first of the writes since the one before.
    SyncKeepsFirstWrite,
}

/// What becomes of that which no completed `sync` covers.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is lost.
    Lost,
    /// It is kept.
    Kept,
    /// Each sector and each change of the size is kept or lost by chance.
    Chance(Rng),
}

/// Where in a call the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it.
    Before,
    /// In the middle: of the sectors that it writes, some have arrived (the first half, or by
    /// chance).
    Within,
}

#[derive(Debug)]
pub(in crate::stores) struct Entry {
    pub(in crate::stores) call: Call,
    pub(in crate::stores) effect: Effect,
    /// How many calls had begun when this one returned, if it did, and without an error.
    pub(in crate::stores) ended: Option<usize>,
}

#[derive(Debug)]
pub(in crate::stores) enum Effect {
    None,
    Write(Vec<Sector>),
    TruncateBlocks(u64),
    /// These bytes are zeros.
    Zero(Range<u64>),
    /// These bytes go, or come, and the file has so many then.
    Shift(Shift, Range<u64>, u64),
    Size(u64),
    Sync(SyncKind, u64),
}

#[derive(Debug)]
pub(in crate::stores) struct Sector {
    pub(in crate::stores) number: u64,
    pub(in crate::stores) bytes: Arc<[u8; SECTOR]>,
    pub(in crate::stores) inside: usize,
}

/// Puts on `image` what is on the disk when the machine stops at call `number`.
pub(in crate::stores) fn replay(
    log: &[Entry],
    lie: Lie,
    number: usize,
    moment: Moment,
    fate: &mut Fate,
    image: &mut Image,
) {
    for (nth, entry) in log[..number].iter().enumerate() {
        let durable = is_durable(log, lie, nth, number);
        entry.effect.apply(image, |_, _| durable || fate.keeps());
    }
    if moment == Moment::Within
        && let Some(entry) = log.get(number)
    {
        entry.effect.apply(image, |nth, of| match fate {
            Fate::Chance(rng) => rng.below(2) == 0,
            Fate::Lost | Fate::Kept => nth < of / 2,
        });
    }
}

/// Whether a sync that completed before call `number` covers entry `nth`.
fn is_durable(log: &[Entry], lie: Lie, nth: usize, number: usize) -> bool {
    let Some(ended) = log[nth].ended else { return false };
    let mut later = log.iter().enumerate().take(number).skip(nth);
    later.any(|(at, sync)| {
        // A sync covers itself: it is what gives a host's file its length.
        let covered = ended <= at || at == nth;
        let complete = sync.ended.is_some_and(|ended| ended <= number);
        covered && complete && keeps(log, lie, nth, at)
    })
}

/// Whether the sync `at` keeps entry `nth`.
fn keeps(log: &[Entry], lie: Lie, nth: usize, at: usize) -> bool {
    let Effect::Sync(kind, _) = log[at].effect else { return false };
    let is_size = matches!(log[nth].effect, Effect::Size(_) | Effect::Sync(..));
    let is_write = |entry: &Entry| matches!(entry.effect, Effect::Write(_));
    let before = log[..nth].iter().rev();
    match lie {
        Lie::SyncKeepsNothing => false,
        Lie::DataSyncForgetsSize => kind == SyncKind::All || !is_size,
        Lie::SyncKeepsFirstWrite => {
            let since = before.take_while(|entry| !matches!(entry.effect, Effect::Sync(..)));
            !is_write(&log[nth]) || since.filter(|entry| is_write(entry)).count() == 0
        }
        Lie::None | Lie::SwallowsErrors | Lie::TornWriteAcknowledged | Lie::TrimForgotten => true,
    }
}

impl Fate {
    fn keeps(&mut self) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::Chance(rng) => rng.below(2) == 0,
        }
    }
}

impl Effect {
    /// What a change of blocks does to the bytes.
    pub(in crate::stores) fn of(change: Fallocate, range: &Range<u64>) -> Self {
        match change {
            Fallocate::Allocate => Self::None,
            Fallocate::PunchHole | Fallocate::ZeroRange => Self::Zero(range.clone()),
        }
    }

    /// Applies the parts that `keeps` says, by their number and how many there are.
    fn apply(&self, image: &mut Image, mut keeps: impl FnMut(usize, usize) -> bool) {
        match self {
            Self::Write(sectors) => {
                for (nth, sector) in sectors.iter().enumerate() {
                    if keeps(nth, sectors.len()) {
                        image.write(sector.number, &sector.bytes, sector.inside);
                    }
                }
            }
            Self::TruncateBlocks(size) if keeps(0, 1) => image.truncate_blocks(*size),
            Self::Zero(range) if keeps(0, 1) => image.zero(range),
            Self::Shift(shift, range, size) if keeps(0, 1) => image.shift(*shift, range, *size),
            Self::Size(size) if keeps(0, 1) => image.record_size(*size),
            Self::Sync(_, size) if keeps(0, 1) => image.set_length(*size),
            Self::None
            | Self::TruncateBlocks(_)
            | Self::Zero(_)
            | Self::Shift(..)
            | Self::Size(_)
            | Self::Sync(..) => {}
        }
    }
}
