//! A tmpfs: what was written is there, the budget is kept, and truncation gives it back.

use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;

use faultless_page::{AddressSpaceOperations, Begun, Errno, PAGE_SIZE};

use super::{Rig, Rng, Twist, Twisted, difference};
use crate::{PageBudget, RamStore};

type Store = RamStore<Arc<PageBudget>>;

/// Random operations on a file within a budget of `limit` pages; what went wrong first.
fn check<S: AddressSpaceOperations + 'static>(
    limit: u64,
    seed: u64,
    make: impl Fn(Store) -> S,
) -> Result<(), String> {
    let budget = Arc::new(PageBudget::new(limit));
    let rig = Rig::new(make(Store::within(budget.clone())), 0, 160);
    let (mut model, mut rng) = (Vec::new(), Rng::new(seed));
    let mut charged = 0;
    for step in 0..400 {
        match rng.below(6) {
            0..=2 => {
                let pos = rng.below(model.len() as u64 + 5000) as usize;
                let len = 1 + rng.below(9000) as usize;
                let bytes = rng.bytes(len);
                match rig.write(pos as u64, &bytes) {
                    Ok(landed) => {
                        let end = pos + landed;
                        model.resize(model.len().max(end), 0);
                        model[pos..end].copy_from_slice(&bytes[..landed]);
                        charged = charged.max(end.div_ceil(PAGE_SIZE) as u64);
                        let full = charged == limit || pos as u64 / PAGE_SIZE as u64 >= limit;
                        if landed < bytes.len() && !full {
                            return Err(format!("step {step}: short with {charged} charged"));
                        }
                    }
                    Err(Errno::NoSpace) if pos as u64 / PAGE_SIZE as u64 >= limit => {}
                    Err(errno) => return Err(format!("step {step}: {errno}")),
                }
            }
            3 => {
                let size = rng.below(model.len() as u64 + 1);
                rig.set_size(size).map_err(|errno| format!("step {step}: {errno}"))?;
                model.truncate(size as usize);
                charged = charged.min(size.div_ceil(PAGE_SIZE as u64));
            }
            4 => {
                rig.fsync().map_err(|errno| format!("step {step}: {errno}"))?;
                rig.evict();
            }
            _ => {
                let found = rig.read_all().map_err(|errno| format!("step {step}: {errno}"))?;
                difference(&found, &model).map_err(|what| format!("step {step}: {what}"))?;
            }
        }
        if budget.left() + charged != limit {
            return Err(format!("step {step}: {} left, {charged} charged", budget.left()));
        }
    }
    drop(rig);
    match budget.left() {
        left if left == limit => Ok(()),
        left => Err(format!("{left} left of {limit} once the file is gone")),
    }
}

#[test]
fn a_file_is_the_vector_and_its_budget_is_kept_and_given_back() {
    for seed in 0..6 {
        check(2 + seed * 4, seed, |store| store).unwrap_or_else(|what| panic!("{seed}: {what}"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Truncation gives nothing back.
    KeepsTheCharge,
    /// Truncation gives the page of the end back too.
    GivesTheEndBack,
    /// Writes are not charged.
    ChargesNothing,
    /// Each write is charged for the page behind it too.
    ChargesMore,
    /// The cache may drop pages.
    LosesPages,
}

impl Twist<Store> for Bug {
    fn write_begin(&self, below: &Store, pos: u64, len: usize) -> Result<Begun, Errno> {
        match self {
            Self::ChargesNothing => RamStore::new().write_begin(pos, len),
            Self::ChargesMore => below.write_begin(pos + PAGE_SIZE as u64, len),
            _ => below.write_begin(pos, len),
        }
    }
    fn truncate_blocks(&self, below: &Store, size: u64) {
        match self {
            Self::KeepsTheCharge => {}
            Self::GivesTheEndBack => below.truncate_blocks(size - size % PAGE_SIZE as u64),
            _ => below.truncate_blocks(size),
        }
    }
    fn is_persistent(&self, _below: &Store) -> bool {
        *self == Self::LosesPages
    }
}

#[test]
fn each_planted_mistake_of_a_tmpfs_is_found() {
    for bug in [
        Bug::KeepsTheCharge,
        Bug::GivesTheEndBack,
        Bug::ChargesNothing,
        Bug::ChargesMore,
        Bug::LosesPages,
    ] {
        assert!(check(10, 1, |store| Twisted(store, bug)).is_err(), "{bug:?} was not found");
    }
}

#[test]
fn a_file_without_a_budget_has_no_limit() {
    let rig = Rig::new(RamStore::new(), 0, 64);
    assert_eq!(rig.write(1 << 40, b"far away"), Ok(8));
    assert_eq!(rig.read(1 << 40, 100).as_deref(), Ok(b"far away".as_slice()));
    assert_eq!(rig.store.charged(), 0);
}

#[test]
fn two_files_share_a_budget() {
    let budget = Arc::new(PageBudget::new(3));
    let (one, other) = (Store::within(budget.clone()), Store::within(budget.clone()));
    one.write_begin(4096, 1).expect("room");
    other.write_begin(0, 1).expect("room");
    assert_eq!(other.write_begin(4096, 1), Err(Errno::NoSpace));
    drop(one);
    assert!(other.write_begin(4096, 1).is_ok());
    assert_eq!(budget.left(), 1);
}

#[test]
fn room_for_a_run_of_new_pages_is_made_as_far_as_it_goes() {
    let budget = Arc::new(PageBudget::new(3));
    let store = Store::within(budget.clone());
    let begin = |pos, len| store.write_begin_run(pos, len).map(|begun| begun.len);
    assert_eq!(begin(7, PAGE_SIZE), Ok(PAGE_SIZE));
    assert_eq!(budget.left(), 1, "it reaches into the second page");
    // There is no room for both pages, but for the first one.
    let third = 2 * PAGE_SIZE as u64;
    assert_eq!(begin(third + 5, PAGE_SIZE), Ok(PAGE_SIZE - 5));
    assert_eq!(begin(third + PAGE_SIZE as u64, 1), Err(Errno::NoSpace));
    assert_eq!(budget.left(), 0);
}
