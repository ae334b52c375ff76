//! This architecture's instructions against real page faults.

mod support;

use std::sync::Mutex;
use std::sync::atomic::Ordering;

#[cfg(target_arch = "x86_64")]
use faultless_usercopy::arch::RepMovsMin;
use faultless_usercopy::arch::{AccessWindow, NoWindow};
use faultless_usercopy::conformance::{Layout, check_exact};
use faultless_usercopy::{
    UserMemory, UserSlice, clear_kernel, clear_user, copy_from_user, copy_from_user_atomic,
    copy_from_user_zeroing, copy_kernel, copy_to_user, copy_to_user_atomic,
};
use support::{Pages, RESOLVED, Random, may_fault, page_size, seed};

/// Lazy pages are process-wide.
static LAZY_TESTS: Mutex<()> = Mutex::new(());

#[track_caller]
fn assert_conforms<W: AccessWindow>() {
    let pages = Pages::<W>::for_suite();
    if let Err(failure) = check_exact(&pages, &mut may_fault()) {
        panic!("{failure}");
    }
}

#[test]
fn copies_are_exact_at_every_offset_and_length_around_a_real_fault() {
    assert_conforms::<NoWindow>();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn copies_without_string_moves_are_exact() {
    assert_conforms::<RepMovsMin<{ usize::MAX }>>();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn copies_by_string_moves_from_17_bytes_on_are_exact() {
    assert_conforms::<RepMovsMin<17>>();
}

#[test]
fn a_faulting_copy_brings_pages_in_and_an_atomic_one_never_does() {
    let _one_at_a_time = LAZY_TESTS.lock().unwrap();
    let (pages, mut token) = (Pages::<NoWindow>::new(4), may_fault());
    let user = pages.user_memory();
    let len = 2 * page_size() + 10;
    let slice = UserSlice::new(user, pages.address(0), len).unwrap();
    let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
    copy_to_user(user, &mut token, slice, &data).unwrap();

    pages.make_lazy(1..4);
    let mut got = vec![0; len];
    let fault = copy_from_user_atomic(user, &mut got, slice).unwrap_err();
    assert_eq!(fault.completed, page_size());
    let fault = copy_to_user_atomic(user, slice, &data).unwrap_err();
    assert_eq!((fault.completed, RESOLVED.load(Ordering::Relaxed)), (page_size(), 0));

    copy_from_user(user, &mut token, &mut got, slice).unwrap();
    assert_eq!(RESOLVED.load(Ordering::Relaxed), 2);
    assert_eq!(got, data);

    pages.make_lazy(0..3);
    assert_eq!(user.fault_in_writeable(&mut token, slice), 0);
    assert_eq!(RESOLVED.load(Ordering::Relaxed), 3, "one fault a page");
    copy_from_user_atomic(user, &mut got, slice).unwrap();

    pages.make_lazy(0..3);
    clear_user(user, &mut token, slice).unwrap();
    copy_from_user_atomic(user, &mut got, slice).unwrap();
    assert!(got.iter().all(|&byte| byte == 0));
}

#[test]
fn only_the_zeroing_copy_touches_the_uncopied_tail() {
    let (pages, mut token) = (Pages::<NoWindow>::for_suite(), may_fault());
    let user = pages.user_memory();
    let start = pages.address(1).wrapping_add(10_usize.wrapping_neg());
    pages.poke(start, &[7; 10]);
    let slice = UserSlice::new(user, start, 16).unwrap();
    let mut object = [9; 16];
    let fault = copy_from_user(user, &mut token, &mut object, slice).unwrap_err();
    assert_eq!((fault.completed, fault.expected), (10, 16));
    assert_eq!((&object[..10], &object[10..]), (&[7; 10][..], &[9; 6][..]));
    let fault = copy_from_user_zeroing(user, &mut token, &mut object, slice).unwrap_err();
    assert_eq!(fault.completed, 10);
    assert_eq!((&object[..10], &object[10..]), (&[7; 10][..], &[0; 6][..]));
}

#[test]
fn a_slice_shorter_than_the_object_is_an_error_with_the_count() {
    let (pages, mut token) = (Pages::<NoWindow>::for_suite(), may_fault());
    let user = pages.user_memory();
    let slice = UserSlice::new(user, pages.address(0), 3).unwrap();
    let mut object = [1; 5];
    assert_eq!(copy_from_user(user, &mut token, &mut object, slice).unwrap_err().completed, 3);
    assert_eq!(object[3..], [1, 1]);
    assert_eq!(copy_to_user(user, &mut token, slice, &object).unwrap_err().completed, 3);
}

#[test]
fn a_slice_checked_against_another_address_space_is_refused() {
    let (here, there) = (Pages::<NoWindow>::new(1), Pages::<NoWindow>::new(1));
    let slice = UserSlice::new(here.user_memory(), here.address(0), 8).unwrap();
    let fault = copy_from_user_atomic(there.user_memory(), &mut [0; 8], slice).unwrap_err();
    assert_eq!(fault.completed, 0);
    assert_eq!(there.user_memory().fault_in_readable(&mut may_fault(), slice), 8);
}

#[test]
fn a_writeable_probe_never_undoes_a_concurrent_change() {
    let pages = Pages::<NoWindow>::new(1);
    let byte = std::ptr::with_exposed_provenance_mut::<u8>(pages.address(0).get());
    // SAFETY: mapped for the whole test, and accessed only atomically.
    let counter = unsafe { std::sync::atomic::AtomicU8::from_ptr(byte) };
    let rounds = if cfg!(target_arch = "x86_64") { 200_000 } else { 20_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (user, mut token) = (pages.user_memory(), may_fault());
        let slice = UserSlice::new(user, pages.address(0), 1).unwrap();
        for _ in 0..rounds {
            assert_eq!(user.fault_in_writeable(&mut token, slice), 0);
        }
    });
    assert_eq!(counter.load(Ordering::Relaxed), (rounds % 256) as u8);
}

#[test]
fn kernel_copies_are_whole_at_every_alignment() {
    let mut random = Random(seed());
    for _ in 0..20_000 {
        let (len, to, from) = (random.below(200), random.below(16), random.below(16));
        let source: Vec<u8> = (0..256).map(|_| random.next() as u8).collect();
        let mut target = vec![0xaa; 256];
        // SAFETY: both regions lie in the vectors.
        unsafe { copy_kernel(target[to..].as_mut_ptr(), source[from..].as_ptr(), len) };
        assert_eq!(target[to..to + len], source[from..from + len]);
        assert!(target[..to].iter().chain(&target[to + len..]).all(|&byte| byte == 0xaa));
        // SAFETY: the region lies in the vector.
        unsafe { clear_kernel(target[to..].as_mut_ptr(), len) };
        assert!(target[to..to + len].iter().all(|&byte| byte == 0));
        assert!(target[..to].iter().chain(&target[to + len..]).all(|&byte| byte == 0xaa));
    }
}
