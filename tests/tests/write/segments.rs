//! W7, and what empty, missing and bad segments do wherever they stand (A1–A6, S1–S3).

use faultless::page::{Errno, PageIndex};
use faultless::usercopy::{IovIter, IovecError, UserAddr, UserSlice, import_iovec};
use faultless_host::{AddressSpace, Mmu, Protection, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{PAGE, Rig, Setup, Tail, TestTask, calls, pattern};

/// A segment of a request, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Empty, at an address where there is memory.
    Empty,
    /// Empty, at an address where there is none.
    EmptyNowhere,
    /// Bytes in memory.
    Good,
    /// Bytes that were swapped out.
    Absent,
    /// No byte of it can be read.
    Bad,
}

const KINDS: [Kind; 5] = [Kind::Empty, Kind::EmptyNowhere, Kind::Good, Kind::Absent, Kind::Bad];

/// Bytes of a good segment: five cross the end of a page.
const LEN: usize = 1000;

/// Where each kind of segment lies: pages 8 (resident), 16 (to be swapped out), 24 (nothing).
fn segments<M: Mmu>(rig: &Rig<'_, M>, kinds: &[Kind]) -> Vec<UserSlice> {
    rig.user().evict(16, 2);
    let place = |(number, kind): (usize, &Kind)| match kind {
        Kind::Empty => rig.user().slice(8, number, 0),
        Kind::EmptyNowhere => rig.user().slice(24, number, 0),
        Kind::Good => rig.user().slice(8, number * LEN, LEN),
        Kind::Absent => rig.user().slice(16, number * LEN, LEN),
        Kind::Bad => rig.user().slice(24, 0, LEN),
    };
    kinds.iter().enumerate().map(place).collect()
}

/// The bytes that such a request can read.
fn readable(kinds: &[Kind], resident: &[u8], absent: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        match kind {
            Kind::Empty | Kind::EmptyNowhere => {}
            Kind::Good => bytes.extend(&resident[number * LEN..][..LEN]),
            Kind::Absent => bytes.extend(&absent[number * LEN..][..LEN]),
            Kind::Bad => break,
        }
    }
    bytes
}

/// Every sequence of up to `len` kinds.
fn sequences(len: usize) -> Vec<Vec<Kind>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..len {
        let until = all.len();
        for at in from..until {
            for kind in KINDS {
                let mut longer = all[at].clone();
                longer.push(kind);
                all.push(longer);
            }
        }
        from = until;
    }
    all
}

/// Writes a vector of `(base, length)` words to user memory and imports it.
fn import<M: Mmu>(
    space: &AddressSpace<M>,
    records: &[(usize, usize)],
    buf: &mut [UserSlice],
) -> Result<usize, IovecError> {
    let words = records.iter().flat_map(|&(base, len)| [base, len]);
    let bytes: Vec<u8> = words.flat_map(usize::to_ne_bytes).collect();
    space.map_anonymous(40, 8, Protection::ReadWrite);
    space.store(space.at(40, 0), &bytes).expect("the vector");
    let count = records.len();
    faultless_host::syscall(|token| {
        import_iovec(space, token, space.at(40, 0), count, buf).map(|iter| iter.count())
    })
}

