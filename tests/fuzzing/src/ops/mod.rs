//! Sequences of operations, with faults at any byte, against
//! [`Contents`](super::contents::Contents): the same sequence by both strategies, each on a file
//! and a store of its own, and by both with the same results.
//!
//! Writes have several segments, good, bad, empty and mapped from the file itself; the store fails,
//! reorders and crashes; memory runs out. The lock checker watches.

#![forbid(unsafe_code)]

mod blocks;
mod durable;
mod later;
mod request;
mod script;
mod subject;

use std::cell::Cell;

use arbitrary::{Arbitrary, Unstructured};
use faultless_filemap::Strategy;
use faultless_page::PAGE_SIZE;

use self::script::{BYTES, Blocks, Later, Step};
use self::subject::Subject;
use super::Plant;
use super::reuse::reuse;
use super::show::show;
use faultless_controls::{Control, Defect, Defects};
use faultless_host::mm_scripted::ScriptedMmu;
use faultless_host::{Machine, MachineConfig};

/// Where the pages of a script begin, in pages: at the begin of the file, or so that they lie in
/// two leaves.
const ORIGINS: [usize; 2] = [0, 62];
const STEPS: usize = 24;

thread_local! {
    static MACHINE: Cell<Option<Machine<ScriptedMmu>>> = const { Cell::new(None) };
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let make = || Machine::build(MachineConfig::new().frames(256).space_pages(subject::SPACE));
    reuse(&MACHINE, make, |machine| play(machine, input, plant))
}

/// The old write path that is planted, if one is.
const fn control(plant: Plant) -> Option<Control> {
    match plant {
        Plant::OpsLinux2623 => Some(Control::Linux2623),
        Plant::OpsGrowsByAsked => Some(rc1(Defect::GrowsByAsked)),
        Plant::OpsWholeChunkRefused => Some(rc1(Defect::WholeChunkRefused)),
        Plant::OpsEmptySegmentLoop => Some(rc1(Defect::EmptySegmentLoop)),
        _ => None,
    }
}

const fn rc1(defect: Defect) -> Control {
    Control::Linux2624Rc1(Defects::only(defect))
}

fn play(
    machine: &Machine<ScriptedMmu>,
    input: &mut Unstructured<'_>,
    plant: Plant,
) -> arbitrary::Result<()> {
    machine.check().adopt();
    machine.check().clear();
    machine.memory().stop_reclaiming();
    // The last byte of the input, which nothing else depends on.
    let last = input.peek_bytes(input.len()).and_then(<[u8]>::last).map_or(0, |last| last >> 5);
    let (reclaims, has_blocks, has_later) = (last == 7, last == 4, last == 6);
    let origin = ORIGINS[usize::from(input.arbitrary::<bool>()?)] * PAGE_SIZE;
    let block = 512 << input.int_in_range(0..=3)?;
    // As a rule there is room for everything.
    let all = BYTES / block;
    let capacity = if input.ratio(1, 4)? { input.int_in_range(0..=all)? } else { all };
    show(format_args!(
        "from byte {origin}, blocks of {block}, room for {capacity}, reclaims: {reclaims}"
    ));
    let shape = subject::Shape { origin, block, capacity, plant, control: control(plant) };
    let mut a = Subject::new(machine, shape, Strategy::PrepareCommit);
    let mut b =
        Subject::new(machine, subject::Shape { control: None, ..shape }, Strategy::BeginEnd);
    if reclaims {
        machine.reclaim_above(0);
    }
    for number in 0..STEPS {
        if input.is_empty() {
            break;
        }
        // Inputs without such steps stand for what they did before there were any.
        let later = if has_blocks && input.ratio(1, 3)? {
            Some(Later::Blocks(Blocks::arbitrary(input)?))
        } else if has_later && input.ratio(1, 2)? {
            Some(Later::arbitrary(input)?)
        } else {
            None
        };
        if let Some(later) = later {
            show(format_args!("{number:>2} {later:?}"));
            let alike = a.end() == b.end() && a.is_exact() && b.is_exact();
            let answers = [a.later(&later, number), b.later(&later, number)];
            assert!(!alike || answers[0] == answers[1], "strategies differ: {answers:?}");
            continue;
        }
        let step = Step::arbitrary(input)?;
        show(format_args!("{number:>2} {step:?}"));
        // Where something failed before, the two files may have come to differ; where memory is
        // reclaimed, a read that is made to fail may meet one of them only.
        let alike = !reclaims && a.end() == b.end() && a.is_exact() && b.is_exact();
        let answers = [a.step(&step, number), b.step(&step, number)];
        show(format_args!("   {answers:?}"));
        if alike {
            assert_eq!(answers[0], answers[1], "strategies A and B differ: {step:?}");
        }
    }
    a.finish();
    b.finish();
    machine.memory().stop_reclaiming();
    let nodes = machine.cache().metadata_bytes() / PAGE_SIZE;
    assert_eq!(machine.memory().in_use(), nodes, "frames are still held (P5)");
    let reports = machine.check().take_reports();
    assert!(reports.is_empty(), "lock checker: {reports:?}");
    Ok(())
}
