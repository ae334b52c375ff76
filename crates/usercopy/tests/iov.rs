//! The cursor against a flat model, and the import of vectors.

mod support;

use faultless_usercopy::conformance::Layout;
use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::{
    IovIter, IovecError, KernelMemory, MAX_RW_COUNT, MAX_SEGMENTS, MayFault, PROBE_STEP,
    USER_IOVEC_BYTES, UserAddr, UserMemory, UserSlice, WholeRequest, import_iovec,
};
use support::{Random, may_fault, seed};

/// Offset of the first read-write page after the hole.
const GOOD: usize = 2 * PROBE_STEP;
/// Offset of the inaccessible page.
const BAD: usize = PROBE_STEP;

fn slice(user: &Scripted, offset: usize, len: usize) -> UserSlice {
    UserSlice::new(user, user.base().wrapping_add(offset), len).unwrap()
}

/// The user address of every byte of the request, in order.
fn flatten(segments: &[UserSlice]) -> Vec<usize> {
    segments.iter().flat_map(|s| s.addr().get()..s.addr().get() + s.len()).collect()
}

/// What remains, by walking a clone.
fn remaining(iter: &IovIter<'_, Scripted>) -> Vec<usize> {
    let (mut iter, mut seen) = (iter.clone(), Vec::new());
    while !iter.is_empty() {
        let segment = iter.segment();
        assert!(!segment.is_empty(), "an empty segment was not skipped");
        seen.extend(flatten(&[segment]));
        iter.advance(segment.len());
    }
    assert!(iter.segment().is_empty());
    seen
}

fn random_segments(random: &mut Random, user: &Scripted) -> Vec<UserSlice> {
    let count = random.below(8);
    let mut segments = Vec::new();
    for _ in 0..count {
        let len = if random.below(3) == 0 { 0 } else { random.below(20) };
        segments.push(slice(user, GOOD + random.below(1000), len));
    }
    segments
}

#[test]
fn the_cursor_agrees_with_a_flat_list_of_bytes() {
    let mut random = Random(seed());
    let user = Scripted::new();
    for _ in 0..3_000 {
        let segments = random_segments(&mut random, &user);
        let bytes = flatten(&segments);
        let mut iter = IovIter::new(&user, &segments).unwrap();
        let (mut at, mut end) = (0, bytes.len());
        for _ in 0..20 {
            let n = random.below(30);
            match random.below(4) {
                0 => {
                    iter.advance(n);
                    at += n.min(end - at);
                }
                1 => {
                    iter.revert(n);
                    at -= n.min(at);
                }
                2 => {
                    iter.truncate(n);
                    end = end.min(at + n);
                }
                _ => {
                    iter.reexpand(n);
                    end = end.max((at + n).min(bytes.len()));
                }
            }
            assert_eq!(iter.count(), end - at);
            assert_eq!(remaining(&iter), bytes[at..end]);
        }
    }
}

#[test]
fn copies_move_the_cursor_by_what_landed() {
    let mut random = Random(seed());
    let user = Scripted::new();
    let start = user.base().get();
    let content: Vec<u8> = (0..PROBE_STEP).map(|_| random.next() as u8).collect();
    user.poke(user.base().wrapping_add(GOOD), &content);
    for _ in 0..2_000 {
        let mut segments = random_segments(&mut random, &user);
        if random.below(2) == 0 {
            let at = random.below(segments.len() + 1);
            segments.insert(at, slice(&user, BAD, 1 + random.below(20)));
        }
        let bytes = flatten(&segments);
        let mut iter = IovIter::new(&user, &segments).unwrap();
        let begin = random.below(10).min(bytes.len());
        iter.advance(begin);
        let len = random.below(100);
        let good = |addr: &&usize| **addr >= start + GOOD;
        let expected: Vec<u8> = bytes[begin..]
            .iter()
            .take(len)
            .take_while(good)
            .map(|addr| content[addr - start - GOOD])
            .collect();
        let mut buffer = vec![0x5a; len];
        // SAFETY: the buffer has `len` bytes.
        let copied = unsafe { iter.copy_from_atomic(buffer.as_mut_ptr(), len) };
        assert_eq!(buffer[..copied], expected);
        assert!(buffer[copied..].iter().all(|&byte| byte == 0x5a), "the tail was touched");
        assert_eq!(remaining(&iter), bytes[begin + copied..]);
        let unreached = iter.fault_in_readable(&mut may_fault(), len - copied);
        let asked = (len - copied).min(iter.count());
        assert_eq!(unreached, asked, "the next byte is bad, or there is none");
        iter.revert(copied);
        assert_eq!(remaining(&iter), bytes[begin..]);
    }
}

