//! The queue of requests: order, exclusion by earlier ones, and what happens to entries that go.

use core::pin::pin;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::boxed::Box;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::vec::Vec;

use crate::testing::{Machine, Random, TestWait, Yielding, with_watchdog};
use crate::{CoreSync, Request, RequestList, SyncFamily, Wait, WaitKey};

type List = RequestList<CoreSync, u32>;

fn values(list: &List) -> Vec<u32> {
    list.lock().iter().map(|request| request.value()).collect()
}

#[test]
fn requests_stand_in_the_order_in_which_they_were_linked() {
    let list = List::new();
    assert!(list.lock().is_empty());
    let a = pin!(Request::new(&list));
    let b = pin!(Request::new(&list));
    let c = pin!(Request::new(&list));
    let (a, b, c) = (a.into_ref(), b.into_ref(), c.into_ref());
    c.lock().link(3);
    a.lock().link(1);
    b.lock().link(2);
    assert_eq!(values(&list), [3, 1, 2]);
    assert!(!c.lock().any_before(|_| true));
    assert!(a.lock().any_before(|value| value == 3));
    assert!(!a.lock().any_before(|value| value == 1 || value == 2));
    assert!(b.lock().any_before(|value| value == 1));
    assert!(list.lock().any(|value| value == 2));
    assert!(!list.lock().is_empty());
}

#[test]
fn a_request_is_unlinked_from_either_end_and_from_the_middle() {
    for gone in 0..3 {
        let list = List::new();
        let a = pin!(Request::new(&list));
        let b = pin!(Request::new(&list));
        let c = pin!(Request::new(&list));
        let all = [a.into_ref(), b.into_ref(), c.into_ref()];
        all.iter().zip(0..).for_each(|(request, value)| request.lock().link(value));
        assert_eq!(all[gone].lock().unlink(), Some(gone as u32));
        assert_eq!(all[gone].lock().unlink(), None);
        assert_eq!(all[gone].lock().value(), None);
        all[gone].lock().set(9);
        let rest: Vec<u32> = (0..3).filter(|value| *value != gone as u32).collect();
        assert_eq!(values(&list), rest);
        // Once more, now at the tail.
        all[gone].lock().link(7);
        assert_eq!(values(&list), [rest[0], rest[1], 7]);
        all.iter().for_each(|request| assert!(request.lock().unlink().is_some()));
        assert!(list.lock().is_empty());
    }
}

#[test]
fn a_request_that_goes_out_of_scope_is_linked_no_more() {
    let list = List::new();
    let stays = pin!(Request::new(&list));
    stays.into_ref().lock().link(1);
    {
        let goes = pin!(Request::new(&list));
        goes.into_ref().lock().link(2);
        assert_eq!(values(&list), [1, 2]);
    }
    assert_eq!(values(&list), [1]);
}

#[test]
fn a_request_that_unwinds_is_linked_no_more() {
    let list = List::new();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let request = pin!(Request::new(&list));
        request.into_ref().lock().link(1);
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
    assert!(list.lock().is_empty());
}

#[test]
fn a_request_that_is_linked_twice_keeps_its_place() {
    let list = List::new();
    let a = pin!(Request::new(&list));
    let b = pin!(Request::new(&list));
    let (a, b) = (a.into_ref(), b.into_ref());
    a.lock().link(1);
    b.lock().link(2);
    a.lock().link(3);
    assert_eq!(values(&list), [3, 2]);
    b.lock().set(4);
    assert_eq!(values(&list), [3, 4]);
}

#[test]
fn a_signal_is_seen_until_the_request_is_linked_again() {
    let list = List::new();
    let a = pin!(Request::new(&list));
    let a = a.into_ref();
    a.lock().link(1);
    assert!(!a.is_signalled());
    for request in list.lock().iter() {
        request.set(5);
        request.signal();
    }
    assert!(a.is_signalled());
    assert_eq!(a.lock().unlink(), Some(5));
    a.lock().link(1);
    assert!(!a.is_signalled());
}

/// Writes down what is woken.
#[derive(Default)]
struct Woken(Mutex<Vec<WaitKey>>);

