//! The machine stops at each moment of the stores: what a sync has promised by then is there, or
//! something newer.

#![forbid(unsafe_code)]

use super::order::{self, BEFORE};
use super::script::{CELL, FileNumber};
use super::world::World;
use faultless_host::rng::Rng;
use faultless_host::stores::{Fate, Image, Moment, SECTOR};

impl World {
    /// Stops the machine at each moment of each store, and looks at the disk.
    ///
    /// # Panics
    /// If a disk does not hold what was promised.
    pub(super) fn crash_everywhere(&self) {
        for file in 0..2 {
            for moment in 0..=self.stores[file].moments() {
                self.crash(file, moment);
            }
        }
    }

    fn crash(&self, file: FileNumber, number: usize) {
        let chance = Fate::Chance(Rng::new(number as u64));
        let ends = [
            (Moment::Before, Fate::Lost),
            (Moment::Before, Fate::Kept),
            (Moment::Before, chance.clone()),
            (Moment::Within, chance),
        ];
        for (moment, fate) in ends {
            let disk = self.stores[file].crash(number, moment, fate.clone());
            self.check_disk(file, &disk);
            for (since, owed) in self.promises.borrow().iter() {
                if owed.file() == file && *since <= number {
                    let kept = owed.check(self, &disk);
                    assert!(kept.is_ok(), "crash at {number}, {moment:?}, {fate:?}: {kept:?}");
                }
            }
        }
    }

    /// No byte of it was never there (W5).
    fn check_disk(&self, file: FileNumber, disk: &Image) {
        let cells = disk.size().saturating_sub(self.pos(0)) as usize / CELL;
        for cell in 0..cells {
            let byte = disk.first_byte(self.pos(cell) / SECTOR as u64);
            let there = order::values(&self.script, file, cell).contains(&byte);
            let before = byte == 0 || byte == BEFORE + file as u8;
            assert!(there || before, "W5: a crash leaves {byte:#x} in cell {cell}");
        }
    }
}
