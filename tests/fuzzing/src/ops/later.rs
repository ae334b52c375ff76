//! Steps that are drawn by inputs of their own, so that others stand for what they did before:
//! `fallocate` that moves the rest of the file, and reads and writes that leave nothing behind.

#![forbid(unsafe_code)]

use faultless_filemap::NoTask;
use faultless_page::{Errno, Shift};
use faultless_usercopy::IovIter;

use super::script::{Answer, BYTES, Later, Length, Moved, Place, Retention};
use super::subject::{Subject, WINDOW};
use faultless_host::syscall;

impl Subject<'_> {
    pub(super) fn later(&mut self, step: &Later, number: usize) -> Answer {
        self.machine.check().adopt();
        self.space.script().clear();
        let answer = match step {
            Later::Blocks(blocks) => return Some(self.blocks(blocks).map(|()| 0)),
            Later::Move(moved) => Some(self.shift(moved).map(|()| 0)),
            Later::Read { at, len } => Some(self.read_behind(*at, *len)),
            Later::Write(write) => self.write(write, number, Retention::Behind),
            Later::Close => {
                syscall(|token| self.behind.finish(&self.file, token, &NoTask));
                None
            }
        };
        self.durable.changed(&self.contents);
        self.check();
        answer
    }

    /// Moves everything behind a range of whole blocks, or nothing.
    fn shift(&mut self, moved: &Moved) -> Result<(), Errno> {
        let (block, end) = (self.shape.block, self.end());
        let at = moved.at.get(end) / block * block;
        let room = if moved.shift == Shift::Insert { BYTES - end.max(at) } else { BYTES - at };
        let len = moved.len.get().next_multiple_of(block).min(room / block * block);
        let range = self.pos(at)..self.pos(at + len);
        let file = &self.file;
        let done = syscall(|token| match moved.shift {
            Shift::Collapse => file.collapse_range(token, range, &NoTask),
            Shift::Insert => file.insert_range(token, range, &NoTask),
        });
        let fits = match moved.shift {
            Shift::Collapse => at + len < end,
            Shift::Insert => at < end,
        };
        match done {
            Ok(()) => {
                assert!(fits && len > 0, "{moved:?} past the end");
                self.contents.shift(moved.shift, at..at + len);
            }
            Err(Errno::Invalid) => assert!(!fits || len == 0, "{moved:?} inside the file"),
            // Nothing has moved: the size and the bytes are looked at afterwards.
            Err(errno) => assert!(self.excuses.contains(&errno), "{moved:?}: {errno}"),
        }
        done
    }

    fn read_behind(&self, at: Place, len: Length) -> Result<usize, Errno> {
        let (at, len) = (at.get(self.end()), len.get().min(BYTES));
        let slice = self.space.slice(WINDOW, 0, len);
        let read = syscall(|token| {
            let (mut to, pos) = (IovIter::from_slice(&self.space, &slice), self.pos(at));
            self.file.read_behind(token, &mut to, pos, &self.ahead, &self.behind, &NoTask)
        });
        self.check_read(at, len, read);
        read
    }
}
