//! Reading a segment vector (W7).

#![forbid(unsafe_code)]

use arbitrary::{Arbitrary, Unstructured};
use faultless_usercopy::{
    IovecError, MAX_RW_COUNT, MAX_SEGMENTS, MayFault, USER_IOVEC_BYTES, UserMemory, UserSlice,
    import_iovec,
};

use super::place::Place;
use super::test_memory::{Access, Policy, TestMemory, address};

/// Records that are laid out, at most.
const RECORDS: usize = 20;

/// A length that a record names.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Length {
    Few(u8),
    Many(u16),
    Huge(u32),
    Negative(u8),
    Wild(u64),
}

impl Length {
    fn get(self) -> usize {
        match self {
            Self::Few(len) => usize::from(len),
            Self::Many(len) => usize::from(len),
            Self::Huge(len) => len as usize,
            Self::Negative(by) => usize::MAX - usize::from(by),
            Self::Wild(len) => len as usize,
        }
    }
}

/// Lays a vector out, imports it, and compares the answer.
pub(super) fn check<F: TestMemory>(
    tested: &mut F,
    token: &mut MayFault,
    input: &mut Unstructured<'_>,
) -> arbitrary::Result<()> {
    let range = tested.user().user_range();
    let vector = address(tested, Place::arbitrary(input)?.get(tested.pages()));
    let mut records = Vec::new();
    for _ in 0..input.int_in_range(0..=RECORDS)? {
        let base = match input.ratio(1, 8)? {
            true => input.arbitrary::<u64>()? as usize,
            false => address(tested, Place::arbitrary(input)?.get(tested.pages())).get(),
        };
        records.push((base, Length::arbitrary(input)?.get()));
    }
    let count = match input.ratio(1, 16)? {
        true => MAX_SEGMENTS + usize::from(input.arbitrary::<u8>()?),
        false => records.len(),
    };
    let room = records.len() + usize::from(input.ratio(15, 16)?) * MAX_SEGMENTS;
    lay_out(tested, vector.get(), &records);
    let expected = expected(tested, vector.get(), count, room);
    let mut segments = vec![UserSlice::EMPTY; room];
    let user = tested.user();
    let imported = import_iovec(&*user, token, vector, count, &mut segments);
    match (imported, expected) {
        (Ok(iter), Ok(total)) => assert_eq!(iter.count(), total, "W7: length of the request"),
        (Err(error), Err(expected)) => assert_eq!(error, expected, "W7: {records:x?}"),
        (got, expected) => {
            panic!("W7: {:?}, not {expected:?}: {records:x?}", got.map(|i| i.count()))
        }
    }
    if let Ok(total) = expected {
        assert!(segments[..count].iter().all(|segment| segment.lies_in(&*user)), "W7, U5");
        let sum: usize = segments[..count].iter().map(UserSlice::len).sum();
        assert_eq!(sum.min(MAX_RW_COUNT), total, "W7: segments");
        assert!(sum <= range.len() * count.max(1), "W7: segments beyond the range");
    }
    tested.check();
    Ok(())
}

/// Writes the records into user memory, as far as they fall on bytes that can be read.
fn lay_out<F: TestMemory>(tested: &mut F, vector: usize, records: &[(usize, usize)]) {
    let words = records.iter().flat_map(|(base, len)| [*base, *len]);
    let bytes: Vec<u8> = words.flat_map(usize::to_ne_bytes).collect();
    let range = tested.user().user_range();
    for (nth, byte) in bytes.iter().enumerate() {
        let addr = vector.wrapping_add(nth);
        if range.contains(&addr) && tested.allows(addr, Access::Read) {
            tested.put(addr, *byte);
        }
    }
}

/// What the import must say about the records that are there, however they came there.
fn expected<F: TestMemory>(
    tested: &mut F,
    vector: usize,
    count: usize,
    room: usize,
) -> Result<usize, IovecError> {
    let range = tested.user().user_range();
    if count > MAX_SEGMENTS {
        return Err(IovecError::Invalid);
    }
    let bytes = count * USER_IOVEC_BYTES;
    let inside = vector >= range.start && vector.checked_add(bytes).is_some_and(|e| e <= range.end);
    if bytes > 0 && !inside {
        return Err(IovecError::Fault);
    }
    if count > room {
        return Err(IovecError::Invalid);
    }
    if bytes == 0 {
        return Ok(0);
    }
    if tested.reach(vector, bytes, Access::Read, Policy::Faulting) < bytes {
        return Err(IovecError::Fault);
    }
    let mut raw = vec![0; bytes];
    tested.gather(&[(vector, bytes)], &mut raw);
    accepts(&range, &raw)
}

/// The total that the records name, or why they are no request.
fn accepts(range: &std::ops::Range<usize>, raw: &[u8]) -> Result<usize, IovecError> {
    let mut total: u128 = 0;
    let mut bad = false;
    for record in raw.chunks_exact(USER_IOVEC_BYTES) {
        let (base, len) = record.split_at(USER_IOVEC_BYTES / 2);
        let word = |bytes: &[u8]| usize::from_ne_bytes(bytes.try_into().expect("a word"));
        let (base, len) = (word(base), word(len));
        total += len as u128;
        let end = base as u128 + len as u128;
        bad |= base > range.end || len > 0 && (base < range.start || end > range.end as u128);
    }
    if total > isize::MAX as u128 {
        return Err(IovecError::Invalid);
    }
    if bad { Err(IovecError::Fault) } else { Ok((total as usize).min(MAX_RW_COUNT)) }
}
