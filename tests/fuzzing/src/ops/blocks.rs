//! One `fallocate` of a script, and where data and holes are.

#![forbid(unsafe_code)]

use faultless_filemap::{FileSize, NoTask};
use faultless_page::Errno;

use super::script::{BYTES, Blocks, Change};
use super::subject::Subject;
use faultless_host::syscall;

impl Subject<'_> {
    pub(super) fn blocks(&mut self, blocks: &Blocks) -> Result<(), Errno> {
        self.machine.check().adopt();
        self.space.script().clear();
        let changed = self.change_blocks(blocks);
        self.durable.changed(&self.contents);
        self.check();
        self.check_holes();
        changed
    }

    fn change_blocks(&mut self, blocks: &Blocks) -> Result<(), Errno> {
        let at = blocks.at.get(self.end());
        let len = blocks.len.get().min(BYTES - at);
        // No room is made past the end that stays there: what is looked for there is a mistake.
        let grows = blocks.change != Change::Hole && (blocks.grows || at + len > self.end());
        let size = if grows { FileSize::Grows } else { FileSize::Stays };
        let (range, file) = (self.pos(at)..self.pos(at + len), &self.file);
        let changed = syscall(|token| match blocks.change {
            Change::Hole => file.punch_hole(token, range, &NoTask),
            Change::Zeros => file.zero_range(token, range, size, &NoTask),
            Change::Room => file.allocate(token, range, size, &NoTask),
        });
        match changed {
            Err(Errno::Invalid) => assert_eq!(len, 0, "a range that can be"),
            Err(errno) => {
                assert!(self.excuses.contains(&errno), "{blocks:?}: {errno}");
                self.check();
                let was = self.contents.bytes().to_vec();
                self.adopt(at..at + len);
                let kept = |(now, was): (&u8, &u8)| now == was || *now == 0;
                assert!(self.contents.bytes().iter().zip(&was).all(kept), "W5: {blocks:?}");
            }
            Ok(()) => {
                assert!(len > 0, "an empty range is refused");
                if grows && at + len > self.end() {
                    self.contents.resize(at + len);
                }
                let end = self.end().min(at + len);
                if blocks.change != Change::Room && at < end {
                    self.contents.put(at, &vec![0; end - at]);
                }
            }
        }
        changed
    }

    /// What is no data is zeros, up to the end; and each position is one or the other.
    fn check_holes(&self) {
        let mut at = 0;
        while at < self.end() {
            let seek = |found: Result<Option<u64>, Errno>| {
                let found = found.expect("a store that answers");
                found.map_or(self.end(), |pos| (pos - self.pos(0)) as usize)
            };
            let hole = seek(self.file.seek_hole(self.pos(at), &NoTask));
            let data = seek(self.file.seek_data(self.pos(at)));
            assert!(hole == at || data == at, "byte {at} is data or a hole: {data}, {hole}");
            let zeros = if hole == at { at..data } else { at..at };
            let stray = self.contents.bytes()[zeros].iter().position(|byte| *byte != 0);
            assert_eq!(stray, None, "data in a hole from {at} to {data}");
            at = data.max(hole);
        }
    }
}
