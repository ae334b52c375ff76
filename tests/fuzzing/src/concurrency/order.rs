//! Whether what is left can be the outcome of the operations one after another.

#![forbid(unsafe_code)]

use faultless_page::{Fallocate, Shift};

use super::script::{CELLS, FileNumber, Op, Operation, PER_PAGE, Script};

/// What the cells of file 0 hold at first; those of file 1 hold one more.
pub(super) const INITIAL: u8 = 0x50;
/// What the store holds of the cells of file 0 if the cache is newer at first; of file 1 one more.
pub(super) const BEFORE: u8 = 0x40;

/// A file in cells: the values of those that it has.
pub(super) type Cells = Vec<u8>;

/// The file at the begin.
pub(super) fn initial(script: &Script, file: FileNumber) -> Cells {
    vec![INITIAL + file as u8; script.initial[file]]
}

/// Whether what becomes of the file depends on what was seen when: then no order explains it here.
pub(super) fn depends_on_order(script: &Script, file: FileNumber) -> bool {
    let copies = |op: &&Op| op.file == file && matches!(op.operation, Operation::Copy { .. });
    script.ops().any(|op| copies(&op))
}

/// Whether cells of the file move.
pub(super) fn moves(script: &Script, file: FileNumber) -> bool {
    script.ops().any(|op| op.file == file && matches!(op.operation, Operation::Shift { .. }))
}

/// The values that a cell of the file may ever show; 0 among them if it may be a hole or past the
/// end.
pub(super) fn values(script: &Script, file: FileNumber, cell: usize) -> Vec<u8> {
    if depends_on_order(script, file) {
        let tags = script.ops().map(|op| op.tag);
        return tags.chain([0, INITIAL, INITIAL + 1]).collect();
    }
    if moves(script, file) {
        let tags = script.ops().filter(|op| op.file == file).map(|op| op.tag);
        return tags.chain([0, INITIAL + file as u8]).collect();
    }
    let mut values = Vec::new();
    if cell < script.initial[file] {
        values.push(INITIAL + file as u8);
    } else {
        values.push(0);
    }
    for op in script.ops().filter(|op| op.file == file) {
        match op.operation {
            Operation::Write { at, cells }
            | Operation::WriteBehind { at, cells }
            | Operation::SyncWrite { at, cells }
                if (at..at + cells).contains(&cell) =>
            {
                values.push(op.tag);
            }
            Operation::Store { cell: stored } if stored == cell => values.push(op.tag),
            Operation::Append { .. } => values.push(op.tag),
            Operation::Truncate { .. } => values.push(0),
            Operation::Blocks { at, cells, .. } if (at..at + cells).contains(&cell) => {
                values.push(0);
            }
            _ => {}
        }
    }
    values
}

/// Whether some order of the operations on the file, each thread's in its own, leaves just `found`.
/// `landed` says of each tag how many cells of the operation had an effect, if not all.
///
/// Writes, truncations and changes of blocks come one after another: they hold the inode lock. A
/// store through a mapping takes no lock, so it may also come between two cells of a write or of a
/// hole.
pub(super) fn explains(
    script: &Script,
    file: FileNumber,
    found: &[u8],
    landed: &dyn Fn(u8) -> Option<usize>,
) -> bool {
    let changes = |op: &Op| {
        if op.file != file {
            return None;
        }
        let operation = match op.operation {
            Operation::Write { at, cells }
            | Operation::WriteBehind { at, cells }
            | Operation::SyncWrite { at, cells } => {
                Operation::Write { at, cells: landed(op.tag).unwrap_or(cells) }
            }
            Operation::Append { cells } => {
                Operation::Append { cells: landed(op.tag).unwrap_or(cells) }
            }
            Operation::Blocks { change: Fallocate::Allocate, .. } => return None,
            Operation::Store { .. }
            | Operation::Truncate { .. }
            | Operation::Blocks { .. }
            | Operation::Shift { .. } => match landed(op.tag) {
                Some(0) => return None,
                _ => op.operation,
            },
            _ => return None,
        };
        let nothing =
            matches!(operation, Operation::Write { cells: 0, .. } | Operation::Append { cells: 0 });
        (!nothing).then_some(Op { operation, ..*op })
    };
    let mut threads: Vec<Vec<Op>> =
        script.threads.iter().map(|ops| ops.iter().filter_map(changes).collect()).collect();
    let mut cells = initial(script, file);
    // Nothing else writes to the cells of those that hold ranges: their order does not matter.
    for op in threads.drain(..script.setting.holders).flatten() {
        apply(op.operation, op.tag, &mut cells);
    }
    // Nearly always whole operations explain it, and they are quick to try.
    [Grain::Whole, Grain::Cells].into_iter().any(|grain| {
        let mut search = Search { threads: &threads, next: vec![0; threads.len()], found, grain };
        search.from(&cells, None)
    })
}

/// What stores may come between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// Operations.
    Whole,
    /// Cells of writes, too.
    Cells,
}

/// A search through the orders.
struct Search<'s> {
    threads: &'s [Vec<Op>],
    /// The next operation of each thread.
    next: Vec<usize>,
    found: &'s [u8],
    grain: Grain,
}

/// A write of which not all cells have been written.
#[derive(Clone, Copy)]
struct Rest {
    at: usize,
    end: usize,
    tag: u8,
}