#[test]
fn data_goes_out_in_segment_order() {
    let user = Scripted::new();
    let segments = [
        slice(&user, GOOD, 0),
        slice(&user, GOOD + 10, 3),
        slice(&user, GOOD, 0),
        slice(&user, GOOD, 4),
    ];
    let mut iter = IovIter::new(&user, &segments).unwrap();
    // SAFETY: five bytes.
    assert_eq!(unsafe { iter.copy_to_atomic(b"abcde".as_ptr(), 5) }, 5);
    // SAFETY: two bytes.
    assert_eq!(unsafe { iter.copy_to(&mut may_fault(), b"fg".as_ptr(), 2) }, 2);
    assert!(iter.is_empty());
    let mut seen = [0; 13];
    user.peek(user.base().wrapping_add(GOOD), &mut seen);
    assert_eq!(&seen, b"defg\0\0\0\0\0\0abc");
    iter.revert(6);
    assert_eq!(iter.clear(&mut may_fault(), 3), 3);
    user.peek(user.base().wrapping_add(GOOD), &mut seen);
    assert_eq!(&seen, b"\0efg\0\0\0\0\0\0a\0\0");
}

#[test]
fn a_copy_ends_where_the_request_was_truncated_and_not_where_its_segment_ends() {
    let user = Scripted::new();
    let one = slice(&user, GOOD, 10);
    let mut iter = IovIter::from_slice(&user, &one);
    iter.truncate(4);
    let mut buffer = [0x5a; 8];
    // SAFETY: eight bytes.
    assert_eq!(unsafe { iter.copy_from_atomic(buffer.as_mut_ptr(), 8) }, 4);
    assert_eq!(buffer, [0, 0, 0, 0, 0x5a, 0x5a, 0x5a, 0x5a]);
    iter.revert(4);
    // SAFETY: eight bytes.
    assert_eq!(unsafe { iter.copy_to_atomic(b"abcdefgh".as_ptr(), 8) }, 4);
    let mut seen = [1; 5];
    user.peek(one.addr(), &mut seen);
    assert_eq!(&seen, b"abcd\0");
    assert!(iter.is_empty());
}

/// A2: the count decides first. A request that has ended is where it ended, and in no segment after
/// that.
#[test]
fn a_cursor_at_the_end_of_its_request_has_not_looked_for_another_segment() {
    let user = Scripted::new();
    let segments = [slice(&user, GOOD, 3), slice(&user, GOOD + 100, 4)];
    let mut iter = IovIter::new(&user, &segments).unwrap();
    iter.truncate(3);
    iter.advance(3);
    assert_eq!(iter.segment(), segments[0].skip(3));
    iter.revert(3);
    // SAFETY: no byte more than the three.
    assert_eq!(unsafe { iter.copy_to_atomic(b"abc".as_ptr(), 3) }, 3);
    assert_eq!(iter.segment(), segments[0].skip(3));
    iter.reexpand(7);
    assert_eq!((iter.count(), iter.segment()), (4, segments[1]));
}