impl Wait for Woken {
    fn wait_until(&self, _key: WaitKey, _condition: &mut dyn FnMut() -> bool) {}
    fn wake(&self, key: WaitKey) {
        self.0.lock().unwrap().push(key);
    }
}

#[test]
fn all_that_are_chosen_are_woken_in_order_however_many() {
    let list = List::new();
    let requests: Vec<_> = (0..50).map(|_| Box::pin(Request::new(&list))).collect();
    requests.iter().zip(0..).for_each(|(request, value)| request.as_ref().lock().link(value));
    let keys: BTreeSet<usize> = requests.iter().map(|request| request.as_ref().key().0).collect();
    assert_eq!(keys.len(), 50, "each has a key of its own");
    for step in [1, 2, 3, 49, 50] {
        let woken = Woken::default();
        list.wake(&woken, |value| value % step == 0);
        let chosen = requests.iter().step_by(step as usize).map(|request| request.as_ref().key());
        assert_eq!(woken.0.into_inner().unwrap(), chosen.collect::<Vec<_>>());
    }
    drop(requests);
    assert!(list.lock().is_empty());
}

type Boxed<'l> = core::pin::Pin<Box<Request<'l, CoreSync, u32>>>;

/// Links another request at each wake.
struct Joins<'l>(&'l List, Mutex<Vec<Boxed<'l>>>);

// SAFETY: used by one thread.
unsafe impl Send for Joins<'_> {}
// SAFETY: as above.
unsafe impl Sync for Joins<'_> {}

impl Wait for Joins<'_> {
    fn wait_until(&self, _key: WaitKey, _condition: &mut dyn FnMut() -> bool) {}
    fn wake(&self, _key: WaitKey) {
        let request = Box::pin(Request::new(self.0));
        request.as_ref().lock().link(0);
        self.1.lock().unwrap().push(request);
    }
}

#[test]
fn waking_ends_although_each_wake_brings_another_request() {
    let list = List::new();
    let joins = Joins(&list, Mutex::new(Vec::new()));
    joins.wake(WaitKey(0));
    list.wake(&joins, |_| true);
    assert_eq!(joins.1.lock().unwrap().len(), 2);
    list.wake(&joins, |_| true);
    assert_eq!(joins.1.lock().unwrap().len(), 4);
}

/// Tickets: a request goes ahead once no earlier one has its number.
fn take_turns<S: SyncFamily>(rounds: u32) {
    let list = RequestList::<S, u32>::new();
    let wait = TestWait::default();
    let inside: [AtomicUsize; 3] = core::array::from_fn(|_| AtomicUsize::new(0));
    let done = AtomicU32::new(0);
    let mut random = Random::new("take_turns");
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut random = random.fork();
            let (list, wait, inside, done) = (&list, &wait, &inside, &done);
            scope.spawn(move || {
                for _ in 0..rounds {
                    let mine = random.below(3) as u32;
                    let request = pin!(Request::new(list));
                    let request = request.into_ref();
                    request.lock().link(mine);
                    wait.wait_until(request.key(), &mut || {
                        !request.lock().any_before(|value| value == mine)
                    });
                    assert_eq!(inside[mine as usize].fetch_add(1, Ordering::Relaxed), 0);
                    inside[mine as usize].fetch_sub(1, Ordering::Relaxed);
                    request.lock().unlink();
                    list.wake(wait, |value| value == mine);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 4 * rounds);
    assert!(list.lock().is_empty());
}

#[test]
fn those_who_wait_for_earlier_requests_exclude_each_other_and_all_get_their_turn() {
    with_watchdog(|| take_turns::<CoreSync>(5_000));
    with_watchdog(|| take_turns::<Yielding>(500));
}

#[test]
fn a_leaked_request_leaves_a_queue_that_can_be_used() {
    let machine: Machine = Machine::new(1);
    let list = List::new();
    let leaked = Box::leak(Box::new(Request::new(&list)));
    // SAFETY: leaked: it is never moved or dropped again.
    let leaked = unsafe { core::pin::Pin::new_unchecked(&*leaked) };
    leaked.lock().link(1);
    {
        let other = pin!(Request::new(&list));
        other.into_ref().lock().link(2);
        list.wake(&machine.wait, |_| true);
        assert_eq!(values(&list), [1, 2]);
    }
    assert_eq!(values(&list), [1]);
}
