//! W7 and U5: segment vectors as user space hands them over.

use faultless::filemap::{NoTask, WriteOptions};
use faultless::page::PAGE_SIZE;
use faultless::usercopy::{
    IovecError, MAX_RW_COUNT, MAX_SEGMENTS, USER_IOVEC_BYTES, UserAddr, UserMemory, UserSlice,
    import_iovec,
};
use faultless_host::stores::MemoryStore;
use faultless_host::{Mmu, Protection, syscall};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{File, Process, assert_bytes, pattern};

/// Where the vector lies: it may cross into the next pages.
const VECTOR: usize = 40;

/// A base and a length.
type Record = (usize, usize);

/// Puts the records at the end of the page before `VECTOR + pages`, so that the vector ends with
/// the page.
fn put<M: Mmu>(process: &Process<M>, pages: usize, records: &[Record]) -> UserAddr {
    let bytes: Vec<u8> = records
        .iter()
        .flat_map(|(base, len)| [base.to_ne_bytes(), len.to_ne_bytes()].concat())
        .collect();
    let start = VECTOR * PAGE_SIZE + pages * PAGE_SIZE - bytes.len();
    let addr = process.space.at(start / PAGE_SIZE, start % PAGE_SIZE);
    process.space.store(addr, &bytes).expect("the vector");
    addr
}

/// `writev(2)`: what the import says, or what the write returns.
fn writev<M: Mmu>(
    process: &Process<M>,
    file: &File,
    vector: UserAddr,
    count: usize,
) -> Result<usize, IovecError> {
    let mut buf = [UserSlice::EMPTY; MAX_SEGMENTS];
    syscall(|token| {
        let mut from = import_iovec(&process.space, token, vector, count, &mut buf)?;
        let options = WriteOptions::at(0);
        let written = file.write(token, &mut from, &options, &NoTask);
        written.map(|written| written.bytes).map_err(|_| IovecError::Fault)
    })
}