#[test]
fn a_transfer_of_no_bytes_leaves_the_cursor_and_the_bytes_alone() {
    let user = Scripted::new();
    let segments = [slice(&user, GOOD, 3), slice(&user, BAD, 4)];
    let mut iter = IovIter::new(&user, &segments).unwrap();
    for at in 0..=3 {
        let mut byte = 0x5a;
        // SAFETY: no byte.
        assert_eq!(unsafe { iter.copy_from_atomic(&raw mut byte, 0) }, 0);
        // SAFETY: no byte.
        assert_eq!(unsafe { iter.copy_to_atomic(&raw const byte, 0) }, 0);
        assert_eq!((iter.count(), byte), (7 - at, 0x5a));
        iter.advance(1);
    }
}

#[test]
fn one_slice_is_a_request_of_one_segment() {
    let user = Scripted::new();
    let one = slice(&user, GOOD, 5);
    let mut iter = IovIter::from_slice(&user, &one);
    iter.advance(3);
    assert_eq!((iter.count(), iter.segment()), (2, one.skip(3)));
    iter.advance(99);
    assert!(iter.is_empty());
    iter.revert(99);
    assert_eq!((iter.count(), iter.segment()), (5, one));
    assert!(IovIter::from_slice(&user, &UserSlice::EMPTY).is_empty());
}

#[test]
fn fault_in_looks_into_every_segment() {
    let (user, mut token) = (Scripted::new(), may_fault());
    let segments = [slice(&user, GOOD, 10), slice(&user, BAD, 5), slice(&user, GOOD, 10)];
    let iter = IovIter::new(&user, &segments).unwrap();
    assert_eq!(iter.fault_in_readable(&mut token, 10), 0);
    assert_eq!(iter.fault_in_readable(&mut token, 25), 15);
    assert_eq!(iter.fault_in_writeable(&mut token, usize::MAX), 15);
    assert_eq!(iter.count(), 25, "the cursor stays");
}

#[test]
fn too_many_segments_are_invalid_and_a_long_total_is_clipped() {
    let user = Scripted::new();
    let one = slice(&user, GOOD, 1);
    assert_eq!(IovIter::new(&user, &[one; MAX_SEGMENTS]).unwrap().count(), MAX_SEGMENTS);
    assert_eq!(IovIter::new(&user, &[one; MAX_SEGMENTS + 1]).unwrap_err(), IovecError::Invalid);
    let huge = UserSlice::new(&Everything, UserAddr::new(0), MAX_RW_COUNT).unwrap();
    let pair = [huge, one];
    let mut iter = IovIter::new(&Everything, &pair).unwrap();
    assert_eq!(iter.count(), MAX_RW_COUNT);
    iter.advance(MAX_RW_COUNT);
    assert!(iter.is_empty() && iter.segment().is_empty());
    let half = UserSlice::new(&Everything, UserAddr::new(0), usize::MAX / 2).unwrap();
    assert_eq!(IovIter::new(&Everything, &[half, half, half]).unwrap_err(), IovecError::Invalid);
}

/// An address space in which every address is user space, and no byte is mapped.
struct Everything;

// SAFETY: nothing is ever accessed.
unsafe impl UserMemory for Everything {
    type Token = MayFault;

    fn user_range(&self) -> std::ops::Range<usize> {
        0..usize::MAX
    }

    unsafe fn raw_copy_from_user(
        &self,
        _: &mut MayFault,
        _: *mut u8,
        _: UserAddr,
        len: usize,
    ) -> usize {
        len
    }

    unsafe fn raw_copy_from_user_atomic(&self, _: *mut u8, _: UserAddr, len: usize) -> usize {
        len
    }

    unsafe fn raw_copy_to_user(
        &self,
        _: &mut MayFault,
        _: UserAddr,
        _: *const u8,
        len: usize,
    ) -> usize {
        len
    }

    unsafe fn raw_copy_to_user_atomic(&self, _: UserAddr, _: *const u8, len: usize) -> usize {
        len
    }

