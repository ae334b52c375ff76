//! A kernel whose tasks are futures: a write, a truncation and a sync that never sleep, on a device
//! that answers later. Faults as futures are in `tests/tests/nonblocking`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use faultless::parts::{FramePool, Page, QueuedStore, RamStore};
use faultless::prelude::*;
use faultless::usercopy::arch::NoWindow;

/// The wait seam: tasks by the keys that they wait for. A task is in it once.
#[derive(Default)]
struct Wakers(Mutex<Vec<(WaitKey, Waker)>>);

impl Wait for Wakers {
    /// Called for what other CPUs do within a few instructions. No call here sleeps.
    fn wait_until(&self, key: WaitKey, condition: &mut dyn FnMut() -> bool) {
        SpinWait.wait_until(key, condition);
    }

    fn wake(&self, key: WaitKey) {
        let mut waiting = self.0.lock().unwrap();
        waiting.extract_if(.., |(other, _)| *other == key).for_each(|(_, waker)| waker.wake());
    }
}

/// The task that is polled. It is registered before the call looks for the last time.
struct Polled<'a>(&'a Wakers, &'a Waker);

impl Task for Polled<'_> {
    fn would_wait(&self, key: WaitKey) {
        let mut waiting = self.0.0.lock().unwrap();
        waiting.retain(|(_, waker)| !waker.will_wake(self.1));
        waiting.push((key, self.1.clone()));
    }
}

struct MyKernel;

impl Kernel for MyKernel {
    type Sync = CoreSync;
    type Frames = FramePool;
    type Wait = &'static Wakers;
    type Cache = &'static PageCache<Self>;
    type Store = &'static Device;
    type UserMappings = NoUserMappings;
    type Replacement = ();
}

/// Requests wait until [`QueuedStore::work`] is called, as in an interrupt handler.
type Device = QueuedStore<RamStore, &'static Wakers>;

type Memory = CurrentUser<NoWindow>;

/// A `write` of a whole buffer, or of what is readable of it.
async fn write(file: &Inode<MyKernel>, memory: &Memory, buffer: UserSlice, pos: u64) -> usize {
    let mut from = IovIter::from_slice(memory, &buffer);
    let mut calls = file.nonblocking();
    let mut done = 0;
    while !from.is_empty() {
        let options = WriteOptions::at(pos + done as u64);
        let written = poll_fn(|cx| {
            // SAFETY: no lock is held here; the token does not live until the next poll.
            let mut token = unsafe { MayFault::assert() };
            let task = Polled(file.mapping().cache().wait(), cx.waker());
            match calls.write(&mut token, &mut from, &options, &task) {
                Err(NotYet::WouldWait(_)) => Poll::Pending,
                result => Poll::Ready(result),
            }
        });
        match written.await {
            Ok(written) => done += written.bytes,
            // All memory of this kernel is there, or nowhere. Others bring in what the range has,
            // and call again.
            Err(NotYet::WouldFault(range)) if range.addr() == from.segment().addr() => break,
            Err(NotYet::WouldFault(_) | NotYet::WouldWait(_)) => {}
            Err(NotYet::Failed(_)) => break,
        }
    }
    done
}

/// Calls `call` for the task that is polled until it is not refused.
async fn until_done(
    file: &Inode<MyKernel>,
    mut call: impl FnMut(&mut MayFault, &Polled<'_>) -> Result<(), NotYet>,
) -> Result<(), Errno> {
    let done = poll_fn(|cx| {
        // SAFETY: as for a write.
        let mut token = unsafe { MayFault::assert() };
        match call(&mut token, &Polled(file.mapping().cache().wait(), cx.waker())) {
            Err(NotYet::WouldWait(_)) => Poll::Pending,
            result => Poll::Ready(result),
        }
    });
    match done.await {
        Err(NotYet::Failed(errno)) => Err(errno),
        _ => Ok(()),
    }
}

/// A `write`, an `ftruncate` to what was written, and an `fsync`.
async fn save(file: &Inode<MyKernel>, memory: &Memory, buffer: UserSlice, pos: u64) -> usize {
    let written = write(file, memory, buffer, pos).await;
    let (mut calls, size) = (file.nonblocking(), pos + written as u64);
    until_done(file, |token, task| calls.set_size(token, size, task)).await.unwrap();
    until_done(file, |token, task| calls.fsync_range(token, SyncKind::All, 0..size, task))
        .await
        .unwrap();
    written
}

fn main() {
    let wakers: &'static Wakers = Box::leak(Box::default());
    let device: &'static Device = Box::leak(Box::new(QueuedStore::new(RamStore::new(), wakers)));
    let frames = FramePool::new(Box::leak(vec![Page::ZERO; 64].into_boxed_slice()));
    let cache = Box::leak(Box::new(PageCache::new(frames, wakers)));
    // Two pages of which none is in the cache.
    let file = Inode::<MyKernel>::new(cache, device, NoUserMappings, 2 * PAGE_SIZE as u64);

    let user = vec![b'x'; 3000].leak();
    let (start, end) = (user.as_mut_ptr().expose_provenance(), user.as_ptr_range().end.addr());
    // SAFETY: leaked, all of it mapped, and from here on reached through the user copies alone.
    let memory: Memory = unsafe { CurrentUser::new(start..end) };
    let buffer = UserSlice::new(&memory, UserAddr::new(start), 3000).expect("in range");

    // The executor of one task: polls it, and lets the device work.
    let mut polls = 1;
    let written = {
        let mut task = pin!(save(&file, &memory, buffer, 2000));
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(written) = task.as_mut().poll(&mut cx) {
                break written;
            }
            assert!(device.work(), "a task that waits, and nothing under way");
            polls += 1;
        }
    };
    println!("{written} bytes written, cut and synced in {polls} polls");
    assert_eq!((written, file.size()), (3000, 5000));
    assert_eq!(file.residency(0..u64::MAX).dirty, 0);
    file.discard();
}