on_both_mmus! {
    /// S1: an empty first segment in front of a missing one made the 2007 code loop for ever. Here
    /// are all such requests.
    fn w7_segments_of_every_kind_in_every_order_write_the_readable_prefix(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            let (resident, absent) = (pattern(1, 2 * PAGE), pattern(2, 2 * PAGE));
            let _ = (rig.source_at(8, 0, &resident), rig.source_at(16, 0, &absent));
            let initial = pattern(3, 3 * PAGE);
            for (round, kinds) in sequences(4).into_iter().enumerate() {
                let mut holds = initial.clone();
                // Over cached pages, over the end of the file, and past it.
                let pos = [100, 3 * PAGE - 1500, 3 * PAGE + 10][round % 3];
                if round % 9 < 3 { rig.fill(&initial); }
                let before = rig.file().size() as usize;
                holds.resize(before, 0);
                let got = rig.writev(pos as u64, &segments(&rig, &kinds));
                let bytes = readable(&kinds, &resident, &absent);
                let expected = match bytes.len() {
                    0 if kinds.contains(&Kind::Bad) => Err(Errno::Fault),
                    len => Ok(len),
                };
                assert_eq!(got, expected, "{kinds:?} at {pos}");
                let len = bytes.len();
                assert_eq!(rig.read(pos as u64, len), bytes, "{kinds:?} at {pos}");
                let size = if len == 0 { before } else { before.max(pos + len) };
                assert_eq!(rig.file().size() as usize, size, "{kinds:?} at {pos}");
            }
        }
    }

    /// S2: the 2007 code returned 10 and made the file 20 longer.
    fn w3_s2_an_append_of_ten_good_and_ten_bad_bytes_makes_the_file_ten_longer(machine) {
        for setup in Setup::all() {
            let mut holds = pattern(1, 100);
            let rig = Rig::holding(machine, setup, &holds);
            let good = rig.source_at(8, 0, &pattern(2, 10));
            let bad = rig.user().slice(24, 0, 10);
            let written = rig.write_as(&[good, bad], &rig.append(), &TestTask::new()).expect("ten");
            assert_eq!((written.bytes, written.end), (10, 110));
            holds.extend(pattern(2, 10));
            rig.assert_holds_for_good(&holds);
        }
    }

    /// S3: the 2007 code refused the whole piece of a page when a later part of it was bad.
    fn w1_s3_a_source_that_runs_into_a_bad_page_is_written_up_to_it(machine) {
        for setup in Setup::all() {
            let mut holds = pattern(1, 2 * PAGE);
            let rig = Rig::holding(machine, setup, &holds);
            rig.chill();
            let source = rig.source_before(8, &pattern(2, 1500), Tail::NoAccess, 1500);
            assert_eq!(rig.write(500, source), Ok(1500));
            overlay(&mut holds, 500, &pattern(2, 1500));
            rig.assert_holds_for_good(&holds);
        }
    }

    /// A5: the second segment is the page that is written to, not uptodate, seen through a mapping.
    fn w6_a5_a_segment_that_maps_the_cold_destination_page_is_no_problem(machine) {
        for setup in Setup::distinct() {
            let initial = pattern(1, 2 * PAGE);
            let rig = Rig::holding(machine, setup, &initial);
            for hole in [0, PAGE] {
                rig.fill(&initial);
                rig.chill();
                rig.user().map_file(30, 2, rig.file(), PageIndex::ZERO, Protection::Read);
                let good = rig.source_at(8, 0, &pattern(2, 100));
                let mapped = rig.user().slice(30, hole + 2000, 300);
                assert_eq!(rig.writev(50, &[good, mapped]), Ok(400));
                let mut holds = initial.clone();
                overlay(&mut holds, 50, &pattern(2, 100));
                overlay(&mut holds, 150, &initial[hole + 2000..][..300]);
                rig.assert_holds_for_good(&holds);
                rig.user().unmap(30, 2);
            }
        }
    }

    fn w7_a_thousand_segments_of_odd_lengths_land_in_order(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            let bytes = pattern(5, 16 * PAGE);
            let _ = rig.source_at(8, 0, &bytes);
            let mut holds = Vec::new();
            let mut segments = Vec::new();
            for number in 0..1024_usize {
                let (offset, len) = (number * 61 % (15 * PAGE), number * 7 % 97);
                segments.push(rig.user().slice(8, offset, len));
                holds.extend(&bytes[offset..offset + len]);
            }
            for cold in [false, true] {
                if cold { rig.chill(); }
                assert_eq!(rig.writev(0, &segments), Ok(holds.len()));
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w7_no_segments_write_nothing(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        assert_eq!(import(rig.user(), &[], &mut []), Ok(0));
        assert_eq!(rig.writev(5, &[]), Ok(0));
        rig.assert_holds(&[]);
    }

    fn w7_more_than_1024_segments_are_refused_and_1024_are_not(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let mut buf = vec![UserSlice::EMPTY; 1025];
        let base = rig.user().at(8, 0).get();
        let records = vec![(base, 1); 1025];
        assert_eq!(import(rig.user(), &records, &mut buf), Err(IovecError::Invalid));
        assert_eq!(import(rig.user(), &records[1..], &mut buf), Ok(1024));
        let empty = vec![(base, 0); 1025];
        assert_eq!(import(rig.user(), &empty, &mut buf), Err(IovecError::Invalid));
        assert_eq!(IovIter::new(rig.user(), &buf).map(|iter| iter.count()), Err(IovecError::Invalid));
    }

    fn w7_a_negative_or_overflowing_total_is_refused_before_an_address_is_looked_at(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let mut buf = [UserSlice::EMPTY; 8];
        let base = rig.user().at(8, 0).get();
        let max = isize::MAX as usize;
        for lens in [&[usize::MAX][..], &[max + 1], &[1, usize::MAX], &[max, 1], &[0, max, max, 5]] {
            let records: Vec<_> = lens.iter().map(|&len| (usize::MAX - 4, len)).collect();
            assert_eq!(import(rig.user(), &records, &mut buf), Err(IovecError::Invalid), "{lens:?}");
        }
        assert_eq!(import(rig.user(), &[(base, max)], &mut buf), Err(IovecError::Fault));
    }

    fn w7_an_address_out_of_range_in_any_segment_is_refused_up_front(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let base = rig.user().at(8, 0).get();
        let end = rig.user().at(rig.user().pages(), 0).get();
        for bad in [(end, 1), (end - 1, 2), (usize::MAX, 1), (usize::MAX - 1, 2), (1, 1), (end + PAGE, 0)] {
            for place in 0..4 {
                let mut buf = [UserSlice::EMPTY; 4];
                let mut records = [(base, 10), (base, 0), (base + 3, 10), (base, 1)];
                records[place] = bad;
                let got = import(rig.user(), &records, &mut buf);
                assert_eq!(got, Err(IovecError::Fault), "{bad:?} in place {place}");
            }
        }
    }

    /// A7: a base near the top of the address space, and a length that wraps round to a good
    /// address.
    fn w7_a7_a_range_that_wraps_is_no_slice(machine) {
        let space = machine.space();
        let base = space.at(8, 0).get();
        for (addr, len) in [(usize::MAX, 2), (usize::MAX - 10, base + 11), (base, usize::MAX)] {
            assert!(UserSlice::new(&space, UserAddr::new(addr), len).is_err(), "{addr:#x}+{len:#x}");
        }
    }

    fn w7_a_total_beyond_the_limit_is_clipped_to_it(machine) {
        let space = machine.space();
        let whole = space.slice(0, 0, space.pages() * PAGE);
        let segments = vec![whole; 1024];
        assert!(segments.len() * whole.len() > 0x7fff_f000);
        assert_eq!(IovIter::new(&space, &segments).map(|iter| iter.count()), Ok(0x7fff_f000));
        let mut records = vec![(whole.addr().get(), whole.len()); 600];
        let mut buf = vec![UserSlice::EMPTY; 1024];
        assert_eq!(import(&space, &records, &mut buf), Ok(0x7fff_f000));
        records.truncate(10);
        assert_eq!(import(&space, &records, &mut buf), Ok(10 * whole.len()));
    }

    fn w7_a_vector_that_cannot_be_read_is_a_fault(machine) {
        let space = machine.space();
        let mut buf = [UserSlice::EMPTY; 64];
        space.map_anonymous(8, 1, Protection::ReadWrite);
        let results = [space.at(9, 0), space.at(8, PAGE - 8), UserAddr::new(usize::MAX - 7)].map(|uvec| {
            machine.syscall(|token| import_iovec(&space, token, uvec, 64, &mut buf).map(|iter| iter.count()))
        });
        assert_eq!(results, [Err(IovecError::Fault); 3]);
    }

    /// A2: what lies behind the last segment of an array is never looked at, whatever remains.
    fn w7_a2_trailing_empty_segments_at_the_end_of_a_page_are_skipped(machine) {
        let rig = Rig::new(machine, Setup::PLAIN);
        let good = rig.source_at(8, 0, &pattern(1, 10));
        let none = good.prefix(0);
        assert_eq!(rig.writev(0, &[good, none, none, none]), Ok(10));
        assert_eq!(rig.writev(10, &[none, none, none]), Ok(0));
        let space = rig.user();
        let base = space.at(8, 0).get();
        let bytes: Vec<u8> = [base, 10, base, 0].into_iter().flat_map(usize::to_ne_bytes).collect();
        let uvec = rig.source_before(12, &bytes, Tail::Unmapped, 0);
        let mut buf = [UserSlice::EMPTY; 2];
        let count = machine.syscall(|token| import_iovec(space, token, uvec.addr(), 2, &mut buf).map(|iter| iter.count()));
        assert_eq!(count, Ok(10));
        rig.assert_holds(&pattern(1, 10));
    }

    fn w7_reading_skips_empty_segments_and_fills_the_others_in_order(machine) {
        let bytes = pattern(1, 9000);
        let rig = Rig::holding(machine, Setup::PLAIN, &bytes);
        rig.chill();
        let space = rig.user();
        space.map_anonymous(8, 4, Protection::ReadWrite);
        space.evict(8, 4);
        let segments = [space.slice(24, 0, 0), space.slice(8, 7, 5000), space.slice(9, 0, 0), space.slice(10, 0, 5000)];
        assert_eq!(calls::preadv(space, rig.file(), 100, &segments), Ok(8900));
        let mut got = space.read_vec(space.at(8, 7), 5000).expect("user memory");
        got.extend(space.read_vec(space.at(10, 0), 3900).expect("user memory"));
        faultless_tests::assert_same(&got, &bytes[100..], "what was read");
    }
}
