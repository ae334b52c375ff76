//! Whether what is left can be the outcome of the operations one after another.

#![forbid(unsafe_code)]

use super::script::{CELLS, Deed, FileNumber, Op, PER_PAGE, Script};

/// What the cells of file 0 hold at first; those of file 1 hold one more.
pub(super) const INITIAL: u8 = 0x50;

/// A file in cells: the values of those that it has.
pub(super) type Cells = Vec<u8>;

/// The file at the begin.
pub(super) fn initial(script: &Script, file: FileNumber) -> Cells {
    vec![INITIAL + file as u8; script.initial[file]]
}

/// Whether what becomes of the file depends on what was seen when: then no order explains it here.
pub(super) fn is_vague(script: &Script, file: FileNumber) -> bool {
    let copies = |op: &&Op| op.file == file && matches!(op.deed, Deed::Copy { .. });
    script.ops().any(|op| copies(&op))
}

/// The values that a cell of the file may ever show; 0 among them if it may be a hole or past the end.
pub(super) fn values(script: &Script, file: FileNumber, cell: usize) -> Vec<u8> {
    if is_vague(script, file) {
        let tags = script.ops().map(|op| op.tag);
        return tags.chain([0, INITIAL, INITIAL + 1]).collect();
    }
    let mut values = Vec::new();
    if cell < script.initial[file] {
        values.push(INITIAL + file as u8);
    } else {
        values.push(0);
    }
    for op in script.ops().filter(|op| op.file == file) {
        match op.deed {
            Deed::Write { at, cells } if (at..at + cells).contains(&cell) => values.push(op.tag),
            Deed::Store { cell: stored } if stored == cell => values.push(op.tag),
            Deed::Append { .. } => values.push(op.tag),
            Deed::Truncate { .. } => values.push(0),
            _ => {}
        }
    }
    values
}

/// Whether some order of the operations on the file, each thread's in its own, leaves just `found`. `done` says of each tag
/// whether it had an effect.
pub(super) fn explains(
    script: &Script,
    file: FileNumber,
    found: &[u8],
    done: &dyn Fn(u8) -> bool,
) -> bool {
    let changes = |op: &&Op| {
        let changes = matches!(
            op.deed,
            Deed::Write { .. } | Deed::Append { .. } | Deed::Truncate { .. } | Deed::Store { .. }
        );
        op.file == file && changes && done(op.tag)
    };
    let threads: Vec<Vec<Op>> =
        script.threads.iter().map(|ops| ops.iter().filter(changes).copied().collect()).collect();
    search(&threads, &mut vec![0; threads.len()], &initial(script, file), found)
}

fn search(threads: &[Vec<Op>], next: &mut [usize], cells: &Cells, found: &[u8]) -> bool {
    let mut at_end = true;
    for thread in 0..threads.len() {
        let Some(op) = threads[thread].get(next[thread]) else { continue };
        at_end = false;
        let mut after = cells.clone();
        apply(op.deed, op.tag, &mut after);
        next[thread] += 1;
        let explained = search(threads, next, &after, found);
        next[thread] -= 1;
        if explained {
            return true;
        }
    }
    at_end && cells == found
}

/// What an operation does to the file when it is alone.
fn apply(deed: Deed, tag: u8, cells: &mut Cells) {
    let mut put = |at: usize, number: usize| {
        // Scripts do not grow a file beyond what they can look at, but by appending.
        let end = at + number;
        if cells.len() < end {
            cells.resize(end, 0);
        }
        cells[at..end].fill(tag);
    };
    match deed {
        Deed::Write { at, cells } => put(at, cells),
        Deed::Append { cells: number } => {
            let end = cells.len();
            cells.resize(end + number, tag);
        }
        Deed::Truncate { cells: number } => cells.resize(number, 0),
        Deed::Store { cell } if cell < cells.len() => cells[cell] = tag,
        _ => {}
    }
    debug_assert!(cells.len() <= CELLS + 9 * PER_PAGE, "a file of many cells");
}
