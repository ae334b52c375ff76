//! Requests of a store: what owns the pages, how they end, and what waits for that.

use std::boxed::Box;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::vec::Vec;

use crate::testing::{
    Machine, Test, cx, populate, run, slots, submit_with, take_traces, with_watchdog,
};
use crate::{
    Errno, FileEnd, FillBuf, LockId, LockedRun, Mapping, PAGE_SIZE, PageIndex, ReadRequest,
    SlotMask, Trace,
};

type K = Test;

/// What another thread does.
type Step<'s> = Box<dyn FnOnce() + 's>;

const PAGE: u64 = PAGE_SIZE as u64;

/// The whole file lies on the store.
fn all() -> FileEnd {
    ends_at(u64::MAX)
}

fn ends_at(size: u64) -> FileEnd {
    FileEnd { visible: size, on_store: size }
}

/// Pages `first..first + pages`, present, poisoned and not uptodate, locked.
fn absent_data(mapping: &Mapping<K>, first: u64, pages: u64) -> LockedRun<'_, K> {
    let mut locked = mapping.lock_or_create(cx(), run(first, pages)).unwrap();
    while locked.present() != locked.mask() {
        let mut batch = mapping.cache().allocate(pages as u32).unwrap();
        locked.insert_batch(SlotMask::ALL, &mut batch);
    }
    locked
}

/// Submits all pages of a run, and takes the requests.
fn taken(locked: LockedRun<'_, K>, end: FileEnd) -> Vec<ReadRequest> {
    let (give, take) = mpsc::channel();
    submit_with(locked, SlotMask::ALL, end, move |request| give.send(request).unwrap());
    take.try_iter().collect()
}

/// Writes `value` to the first `len` bytes of a request.
fn write(request: &mut ReadRequest, value: u8, mut len: usize) {
    for segment in request.segments() {
        let bytes = len.min(segment.len);
        // SAFETY: the memory of a request, for the store to write.
        unsafe { segment.address.as_ptr().write_bytes(value, bytes) };
        len -= bytes;
    }
    assert_eq!(len, 0);
}

#[track_caller]
fn assert_bytes(mapping: &Mapping<K>, page: u64, expected: impl Fn(usize) -> u8) {
    let section = mapping.read_section(cx());
    let (memory, len) = section.span(page * PAGE, PAGE_SIZE).expect("the page is uptodate");
    assert_eq!(len, PAGE_SIZE);
    // SAFETY: the section keeps the frame, and nothing writes to it in these tests.
    let bytes = unsafe { core::slice::from_raw_parts(memory.as_ptr(), len) };
    let wrong = (0..len).find(|at| bytes[*at] != expected(*at));
    assert_eq!(wrong, None, "the first wrong byte of page {page}");
}

#[test]
fn a_read_owns_the_locks_of_its_pages_until_it_ends_and_the_others_are_free() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(1, 1), |_| 3);
    let mut requests = taken(absent_rest(&mapping), all());
    let runs: Vec<_> = requests.iter().map(ReadRequest::run).collect();
    assert_eq!(runs, [run(0, 1), run(2, 2)], "one for each stretch that is not uptodate");
    assert!(mapping.try_lock(cx(), run(1, 1)).is_some());
    for page in [0, 2, 3] {
        assert!(mapping.try_lock(cx(), run(page, 1)).is_none(), "{page}");
    }
    let mut second = requests.pop().unwrap();
    write(&mut second, 7, 2 * PAGE_SIZE);
    // SAFETY: just written.
    unsafe { second.complete(2 * PAGE_SIZE) };
    let locked = mapping.lock(cx(), run(2, 2)).unwrap();
    assert_eq!(locked.uptodate(), slots(0b1100));
    drop(locked);
    assert!(mapping.try_lock(cx(), run(0, 1)).is_none());
    drop(requests);
    let locked = mapping.lock(cx(), run(0, 4)).unwrap();
    assert_eq!((locked.present(), locked.uptodate()), (slots(0b1111), slots(0b1110)));
}

/// Pages 0..4, of which page 1 is uptodate already.
fn absent_rest(mapping: &Mapping<K>) -> LockedRun<'_, K> {
    let mut batch = mapping.cache().allocate(3).unwrap();
    let mut locked = mapping.lock(cx(), run(0, 4)).unwrap();
    assert_eq!(locked.insert_batch(SlotMask::ALL, &mut batch), slots(0b1101));
    locked
}

