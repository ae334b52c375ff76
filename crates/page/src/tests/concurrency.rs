//! Readers, writers, removal and node reuse, all at once.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::testing::{Machine, Random, Test, Yielding, cx, run, with_watchdog};
use crate::{
    CoreSync, Errno, LockContext, LockedWord, Mapping, Mark, PAGE_SIZE, PageIndex, SyncFamily,
};

/// A family of words to run the tests with.
trait Family: SyncFamily + Send + Sync {}
impl<S: SyncFamily + Send + Sync> Family for S {}

/// A machine without 64-bit atomics.
struct Narrow;

// SAFETY: the words are `core`'s atomics and numbers in a lock of `spin`, as are the short locks.
unsafe impl SyncFamily for Narrow {
    type Word64 = LockedWord<spin::Mutex<u64>>;
    type Word32 = core::sync::atomic::AtomicU32;
    type Spin<T: Send> = spin::Mutex<T>;
    fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
}

/// What every word of a page holds: whose it is. Never the poison, never another page's.
fn stamp<S: Family>(mapping: &Mapping<Test<S>>, index: PageIndex) -> u64 {
    mapping.id() << 40 | index.get()
}

/// A few places that share leaves and inner nodes, and far ones that raise and lower the tree.
fn place(random: &mut Random) -> PageIndex {
    let bases = [0, 64, 4096, 1 << 20, (1 << 20) + 64, 1 << 30];
    PageIndex::new(bases[random.below(6) as usize] + random.below(3))
}

fn insert<S: Family>(mapping: &Mapping<Test<S>>, index: PageIndex) -> Result<(), Errno> {
    let Some(frame) = mapping.cache().allocate(1)?.take_first() else { return Ok(()) };
    let mut locked = mapping.lock_or_create(cx(), run(index.get(), 1))?;
    if locked.insert(index, frame).is_ok() {
        // Readers may look already: it is poison until the mark is set.
        let (memory, len) = locked.span(index.start(), PAGE_SIZE).expect("just inserted");
        for word in 0..len / 8 {
            // SAFETY: inside the page.
            let at = unsafe { memory.cast::<u64>().add(word) };
            // SAFETY: the page is locked and not uptodate.
            unsafe { at.write(stamp(mapping, index)) };
        }
        locked.set_uptodate(locked.mask());
    }
    Ok(())
}

fn remove<S: Family>(mapping: &Mapping<Test<S>>, index: PageIndex) {
    if let Some(mut locked) = mapping.lock(cx(), run(index.get(), 1)) {
        let removed = locked.remove(locked.mask());
        drop(locked);
        drop(removed);
    }
}

/// Looks at three pages from `index` on without a lock; how many words were seen.
fn read<S: Family>(mapping: &Mapping<Test<S>>, context: LockContext<'_>, index: PageIndex) -> u64 {
    let section = mapping.read_section(context);
    let Some((memory, len)) = section.span(index.start(), 3 * PAGE_SIZE) else { return 0 };
    for word in 0..len / 8 {
        let page = index.plus((word * 8 / PAGE_SIZE) as u64);
        // SAFETY: inside the span.
        let at = unsafe { memory.cast::<u64>().add(word) };
        // SAFETY: uptodate pages are written by nobody here, and the section is open.
        let seen = unsafe { at.read_volatile() };
        assert_eq!(seen, stamp(mapping, page), "page {page} of {}, word {word}", mapping.id());
    }
    len as u64 / 8
}

fn churn<S: Family>(mappings: &[Mapping<Test<S>>], mut random: Random, rounds: u32) {
    for _ in 0..rounds {
        let mapping = &mappings[random.below(mappings.len() as u64) as usize];
        let index = place(&mut random);
        match random.below(8) {
            0..4 => insert(mapping, index).expect("there is memory for all places"),
            4..7 => remove(mapping, index),
            _ => mapping.prune(index, index.plus(random.below(1 << 21))),
        }
    }
}

#[test]
fn no_reader_ever_sees_recycled_bytes_and_no_page_is_lost() {
    readers_and_writers::<CoreSync>(150);
}

#[test]
fn nor_do_they_if_threads_are_switched_between_any_two_words() {
    readers_and_writers::<Yielding>(8);
}

#[test]
fn nor_do_they_if_words_are_numbers_in_a_lock() {
    readers_and_writers::<Narrow>(30);
    come_and_go::<Narrow>(300);
}

fn readers_and_writers<S: Family>(rounds: u32) {
    with_watchdog(|| {
        let machine: Machine<S> = Machine::new(600);
        let mut random = Random::new("no_reader_ever_sees_recycled_bytes");
        let mappings = [machine.mapping(), machine.mapping()];
        let stop = AtomicBool::new(false);
        let words = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (mut random, mappings, stop, words) = (random.fork(), &mappings, &stop, &words);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let mapping = &mappings[random.below(2) as usize];
                        let seen = read(mapping, cx(), place(&mut random));
                        words.fetch_add(seen, Ordering::Relaxed);
                    }
                });
            }
            let writers: [_; 3] = core::array::from_fn(|_| {
                let (mut random, mappings, words) = (random.fork(), &mappings, &words);
                scope.spawn(move || {
                    let mut left = rounds;
                    // Until the readers, who may be late, have seen enough.
                    while left > 0 || words.load(Ordering::Relaxed) < 1_000_000 {
                        churn(mappings, random.fork(), 1_000);
                        left = left.saturating_sub(1);
                    }
                })
            });
            let results = writers.map(|writer| writer.join());
            stop.store(true, Ordering::Relaxed);
            results.into_iter().for_each(|result| result.expect("a writer failed"));
        });
        for mapping in mappings {
            let mut from = PageIndex::ZERO;
            while let Some(run) = mapping.find(from, PageIndex::new(u64::MAX), Mark::Present) {
                assert!(read(&mapping, cx(), run.first()) > 0);
                drop(mapping.lock(cx(), run).unwrap().remove(run.mask()));
                from = run.end();
            }
            assert_eq!(mapping.cached_pages(), 0);
            mapping.prune(PageIndex::ZERO, PageIndex::new(u64::MAX));
            assert!(mapping.lock(cx(), run(0, 1)).is_none());
        }
        machine.assert_balanced();
    });
}

#[test]
fn mappings_come_and_go_while_nodes_are_reused() {
    come_and_go::<CoreSync>(1_500);
}

#[test]
fn nodes_are_reused_while_threads_are_switched_between_any_two_words() {
    come_and_go::<Yielding>(150);
}

fn come_and_go<S: Family>(lives: u32) {
    with_watchdog(|| {
        let machine: Machine<S> = Machine::new(600);
        let mut random = Random::new("mappings_come_and_go");
        let shared = [machine.mapping()];
        thread::scope(|scope| {
            for _ in 0..2 {
                let random = random.fork();
                scope.spawn(|| churn(&shared, random, 30 * lives));
            }
            let (mut random, machine) = (random.fork(), &machine);
            scope.spawn(move || {
                for _ in 0..lives {
                    let own = [machine.mapping()];
                    churn(&own, random.fork(), 20);
                    for n in 0..3 {
                        read(&own[0], cx(), PageIndex::new(n));
                    }
                }
            });
        });
        drop(shared);
        machine.assert_balanced();
    });
}
