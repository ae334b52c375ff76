//! Two or three threads on two files, interrupted where the input says, in one address space.
//!
//! Whatever the interleaving: each thread comes to an end; every byte that is seen is one that was
//! there or is written (W5); what is left is what some order of the writes, stores and truncations
//! leaves; read, mapping and store agree on it; and all memory comes back, and so does all room
//! past the ends. A sync that says Ok has made durable what it owes (F1–F3).
//!
//! The stores may take their time inside their calls, and these may fail: see [`trouble`]. Then
//! writes may come short and reads fail, but what landed is what was said, and no byte is lost:
//! once nothing fails any more, a sync makes all of it durable.
//!
//! A thread may get a fatal signal. Its operations then end early, what they have waited for is not
//! lost, and the others go on (L3).

mod cases;
mod check;
mod crashes;
#[cfg(test)]
mod hangs;
mod kernel;
mod late;
mod late_pairs;
mod ledger;
mod liveness;
mod look;
mod operations;
mod order;
mod owed;
mod pairs;
mod play;
mod reclaim;
mod scheduler;
mod script;
mod trouble;
mod watchdog;
mod world;

use arbitrary::Unstructured;

pub use self::cases::{CASES, CRASHES, Case};
pub use self::late_pairs::late_pairs;
pub use self::liveness::{Longest, late_rivals, rivals};
pub use self::pairs::{
    Extent, killed_pairs, late_killed_pairs, pairs, reclaiming_pairs, troubled_pairs, twice,
};
use self::play::play;
pub use self::script::Cached;
use self::script::{Mode, Script};
use super::plant::Plant;
use super::show::show;

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let mode = Mode::read(input)?;
    let strategy = mode.strategy();
    let script = Script::read(input, mode)?;
    let decisions = input.bytes(input.len())?;
    show(format_args!("{strategy:?} {script:#?} {decisions:?}"));
    let first = decisions.first().map_or(u32::MAX, |first| scheduler::points(*first));
    play(script, strategy, plant, first, decisions.get(1..).unwrap_or_default());
    Ok(())
}