#[test]
fn f8_what_the_store_answers_short_has_failed_and_the_rest_is_zeros() {
    for size in [0, 1, PAGE_SIZE, PAGE_SIZE + 100, 2 * PAGE_SIZE, usize::MAX] {
        for filled in [0, 1, 99, PAGE_SIZE, PAGE_SIZE + 99, PAGE_SIZE + 100, 2 * PAGE_SIZE] {
            let machine: Machine = Machine::new(64);
            let mapping = machine.mapping();
            let locked = absent_data(&mapping, 0, 2);
            let mut request = taken(locked, ends_at(size as u64)).pop().unwrap();
            let needed = size.min(2 * PAGE_SIZE);
            assert_eq!((request.len(), request.is_empty()), (needed, needed == 0));
            write(&mut request, 7, filled);
            // SAFETY: just written.
            unsafe { request.complete(filled) };
            let locked = mapping.lock(cx(), run(0, 2)).unwrap();
            for page in 0..2 {
                let start = page * PAGE_SIZE;
                let in_page = |bytes: usize| bytes.saturating_sub(start).min(PAGE_SIZE);
                let good = in_page(filled) >= in_page(needed);
                let index = PageIndex::new(page as u64);
                let which = std::format!("page {page}, {filled} of {size}");
                assert_eq!(locked.uptodate().contains(index.bit()), good, "{which}");
                assert_eq!(locked.read_error(index), Errno::Io, "{which}");
            }
            let uptodate = locked.uptodate();
            drop(locked);
            for slot in uptodate.iter() {
                let start = slot as usize * PAGE_SIZE;
                let byte = |at| if start + at < filled.min(size) { 7 } else { 0 };
                assert_bytes(&mapping, u64::from(slot), byte);
            }
        }
    }
}

#[test]
fn f8_what_a_store_has_not_heard_of_yet_need_not_be_there() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let end = FileEnd { visible: PAGE + 10, on_store: 5 };
    let request = taken(absent_data(&mapping, 0, 2), end).pop().unwrap();
    assert_eq!(request.len(), 5);
    request.fill(|index, buf| {
        if index == PageIndex::ZERO {
            buf.write(b"short, and then more");
        }
        Ok(())
    });
    assert_bytes(&mapping, 0, |at| b"short, and then more".get(at).copied().unwrap_or(0));
    assert_bytes(&mapping, 1, |_| 0);
}

#[test]
fn a_page_that_fails_costs_only_itself_and_says_why() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let request = taken(absent_data(&mapping, 0, 5), all()).pop().unwrap();
    request.fill(|index, buf| match index.get() {
        1 => Err(Errno::NoMemory),
        2 => {
            buf.write(&[1; 100]);
            Ok(())
        }
        4 => {
            *buf = FillBuf::new(Box::leak(Box::new([7; PAGE_SIZE])));
            buf.fill_hole();
            Ok(())
        }
        _ => {
            buf.write(&[1; PAGE_SIZE]);
            Ok(())
        }
    });
    let locked = mapping.lock(cx(), run(0, 5)).unwrap();
    assert_eq!(locked.uptodate(), slots(0b0_1001));
    assert_eq!(locked.read_error(PageIndex::new(1)), Errno::NoMemory);
    assert_eq!(locked.read_error(PageIndex::ZERO), Errno::Io, "it has none");
    drop(locked);
    assert_bytes(&mapping, 3, |_| 1);
    // Again, as two requests that end by themselves.
    let mut requests = taken(mapping.lock(cx(), run(0, 5)).unwrap(), all());
    assert_eq!(requests.iter().map(ReadRequest::run).collect::<Vec<_>>(), [run(1, 2), run(4, 1)]);
    let mut first = requests.remove(0);
    let second = first.split_off(1).unwrap();
    assert_eq!((first.run(), second.run()), (run(1, 1), run(2, 1)));
    assert!(first.split_off(1).is_none() && first.split_off(0).is_none());
    second.fail(Errno::NoSpace);
    first.fail(Errno::ReadOnly);
    let locked = mapping.lock(cx(), run(0, 4)).unwrap();
    let error = |page| locked.read_error(PageIndex::new(page));
    assert_eq!((error(1), error(2)), (Errno::ReadOnly, Errno::NoSpace));
}

#[test]
fn a_hole_that_is_declared_is_traced_as_zeroed_once() {
    for (bytes, zeros) in [(0, 0), (10, 0), (0, 10), (10, 20)] {
        let machine: Machine = Machine::new(8);
        let mapping = machine.mapping();
        let request = taken(absent_data(&mapping, 0, 1), all()).pop().unwrap();
        take_traces();
        request.fill(|_, buf| {
            buf.write(&[7; PAGE_SIZE][..bytes]);
            buf.skip_zero(zeros);
            buf.fill_hole();
            Ok(())
        });
        let zeroed = Trace::Zeroed(PAGE_SIZE - bytes - zeros);
        let id = LockId::Pages { mapping: mapping.id(), base: 0, slots: slots(1) };
        assert_eq!(take_traces(), [Trace::Acquired(id), zeroed, Trace::Released(id)]);
        assert_bytes(&mapping, 0, |at| if at < bytes { 7 } else { 0 });
    }
}