    unsafe fn raw_clear_user(&self, _: &mut MayFault, _: UserAddr, len: usize) -> usize {
        len
    }
}

/// Writes `vector` as user space would, so that it ends where the inaccessible page begins, and
/// imports it.
fn import(vector: &[(usize, usize)], count: usize) -> Result<Vec<usize>, IovecError> {
    let user = Scripted::new();
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|&(base, len)| [base.to_ne_bytes(), len.to_ne_bytes()].concat())
        .collect();
    let uvec = user.base().wrapping_add(BAD - bytes.len());
    user.poke(uvec, &bytes);
    let mut segments = [UserSlice::EMPTY; 64];
    let iter = import_iovec(&user, &mut may_fault(), uvec, count, &mut segments)?;
    Ok(remaining(&iter))
}

fn good_base() -> usize {
    Scripted::new().base().get() + GOOD
}

#[test]
fn a_vector_is_imported_in_order_with_empty_segments_anywhere() {
    let base = good_base();
    assert_eq!(import(&[], 0), Ok(vec![]));
    let vector = [(0, 0), (base + 5, 2), (0, 0), (base, 1), (7, 0)];
    assert_eq!(import(&vector, 5), Ok(vec![base + 5, base + 6, base]));
    let many: Vec<_> = (0..64).map(|n| (base + n, 1)).collect();
    assert_eq!(import(&many, 64), Ok((base..base + 64).collect()));
}

#[test]
fn an_unreadable_vector_is_a_fault_and_too_many_segments_are_invalid() {
    let base = good_base();
    assert_eq!(import(&[(base, 1)], 2), Err(IovecError::Fault));
    assert_eq!(import(&[(base, usize::MAX)], 2), Err(IovecError::Fault), "read first, judged then");
    assert_eq!(import(&[], 65), Err(IovecError::Invalid), "more than the buffer holds");
    assert_eq!(import(&[], MAX_SEGMENTS + 1), Err(IovecError::Invalid));
    let mut none = [];
    let far = UserAddr::new(usize::MAX - USER_IOVEC_BYTES);
    let user = Scripted::new();
    let result = import_iovec(&user, &mut may_fault(), far, 1, &mut none);
    assert_eq!(result.unwrap_err(), IovecError::Fault);
}

#[test]
fn lengths_are_judged_before_addresses_and_both_before_any_effect() {
    let base = good_base();
    let negative = usize::MAX;
    assert_eq!(import(&[(base, 1), (base, negative)], 2), Err(IovecError::Invalid));
    assert_eq!(import(&[(usize::MAX, 4), (base, negative)], 2), Err(IovecError::Invalid));
    let half = isize::MAX as usize;
    assert_eq!(import(&[(base, half), (base, half)], 2), Err(IovecError::Invalid), "total");
    assert_eq!(import(&[(base, 1), (usize::MAX - 1, 4)], 2), Err(IovecError::Fault), "wraps");
    assert_eq!(import(&[(base, 1), (base, half - 1)], 2), Err(IovecError::Fault));
    assert_eq!(import(&[(base, 1), (usize::MAX, 0)], 2), Err(IovecError::Fault), "any segment");
}

#[test]
fn u5_a_whole_request_lies_in_the_range_of_its_own_memory() {
    let (user, bytes) = (Scripted::new(), [0; 10]);
    let other = KernelMemory::<MayFault>::readable(&bytes);
    let own = slice(&user, GOOD, 10);
    assert_eq!(WholeRequest::new(&user, own).map(|whole| whole.len()), Some(10));
    assert!(WholeRequest::new(&user, other.slice()).is_none());
    assert!(WholeRequest::new(&user, UserSlice::EMPTY).is_none(), "nothing");
}

