//! Stores with prepare and commit: what the adapter asks of them.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::vec::Vec;

use faultless_page::{
    AddressSpaceOperations, Contents, Errno, FillBuf, PageIndex, Strategy, SyncKind, WritebackRun,
};

use super::store::{Disk, disk};
use super::{PAGE, Rig, bytes, overlay};
use crate::{PrepareCommit, PrepareCommitStore, WriteOptions};

/// A call: the page, and the bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Prepare(u64, usize, usize),
    Commit(u64, usize, usize),
}

/// A store of the old kind.
struct Old {
    disk: Disk,
    asked: Mutex<Vec<Asked>>,
}

impl Old {
    fn note(&self, asked: Asked) {
        self.asked.lock().expect("not held in a panic").push(asked);
    }

    fn take(&self) -> Vec<Asked> {
        core::mem::take(&mut self.asked.lock().expect("not held in a panic"))
    }
}

impl PrepareCommit for Old {
    fn read(&self, index: PageIndex, buf: &mut FillBuf<'_>) -> Result<(), Errno> {
        self.disk.read(index, buf)
    }

    fn prepare_write(&self, index: PageIndex, from: usize, to: usize) -> Result<Contents, Errno> {
        let begun = self.disk.write_begin(index.start() + from as u64, to - from)?;
        if begun.len < to - from {
            return Err(Errno::NoSpace);
        }
        self.note(Asked::Prepare(index.get(), from, to));
        Ok(begun.contents)
    }

    fn commit_write(&self, index: PageIndex, from: usize, to: usize) {
        self.note(Asked::Commit(index.get(), from, to));
    }

    fn writeback(&self, run: &WritebackRun<'_>) -> Result<(), Errno> {
        self.disk.writeback(run)
    }

    fn truncate_blocks(&self, size: u64) {
        self.disk.truncate_blocks(size);
    }

    fn set_size(&self, size: u64) {
        self.disk.set_size(size);
    }

    fn sync(&self, kind: SyncKind) -> Result<(), Errno> {
        self.disk.sync(kind)
    }

    fn max_size(&self) -> u64 {
        self.disk.max_size()
    }
}

/// A file on such a store with room for so many blocks.
fn rig(blocks: usize) -> Rig<PrepareCommitStore<Old>> {
    let old = Old { disk: disk(blocks), asked: Mutex::new(Vec::new()) };
    let store = PrepareCommitStore::new(old);
    let strategy = store.strategy();
    assert_eq!(strategy, Strategy::PrepareCommit);
    Rig::on(store, strategy, 32)
}

fn old(rig: &Rig<PrepareCommitStore<Old>>) -> &Old {
    rig.store.inner().inner()
}

#[test]
fn p5_each_page_is_prepared_and_committed_by_itself() {
    let rig = rig(64);
    let new = bytes(1, PAGE + 200);
    assert_eq!(rig.write(PAGE as u64 - 100, &new), Ok(new.len()));
    let asked = [
        Asked::Prepare(0, PAGE - 100, PAGE),
        Asked::Commit(0, PAGE - 100, PAGE),
        Asked::Prepare(1, 0, PAGE),
        Asked::Commit(1, 0, PAGE),
        Asked::Prepare(2, 0, 100),
        Asked::Commit(2, 0, 100),
    ];
    assert_eq!(old(&rig).take(), asked);
    rig.assert_keeps(&overlay(&[], PAGE - 100, &new));
}

#[test]
fn w1_no_more_is_prepared_in_a_cold_page_than_will_come() {
    for readable in [1, 100, PAGE, PAGE + 300] {
        let rig = rig(64);
        let before = bytes(1, 2 * PAGE);
        rig.fill_cold(&before);
        old(&rig).take();
        let new = bytes(2, 2 * PAGE);
        let source = rig.user.put(0, &new);
        rig.user.ends_at(readable);
        let (written, left) = rig.write_from(&[source], &WriteOptions::at(0));
        assert_eq!(written.map(|written| written.bytes), Ok(readable));
        assert_eq!(left, new.len() - readable);
        let asked = old(&rig).take();
        for pair in asked.chunks(2) {
            let [Asked::Prepare(index, from, to), Asked::Commit(..)] = *pair else {
                panic!("not in pairs: {asked:?}");
            };
            assert_eq!(pair[1], Asked::Commit(index, from, to), "a promise that is kept");
        }
        rig.assert_keeps(&overlay(&before, 0, &new[..readable]));
    }
}

#[test]
fn w9_a_refused_prepare_has_no_commit_and_leaves_nothing() {
    let rig = rig(4);
    let new = bytes(2, 2 * PAGE);
    assert_eq!(rig.write(0, &new), Ok(PAGE), "one page has room");
    assert_eq!(old(&rig).take(), [Asked::Prepare(0, 0, PAGE), Asked::Commit(0, 0, PAGE)]);
    assert_eq!(rig.write(PAGE as u64, &new), Err(Errno::NoSpace));
    assert_eq!((old(&rig).take(), rig.frames()), (std::vec![], 1));
    rig.assert_keeps(&new[..PAGE]);
}

#[test]
fn the_options_of_a_write_choose_the_other_strategy() {
    let rig = rig(64);
    let new = bytes(2, 2 * PAGE);
    let source = rig.user.put(0, &new);
    let options = WriteOptions::at(0).with_strategy(Strategy::BeginEnd);
    let (written, _) = rig.write_from(&[source], &options);
    assert_eq!(written.map(|written| written.bytes), Ok(2 * PAGE));
    let asked = old(&rig).take();
    // Both pages at once: prepared, copied, committed.
    assert!(matches!(asked[..2], [Asked::Prepare(0, ..), Asked::Prepare(1, ..)]), "{asked:?}");
    rig.assert_keeps(&new);
}

#[test]
fn p5_a_short_copy_into_a_warm_page_is_committed_as_far_as_it_came() {
    let rig = rig(64);
    let before = bytes(1, PAGE);
    rig.fill(&before);
    old(&rig).take();
    let new = bytes(2, 120);
    let source = rig.user.put(0, &new);
    rig.user.atomic.set(50);
    let (written, left) = rig.write_from(&[source], &WriteOptions::at(10));
    assert_eq!((written.map(|written| written.bytes), left), (Ok(120), 0));
    let asked = [
        Asked::Prepare(0, 10, 130),
        Asked::Commit(0, 10, 60),
        Asked::Prepare(0, 60, 130),
        Asked::Commit(0, 60, 110),
        Asked::Prepare(0, 110, 130),
        Asked::Commit(0, 110, 130),
    ];
    assert_eq!(old(&rig).take(), asked);
    rig.assert_keeps(&overlay(&before, 10, &new));
}