impl Search<'_> {
    /// Whether what is found can come of `cells` by what is yet to be done.
    fn from(&mut self, cells: &Cells, rest: Option<Rest>) -> bool {
        if let Some(rest) = rest
            && self.piece(cells, rest)
        {
            return true;
        }
        let mut at_end = rest.is_none();
        for thread in 0..self.threads.len() {
            let Some(op) = self.threads[thread].get(self.next[thread]).copied() else { continue };
            at_end = false;
            if rest.is_some() && !matches!(op.operation, Operation::Store { .. }) {
                continue;
            }
            self.next[thread] += 1;
            let explained = self.after(op, cells, rest);
            self.next[thread] -= 1;
            if explained {
                return true;
            }
        }
        at_end && cells == self.found
    }

    /// The same when `op` comes next.
    fn after(&mut self, op: Op, cells: &Cells, rest: Option<Rest>) -> bool {
        let begun = match op.operation {
            Operation::Write { at, cells } => Some((at, cells)),
            Operation::Append { cells: number } => Some((cells.len(), number)),
            _ => None,
        };
        if let (Some((at, number)), Grain::Cells) = (begun, self.grain) {
            return self.from(cells, Some(Rest { at, end: at + number, tag: op.tag }));
        }
        if let (Operation::Blocks { at, cells: number, .. }, Grain::Cells) =
            (op.operation, self.grain)
            && at < cells.len()
        {
            let end = cells.len().min(at + number);
            return self.from(cells, Some(Rest { at, end, tag: 0 }));
        }
        let mut after = cells.clone();
        apply(op.operation, op.tag, &mut after);
        self.from(&after, rest)
    }

    /// The same when the next piece of a write comes next: the cells up to one that a thread stores
    /// to, or that one.
    fn piece(&mut self, cells: &Cells, rest: Rest) -> bool {
        let Rest { at, end, tag } = rest;
        let stored = |cell: &usize| {
            let mut ops = self.threads.iter().flatten();
            ops.any(
                |op| matches!(op.operation, Operation::Store { cell: stored } if stored == *cell),
            )
        };
        let until = (at + 1..end).find(|cell| stored(&(cell - 1)) || stored(cell)).unwrap_or(end);
        let mut after = cells.clone();
        apply(Operation::Write { at, cells: until - at }, tag, &mut after);
        self.from(&after, (until < end).then_some(Rest { at: until, end, tag }))
    }
}

/// What an operation does to the file when it is alone.
fn apply(operation: Operation, tag: u8, cells: &mut Cells) {
    let mut put = |at: usize, number: usize| {
        // Scripts do not grow a file beyond what they can look at, but by appending.
        let end = at + number;
        if cells.len() < end {
            cells.resize(end, 0);
        }
        cells[at..end].fill(tag);
    };
    match operation {
        Operation::Write { at, cells } => put(at, cells),
        Operation::Append { cells: number } => {
            let end = cells.len();
            cells.resize(end + number, tag);
        }
        Operation::Truncate { cells: number } => cells.resize(number, 0),
        Operation::Store { cell } if cell < cells.len() => cells[cell] = tag,
        Operation::Blocks { at, cells: number, .. } if at < cells.len() => {
            let end = cells.len().min(at + number);
            cells[at..end].fill(0);
        }
        Operation::Shift { shift: Shift::Collapse, at, cells: number }
            if at + number < cells.len() =>
        {
            drop(cells.drain(at..at + number));
        }
        Operation::Shift { shift: Shift::Insert, at, cells: number } if at < cells.len() => {
            drop(cells.splice(at..at, core::iter::repeat_n(0, number)));
        }
        _ => {}
    }
    debug_assert!(cells.len() <= CELLS + 9 * PER_PAGE, "a file of many cells");
}

#[cfg(test)]
mod tests {
    use super::super::script::{Cached, Leaves, Setting};
    use super::*;

    const TWO_PAGES: Operation = Operation::Write { at: 0, cells: 2 * PER_PAGE };

    /// Whether two threads that do this may leave `found`.
    fn explained(operations: [&[Operation]; 2], found: &[u8]) -> bool {
        let mut tag = 0;
        let threads = operations.map(|operations| {
            let op = |operation: &Operation| {
                tag += 1;
                Op { file: 0, operation: *operation, tag }
            };
            operations.iter().map(op).collect()
        });
        let script = Script {
            initial: [2 * PER_PAGE; 2],
            cached: Cached::Yes,
            leaves: Leaves::One,
            threads: threads.into(),
            setting: Setting::default(),
        };
        explains(&script, 0, found, &|_| None)
    }

    #[test]
    fn a_store_may_come_between_the_pages_of_a_write() {
        let stores = [Operation::Store { cell: 4 }, Operation::Store { cell: 15 }];
        let mut found = [1; 2 * PER_PAGE];
        found[4] = 2;
        assert!(explained([&[TWO_PAGES], &stores], &found));
        // What a thread stores after that is not lost to the page before.
        let mut lost = [1; 2 * PER_PAGE];
        lost[15] = 2;
        assert!(!explained([&[TWO_PAGES], &[stores[1], stores[0]]], &lost));
        // What was there before was not written.
        found[5] = INITIAL;
        assert!(!explained([&[TWO_PAGES], &stores], &found));
    }

    #[test]
    fn two_writes_do_not_mix_and_a_truncation_does_not_come_between() {
        let (mut mixed, mut short) = ([1; 2 * PER_PAGE], [1; 2 * PER_PAGE]);
        mixed[PER_PAGE..].fill(2);
        short[..PER_PAGE].fill(0);
        assert!(!explained([&[TWO_PAGES], &[TWO_PAGES]], &mixed));
        assert!(!explained([&[TWO_PAGES], &[Operation::Truncate { cells: 0 }]], &short));
        assert!(explained([&[TWO_PAGES], &[TWO_PAGES]], &[2; 2 * PER_PAGE]));
    }
}
