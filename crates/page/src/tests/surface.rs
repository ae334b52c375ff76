//! The small things that an embedder sees: names, descriptions, defaults, and a kernel that keeps
//! every default.

use std::format;
use std::string::ToString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::testing::{Machine, NullStore, Test, TestFrames, cx, populate, run, slots};
use crate::{
    CoreSync, Epoch, Errno, FrameNumber, Kernel, LockId, Mapping, NoUserMappings, PAGES_PER_LEAF,
    PageCache, PageIndex, PageRun, SleepMutex, SlotMask, SpinWait, Unmap, UserMappings, Wait,
    WaitKey,
};

/// A kernel that supplies memory and nothing else.
struct Plain;
impl Kernel for Plain {
    type Sync = CoreSync;
    type Frames = Arc<TestFrames>;
    type Wait = SpinWait;
    type Cache = Arc<PageCache<Self>>;
    type Store = &'static NullStore;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

#[test]
fn a_kernel_that_keeps_every_default_takes_pages_in_and_out() {
    let frames = Arc::new(TestFrames::new(8));
    let cache = Arc::new(PageCache::<Plain>::new(frames.clone(), SpinWait));
    let mapping = Mapping::new(cache.clone(), &NullStore, NoUserMappings, 0);
    let mut batch = cache.allocate(1).unwrap();
    let mut locked = mapping.lock_or_create(cx(), run(0, 1)).unwrap();
    assert_eq!(locked.insert_batch(slots(0b1), &mut batch), slots(0b1));
    let (first, end) = (PageIndex::ZERO, PageIndex::new(1));
    mapping.user_mappings().unmap(mapping.id(), first, end, Unmap::Evict);
    assert_eq!(locked.remove(slots(0b1)).len(), 1);
    drop(locked);
    drop(batch);
    drop(mapping);
    drop(cache);
    assert_eq!(frames.in_use(), 0);
}

#[test]
fn spinning_is_a_way_to_wait() {
    let ready = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut looks = 0;
            SpinWait.wait_until(WaitKey(1), &mut || {
                looks += 1;
                // A wake is nothing to it: it looks all the time.
                ready.load(Ordering::SeqCst) && looks > 1
            });
            assert!(looks > 1, "returned before the condition held");
        });
        ready.store(true, Ordering::SeqCst);
        SpinWait.wake(WaitKey(1));
    });
}

#[test]
fn an_error_is_called_what_errno_h_calls_it() {
    let names = [
        (Errno::Interrupted, 4, "EINTR"),
        (Errno::Io, 5, "EIO"),
        (Errno::WouldBlock, 11, "EAGAIN"),
        (Errno::NoMemory, 12, "ENOMEM"),
        (Errno::Fault, 14, "EFAULT"),
        (Errno::Invalid, 22, "EINVAL"),
        (Errno::FileTooBig, 27, "EFBIG"),
        (Errno::NoSpace, 28, "ENOSPC"),
        (Errno::ReadOnly, 30, "EROFS"),
        (Errno::NotSupported, 95, "EOPNOTSUPP"),
    ];
    for (errno, code, name) in names {
        assert_eq!((errno.code(), errno.to_string().as_str()), (code, name));
    }
}

#[test]
fn a_lock_and_a_page_say_which_they_are() {
    assert_eq!(PageIndex::new(7).to_string(), "page 7");
    assert_eq!(LockId::Inode(3).to_string(), "I(3)");
    assert_eq!(LockId::Range(3, 4096).to_string(), "R(3,4096)");
    let pages = |slots| LockId::Pages { mapping: 3, base: 64, slots };
    assert_eq!(pages(slots(0b100)).to_string(), "P(3,66)");
    assert_eq!(pages(slots(0b1100)).to_string(), "P(3,66+2)");
}

#[test]
fn a_value_that_is_generic_over_the_kernel_describes_itself() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 1);
    mapping.truncate_size(77);
    assert_eq!(format!("{mapping:?}"), format!("Mapping {{ id: {}, size: 77, .. }}", mapping.id()));
    let lock = SleepMutex::<Test>::new(LockId::Inode(9));
    assert_eq!(format!("{lock:?}"), "SleepMutex { id: Inode(9), state: 0, .. }");
    let held = lock.lock(machine.cache.wait());
    assert_eq!(format!("{lock:?} {held:?}").matches("state: 1").count(), 1);
}

#[test]
fn an_epoch_by_default_has_no_readers() {
    let machine: Machine = Machine::new(1);
    // Would wait for any.
    Epoch::<CoreSync>::default().synchronize(machine.cache.wait());
}

#[test]
fn a_context_can_be_lent_twice_one_after_the_other() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 1);
    let mut context = cx();
    drop(mapping.lock(context.reborrow(), run(0, 1)).expect("the first page"));
    drop(mapping.lock(context.reborrow(), run(1, 1)).expect("the second page"));
}

#[test]
fn what_was_taken_out_or_is_on_its_way_says_what_it_is() {
    let machine: Machine = Machine::new(64);
    let mapping = machine.mapping();
    populate(&mapping, run(0, 2), |_| 1);
    let mut locked = mapping.lock(cx(), run(0, 2)).unwrap();
    locked.set_dirty(slots(0b10));
    let pages = locked.begin_writeback(run(1, 1), 5000).unwrap();
    assert_eq!((pages.run(), pages.view().first()), (run(1, 1), PageIndex::new(1)));
    assert_eq!(format!("{pages:?}").matches("size: 5000").count(), 1);
    assert!(locked.remove(SlotMask::EMPTY).is_empty());
    let mut removals = mapping.removals();
    assert!(removals.is_empty());
    assert_eq!(removals.take(&mut locked, slots(0b11)), slots(0b01));
    assert_eq!(format!("{removals:?}"), "Removals { frames: 1, .. }");
    pages.complete(Ok(()));
    assert!(!locked.remove(slots(0b11)).is_empty());
}

#[test]
fn the_run_of_a_leaf_is_all_of_it() {
    let all = PageRun::leaf(PageIndex::new(70));
    assert_eq!((all.first(), all.pages()), (PageIndex::new(64), PAGES_PER_LEAF as u32));
    assert_eq!(all.mask(), SlotMask::ALL);
}

#[test]
fn frame_numbers_end() {
    let last = FrameNumber::new(u32::MAX).unwrap();
    assert_eq!((last.checked_add(1), last.checked_add(0)), (None, Some(last)));
    assert_eq!(FrameNumber::new(0), None);
}

#[test]
fn no_mapping_has_the_number_that_stands_for_nobody() {
    let machine: Machine = Machine::new(64);
    let ids = [machine.mapping().id(), machine.mapping().id()];
    assert!(ids[0] != ids[1] && !ids.contains(&0));
}

#[test]
fn any_number_will_do_for_a_cpu() {
    let epoch = Epoch::<CoreSync>::new();
    drop(epoch.enter(usize::MAX, &SpinWait));
    epoch.synchronize(&SpinWait);
}