#[test]
fn segments_follow_the_frames_and_end_where_they_scatter() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    let mut request = taken(absent_data(&mapping, 0, 3), all()).pop().unwrap();
    let whole: Vec<_> = request.segments().map(|segment| segment.len).collect();
    assert_eq!(whole, [3 * PAGE_SIZE]);
    machine.frames.scattered.store(true, Ordering::Relaxed);
    let mut locked = absent_data(&mapping, 10, 1);
    locked.set_uptodate(SlotMask::ALL);
    locked.set_dirty(SlotMask::ALL);
    drop(locked);
    let mut request = taken(absent_data(&mapping, 11, 2), all()).pop().unwrap();
    let scattered: Vec<_> = request.segments().map(|segment| segment.len).collect();
    assert_eq!(scattered, [PAGE_SIZE, PAGE_SIZE]);
    let first = request.segments().next().unwrap();
    assert_eq!(first.address, crate::Frames::address(&*machine.frames, first.frame));
    let mut locked = mapping.lock(cx(), run(10, 1)).unwrap();
    let writeback = locked.begin_writeback(run(10, 1), 10 * PAGE + 9).unwrap();
    assert_eq!(writeback.segments().map(|segment| segment.len).collect::<Vec<_>>(), [9]);
    assert_eq!((writeback.pos(), writeback.len(), writeback.is_empty()), (10 * PAGE, 9, false));
}

#[test]
fn the_parts_of_a_writeback_end_by_themselves() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 3), |_| 3);
    let mut locked = mapping.lock(cx(), run(0, 3)).unwrap();
    locked.set_dirty(SlotMask::ALL);
    let mut first = locked.begin_writeback(run(0, 3), u64::MAX).unwrap();
    let second = first.split_off(1).unwrap();
    assert!(first.split_off(1).is_none());
    assert_eq!((first.run(), second.run()), (run(0, 1), run(1, 2)));
    assert_eq!(mapping.failures().count(), 0);
    second.complete(Err(Errno::NoSpace));
    assert_eq!((locked.writeback(), locked.dirty()), (slots(0b001), slots(0b110)));
    let failures = mapping.failures();
    assert_eq!((failures.count(), failures.latest()), (1, Errno::NoSpace));
    assert!(!failures.is_seen());
    mapping.note_seen(failures);
    assert!(mapping.failures().is_seen());
    first.complete(Ok(()));
    assert_eq!((locked.writeback(), locked.dirty()), (slots(0), slots(0b110)));
    assert_eq!(mapping.failures().count(), 1);
}

#[test]
fn the_drop_of_a_mapping_waits_for_its_requests_and_for_nothing_else() {
    with_watchdog(|| {
        for is_read in [true, false] {
            let machine: Machine = Machine::new(64);
            let (mapping, other) = (machine.mapping(), machine.mapping());
            let not_awaited = taken(absent_data(&other, 0, 1), all());
            populate(&mapping, run(8, 1), |_| 3);
            let mut locked = mapping.lock(cx(), run(8, 1)).unwrap();
            locked.set_dirty(SlotMask::ALL);
            let writeback = locked.begin_writeback(run(8, 1), u64::MAX).unwrap();
            drop(locked);
            let read = taken(absent_data(&mapping, 0, 2), all());
            thread::scope(|scope| {
                let dropper = scope.spawn(|| drop(mapping));
                let (last, earlier): (Step<'_>, Step<'_>) = if is_read {
                    (Box::new(|| drop(read)), Box::new(|| writeback.complete(Ok(()))))
                } else {
                    (Box::new(|| writeback.complete(Ok(()))), Box::new(|| drop(read)))
                };
                while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                    thread::yield_now();
                }
                earlier();
                thread::sleep(Duration::from_millis(5));
                assert!(!dropper.is_finished());
                last();
                dropper.join().unwrap();
            });
            drop(not_awaited);
            drop(other);
            machine.assert_balanced();
        }
    });
}

#[test]
fn a_thread_that_wants_a_page_sleeps_until_its_read_ends_on_another_thread() {
    with_watchdog(|| {
        let machine: Machine = Machine::new(64);
        let mapping = machine.mapping();
        let request = taken(absent_data(&mapping, 0, 2), all()).pop().unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let locked = mapping.lock(cx(), run(1, 1)).unwrap();
                assert_eq!(locked.uptodate(), slots(0b10));
            });
            while machine.wait.sleeping.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let device = scope.spawn(move || {
                request.fill(|_, buf| {
                    buf.fill_hole();
                    Ok(())
                });
            });
            device.join().unwrap();
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_store_that_unwinds_leaves_no_page_locked() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(1, 1), |_| 3);
    let locked = absent_rest(&mapping);
    let unwound = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
        submit_with(locked, SlotMask::ALL, all(), |request| {
            request.fill(|_, _| panic!("planted: the store panics"));
        });
    }));
    assert!(unwound.is_err());
    let locked = mapping.try_lock(cx(), run(0, 4)).expect("nothing is locked");
    assert_eq!((locked.present(), locked.uptodate()), (slots(0b1111), slots(0b0010)));
}

#[test]
fn a_page_that_stays_pinned_is_known_by_its_frame() {
    let machine: Machine = Machine::new(64);
    let (mapping, other) = (machine.mapping(), machine.mapping());
    populate(&mapping, run(0, 1), |_| 3);
    let locked = mapping.lock(cx(), run(0, 1)).unwrap();
    assert!(locked.pin(&other, PageIndex::ZERO).is_none(), "another mapping's");
    let pin = locked.pin(&mapping, PageIndex::ZERO).unwrap();
    assert_eq!(Some(pin.number()), locked.frame(PageIndex::ZERO));
    assert_eq!(crate::Frames::references(&*machine.frames, pin.number()), 2);
}
