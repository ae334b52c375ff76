//! The line of proof, at the end of a run.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;
use core::sync::atomic::Ordering::Relaxed;

use faultless::page::Count;

use crate::counters::counters;
use crate::options::options;

/// The line of proof.
pub(crate) fn line() -> String {
    let run = counters();
    let cache = run.cache.now();
    let [calls, bytes, faults, short, failed, written, reclaimed, disturbances, lost, violations] =
        [
            &run.calls,
            &run.bytes,
            &run.faults,
            &run.short_copies,
            &run.failed_copies,
            &run.written_back,
            &run.reclaimed,
            &run.disturbances,
            &run.lost,
            &run.violations,
        ]
        .map(|counter| counter.load(Relaxed));
    let removed = cache[Count::Removed];
    let mut line = format!(
        "faultless: {calls} operations, {bytes} bytes, {faults} faults served, {short} short copies, \
         {failed} ended by a bad address, {written} pages written back, {removed} evicted or \
         truncated, {reclaimed} reclaimed, {disturbances} rounds of chaos"
    );
    if options().check_locks {
        line += &format!(", {violations} violations of the lock order");
    }
    if lost > 0 {
        line += &format!(", {lost} DIRTY PAGES LOST");
    }
    line + "\n"
}