#[test]
fn u1_a_copy_of_many_segments_ends_at_the_byte_that_faults() {
    let user = Scripted::new();
    user.poke(user.base().wrapping_add(GOOD), b"abcdef");
    user.poke(user.base().wrapping_add(BAD - 2), b"gh");
    let segments = [slice(&user, GOOD, 3), slice(&user, BAD - 2, 5), slice(&user, GOOD + 3, 3)];
    let mut iter = IovIter::new(&user, &segments).unwrap();
    let mut buffer = [0x5a; 11];
    // SAFETY: the buffer has as many bytes.
    let copied = unsafe { iter.copy_from_atomic(buffer.as_mut_ptr(), buffer.len()) };
    assert_eq!((copied, &buffer[..6]), (5, b"abcgh\x5a".as_slice()));
    assert_eq!((iter.count(), iter.segment()), (6, slice(&user, BAD, 3)));
    iter.revert(5);
    // SAFETY: as above.
    let copied = unsafe { iter.copy_to_atomic(b"ABCDEFGHIJK".as_ptr(), 11) };
    assert_eq!((copied, iter.segment()), (5, slice(&user, BAD, 3)));
}

/// Memory whose range is narrower than what it could reach.
struct Narrow<'a>(&'a Scripted);

// SAFETY: as the memory behind it, of which the range is a part.
unsafe impl UserMemory for Narrow<'_> {
    type Token = MayFault;

    fn user_range(&self) -> std::ops::Range<usize> {
        let start = self.0.base().get() + GOOD;
        start..start + 8
    }

    unsafe fn raw_copy_from_user(
        &self,
        token: &mut MayFault,
        dst: *mut u8,
        src: UserAddr,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.0.raw_copy_from_user(token, dst, src, len) }
    }

    unsafe fn raw_copy_from_user_atomic(&self, dst: *mut u8, src: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.0.raw_copy_from_user_atomic(dst, src, len) }
    }

    unsafe fn raw_copy_to_user(
        &self,
        token: &mut MayFault,
        dst: UserAddr,
        src: *const u8,
        len: usize,
    ) -> usize {
        // SAFETY: the same contract.
        unsafe { self.0.raw_copy_to_user(token, dst, src, len) }
    }

    unsafe fn raw_copy_to_user_atomic(&self, dst: UserAddr, src: *const u8, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.0.raw_copy_to_user_atomic(dst, src, len) }
    }

    unsafe fn raw_clear_user(&self, token: &mut MayFault, dst: UserAddr, len: usize) -> usize {
        // SAFETY: the same contract.
        unsafe { self.0.raw_clear_user(token, dst, len) }
    }
}

#[test]
fn u5_a_copy_of_many_segments_ends_at_the_first_that_lies_outside() {
    let user = Scripted::new();
    user.poke(user.base().wrapping_add(GOOD), b"abcdefghijkl");
    let narrow = Narrow(&user);
    let outside = slice(&user, GOOD + 6, 4);
    let inside = [slice(&user, GOOD, 3), slice(&user, GOOD + 5, 2)];
    // An empty segment lies anywhere.
    let segments = [inside[0], outside.prefix(0), inside[1], outside, inside[0]];
    let mut iter = IovIter::new(&narrow, &segments).unwrap();
    let mut buffer = [0x5a; 12];
    // SAFETY: the buffer has as many bytes.
    let copied = unsafe { iter.copy_from_atomic(buffer.as_mut_ptr(), buffer.len()) };
    assert_eq!((copied, &buffer[..6]), (5, b"abcfg\x5a".as_slice()));
    assert_eq!((iter.count(), iter.segment()), (7, outside));
    iter.revert(5);
    // SAFETY: as above.
    let copied = unsafe { iter.copy_to_atomic(b"ABCDEFGHIJKL".as_ptr(), 12) };
    assert_eq!((copied, iter.segment()), (5, outside));
    let mut seen = [0; 12];
    user.peek(user.base().wrapping_add(GOOD), &mut seen);
    assert_eq!(&seen, b"ABCdeDEhijkl");
}