balanced_on_both_mmus! {
    fn w7_the_table_of_segment_vectors(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let range = process.space.user_range();
        let at = |page: usize| process.space.at(page, 0).get();
        process.space.store(process.space.at(0, 0), &pattern(1, PAGE_SIZE)).unwrap();
        let good = (at(0), 10);
        let half = isize::MAX as usize / 2 + 1;
        let (invalid, fault) = (Err(IovecError::Invalid), Err(IovecError::Fault));
        let table: [(&str, Vec<Record>, Result<usize, IovecError>); 18] = [
            ("none", vec![], Ok(0)),
            ("one", vec![good], Ok(10)),
            ("empty ones only", vec![(at(0), 0); 5], Ok(0)),
            ("empty first", vec![(at(0), 0), good], Ok(10)),
            ("empty between", vec![good, (at(1), 0), good], Ok(20)),
            ("empty last", vec![good, (at(1), 0)], Ok(10)),
            ("empty at null", vec![(0, 0), good], Ok(10)),
            ("negative first", vec![(at(0), usize::MAX), good], invalid),
            ("negative last", vec![good, (at(0), usize::MAX)], invalid),
            ("just negative", vec![(at(0), isize::MAX as usize + 1)], invalid),
            ("overflowing total", vec![(range.start, half), (range.start, half)], invalid),
            ("wrapping total", vec![good, (range.start, usize::MAX - 5)], invalid),
            ("out of range first", vec![(range.end, 1), good], fault),
            ("out of range last", vec![good, (range.end, 1)], fault),
            ("out of range in the middle", vec![good, (usize::MAX - 1, 1), good], fault),
            ("across the end", vec![good, (range.end - 1, 2)], fault),
            ("wrapping address", vec![good, (usize::MAX, 2)], fault),
            ("kernel address after a short prefix", vec![good, (usize::MAX / 2, 8)], fault),
        ];
        for (what, records, expected) in table {
            let vector = put(&process, 1, &records);
            assert_eq!(writev(&process, &file, vector, records.len()), expected, "{what}");
            if expected.is_err() {
                continue;
            }
            assert_eq!(file.size() as usize, expected.unwrap().max(file.size() as usize), "{what}");
        }
    }

    /// Refused up front: nothing of the good prefix lands, and nothing else changes.
    fn w7_a_bad_address_in_any_segment_changes_nothing(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        file.mark_set_id();
        let good = (process.space.at(0, 0).get(), 1);
        for bad in 0..20 {
            let mut records = vec![good; 20];
            records[bad] = (process.space.user_range().end, 1);
            let vector = put(&process, 1, &records);
            assert_eq!(writev(&process, &file, vector, 20), Err(IovecError::Fault), "{bad}");
        }
        assert_eq!((file.size(), file.is_set_id()), (0, true));
    }

    fn w7_1024_segments_are_a_request_and_1025_are_not(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        process.space.store(process.space.at(0, 0), &pattern(2, PAGE_SIZE)).unwrap();
        let at = |n: usize| (process.space.at(0, n).get(), 1 + n % 3);
        let records: Vec<Record> = (0..MAX_SEGMENTS).map(at).collect();
        let vector = put(&process, 5, &records);
        let total = records.iter().map(|(_, len)| len).sum();
        assert_eq!(writev(&process, &file, vector, MAX_SEGMENTS), Ok(total));
        let bytes = pattern(2, PAGE_SIZE);
        let want: Vec<u8> = (0..MAX_SEGMENTS).flat_map(|n| bytes[n..n + 1 + n % 3].to_vec()).collect();
        assert_bytes(&process.contents(&file), &want, "segment by segment");
        for count in [MAX_SEGMENTS + 1, usize::MAX / USER_IOVEC_BYTES + 1, usize::MAX] {
            // Refused before the vector is looked at: it need not even exist.
            let nowhere = UserAddr::new(8);
            assert_eq!(writev(&process, &file, nowhere, count), Err(IovecError::Invalid));
        }
    }

    fn w7_a_total_beyond_the_limit_is_clipped_to_it(machine) {
        let process = Process::new(machine);
        let range = process.space.user_range();
        // Each segment as large as the address space, so often that the total passes the limit.
        let count = MAX_RW_COUNT / range.len() + 2;
        let records = vec![(range.start, range.len()); count];
        let vector = put(&process, 9, &records);
        let mut buf = [UserSlice::EMPTY; MAX_SEGMENTS];
        let total = syscall(|token| {
            import_iovec(&process.space, token, vector, count, &mut buf).map(|iter| iter.count())
        });
        assert_eq!(total, Ok(MAX_RW_COUNT));
    }

    /// Museum A2: the vector ends where its page ends, and nothing is mapped behind it.
    fn w7_the_vector_is_not_read_past_its_end(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        process.space.unmap(VECTOR + 1, 1);
        process.space.store(process.space.at(0, 0), &pattern(3, 100)).unwrap();
        for trailing in 0..4 {
            let mut records = vec![(process.space.at(0, 0).get(), 7); 3];
            records.extend(vec![(process.space.at(1, 0).get(), 0); trailing]);
            let vector = put(&process, 1, &records);
            assert_eq!(writev(&process, &file, vector, records.len()), Ok(21), "{trailing}");
        }
    }

    fn w7_a_vector_that_runs_into_an_unmapped_page_is_a_fault(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let good = (process.space.at(0, 0).get(), 1);
        for records in [1, 2, 8, 9, 100] {
            let vector = put(&process, 1, &vec![good; records]);
            process.space.unmap(VECTOR + 1, 1);
            let result = writev(&process, &file, vector, records + 1);
            assert_eq!(result, Err(IovecError::Fault), "{records}");
            // A record that is torn by the border is no better.
            let torn = vector.wrapping_add(USER_IOVEC_BYTES / 2);
            assert_eq!(writev(&process, &file, torn, records), Err(IovecError::Fault));
        }
        assert_eq!(file.size(), 0);
    }

    /// The vector is cold, or is not to be read.
    fn w7_a_cold_vector_is_faulted_in_and_a_protected_one_refused(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        let vector = put(&process, 1, &[(process.space.at(0, 0).get(), 9); 3]);
        process.space.evict(0, 100);
        assert_eq!(writev(&process, &file, vector, 3), Ok(27));
        process.space.protect(VECTOR, 1, Protection::None);
        assert_eq!(writev(&process, &file, vector, 3), Err(IovecError::Fault));
    }

    /// The vector lies in the very page of the file that is written, and is overwritten by what it
    /// describes.
    fn w7_a_vector_inside_the_destination_is_read_once(machine) {
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::new(), 0));
        assert_eq!(process.write(&file, 0, &vec![0; PAGE_SIZE]), Ok(PAGE_SIZE));
        process.map(VECTOR, 1, &file, 0, Protection::ReadWrite);
        process.space.fill(process.space.at(0, 0), 0xFF, PAGE_SIZE).unwrap();
        let vector = put(&process, 1, &[(process.space.at(0, 0).get(), 2048); 2]);
        assert_eq!(writev(&process, &file, vector, 2), Ok(PAGE_SIZE));
        assert!(process.contents(&file).iter().all(|&byte| byte == 0xFF));
    }
}
