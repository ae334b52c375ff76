//! Exception tables against a list: search, sorting in place, and what a trap handler does with the
//! answer.

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use faultless_usercopy::extable::{Entry, Kind, Resume, Table, TooFar, find, is_sorted, sort};

use super::Plant;

/// Entries of a table, at most.
const MOST: usize = 24;

/// An entry that the script asks for: where, relative to the table's begin.
#[derive(Debug, Arbitrary)]
struct Wanted {
    insn: Place,
    fixup: Place,
    kind: u8,
}

/// A distance from the table.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Place {
    Near(i8),
    Close(i16),
    Far(i32),
    /// So far below the furthest that a field can reach.
    Edge(u16),
}

/// What an entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Meaning {
    insn: usize,
    fixup: usize,
    kind: u32,
}

/// How a trap handler is told to go on; whether the fault handling ran.
type Decision = (Option<Resume>, Resolved);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    No,
    Yes,
}

pub(super) fn body(input: &mut Unstructured<'_>, plant: Plant) -> arbitrary::Result<()> {
    let mut table: Vec<Entry> = (0..MOST).map(|_| Entry::default()).collect();
    let mut used = 0;
    while used < MOST && input.ratio(15, 16)? {
        let wanted = Wanted::arbitrary(input)?;
        used += usize::from(set(&mut table, used, &wanted).is_some());
    }
    let table = &mut table[..used];
    let before = meanings(table);
    assert_eq!(is_sorted(table), before.is_sorted_by_key(|entry| entry.insn), "is_sorted");
    check_all(table, &before, plant, input)?;
    match sorted(table, plant) {
        Ok(()) => {
            let mut expected = before;
            expected.sort_unstable();
            let mut after = meanings(table);
            let ordered = after.is_sorted_by_key(|entry| entry.insn);
            after.sort_unstable();
            let changed = after.iter().zip(&expected).find(|(after, before)| after != before);
            assert_eq!(changed, None, "sorting changed the meaning of an entry");
            assert!(ordered, "the table is not sorted");
            check_all(table, &expected, plant, input)
        }
        Err(TooFar) => {
            let reach = i32::MAX as usize - size_of_val::<[Entry]>(table);
            let at = table.as_ptr().addr();
            let far = |target: usize| target.abs_diff(at) > reach;
            let any = before.iter().any(|entry| far(entry.insn) || far(entry.fixup));
            assert!(any, "refused to sort a table in which nothing is far");
            Ok(())
        }
    }
}

/// Aims entry `at`; `None` if its fields cannot reach what is wanted.
fn set(table: &mut [Entry], at: usize, wanted: &Wanted) -> Option<()> {
    let base = table.as_ptr().addr();
    let distance = |place: Place, field: usize| {
        let target = base.wrapping_add_signed(place.distance());
        i32::try_from(target.wrapping_sub(field).cast_signed()).ok()
    };
    let entry = &table[at];
    let insn = distance(wanted.insn, std::ptr::from_ref(&entry.insn).addr())?;
    let fixup = distance(wanted.fixup, std::ptr::from_ref(&entry.fixup).addr())?;
    table[at] = Entry { insn, fixup, kind: u32::from(wanted.kind) % 3 };
    Some(())
}

impl Place {
    fn distance(self) -> isize {
        match self {
            Self::Near(by) => isize::from(by),
            Self::Close(by) => isize::from(by),
            Self::Far(by) => by as isize,
            Self::Edge(by) => i32::MAX as isize - isize::from(by as i16),
        }
    }
}

fn meanings(table: &[Entry]) -> Vec<Meaning> {
    let meaning =
        |entry: &Entry| Meaning { insn: entry.insn(), fixup: entry.fixup(), kind: entry.kind };
    table.iter().map(meaning).collect()
}

fn sorted(table: &mut [Entry], plant: Plant) -> Result<(), TooFar> {
    if plant == Plant::TableUnaimedSort {
        // Each entry keeps its distances, wherever it goes.
        for at in 0..table.len() {
            let least = (at..table.len()).min_by_key(|&other| table[other].insn());
            table.swap(at, least.unwrap_or(at));
        }
        return Ok(());
    }
    sort(table)
}

/// Asks for every instruction, its neighbours, and an address that the script chooses.
fn check_all(
    table: &[Entry],
    model: &[Meaning],
    plant: Plant,
    input: &mut Unstructured<'_>,
) -> arbitrary::Result<()> {
    let any = table.as_ptr().addr().wrapping_add_signed(Place::arbitrary(input)?.distance());
    let around = |entry: &Meaning| [entry.insn.wrapping_sub(1), entry.insn, entry.insn + 1];
    for ip in model.iter().flat_map(around).chain([0, any, usize::MAX]) {
        check(table, model, plant, ip);
    }
    Ok(())
}

fn check(table: &[Entry], model: &[Meaning], plant: Plant, ip: usize) {
    let expected: Vec<&Meaning> = model.iter().filter(|entry| entry.insn == ip).collect();
    let fits = |entry: &Entry| expected.iter().any(|e| e.fixup == entry.fixup());
    let lookup = Table::new(table);
    let found = lookup.find(ip);
    assert_eq!(found.is_some(), !expected.is_empty(), "{ip:#x}: not found, or found by mistake");
    assert!(found.is_none_or(fits), "{ip:#x}: leads to another entry's fix-up");
    if is_sorted(table) {
        let found = match plant {
            Plant::TableMissesLast => find(&table[..table.len().saturating_sub(1)], ip),
            _ => find(table, ip),
        };
        assert_eq!(found.is_some(), !expected.is_empty(), "{ip:#x}: not found by bisection");
    }
    for success in [Resolved::No, Resolved::Yes] {
        let (resume, resolved) = decide(&lookup, ip, success, plant);
        let Some(entry) = found else {
            assert_eq!((resume, resolved), (None, Resolved::No), "{ip:#x}: a bug is resumed");
            continue;
        };
        let ran = if entry.kind() == Kind::Faulting { Resolved::Yes } else { Resolved::No };
        assert_eq!(resolved, ran, "{ip:#x}: fault handling for an atomic access (U3), or none");
        let retried = ran == Resolved::Yes && success == Resolved::Yes;
        let expected = if retried { Resume::Retry } else { Resume::At(entry.fixup()) };
        assert_eq!(resume, Some(expected), "{ip:#x}: goes on at the wrong place");
    }
}

/// What the trap handler is told, where its fault handling would end in `success`.
fn decide(table: &Table<'_>, ip: usize, success: Resolved, plant: Plant) -> Decision {
    let mut resolved = Resolved::No;
    if plant == Plant::TableResolvesAtomic && table.find(ip).is_some() {
        resolved = Resolved::Yes;
    }
    let resume = table.resume(ip, || {
        resolved = Resolved::Yes;
        success == Resolved::Yes
    });
    (resume, resolved)
}
