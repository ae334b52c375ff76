//! P2: what lies past the end of the file is zero, through the file, through mappings, and in the
//! store.

use std::sync::Arc;

use faultless::filemap::{Strategy, WriteOptions};
use faultless::page::{Errno, PAGE_SIZE, PageIndex};
use faultless_host::stores::{BlockStore, MemoryStore};
use faultless_host::{Action, Event, Protection, UserFault, When};
use faultless_tests::balanced_on_both_mmus;
use faultless_tests::process::{
    FREE, PAGE, Process, assert_bytes, evict, fsync, make_cold, pattern, set_size, writeback,
};
use faultless_tests::strict::StrictStore;

const BLOCKS: [usize; 4] = [512, 1024, 2048, 4096];

/// How the end of the file moves up past the scribble.
#[derive(Clone, Copy, Debug)]
enum Growth {
    /// `set_size`.
    SetSize,
    /// A write that begins after a gap in the same page.
    GapInPage,
    /// A write that begins in a later page.
    GapToNextPage,
    /// An append: no gap, but the rest of the page stays past the end.
    Append,
}

const GROWTHS: [Growth; 4] =
    [Growth::SetSize, Growth::GapInPage, Growth::GapToNextPage, Growth::Append];

/// Grows a file of 100 bytes; what it has to hold then.
fn grow<M: faultless_host::Mmu>(
    process: &Process<M>,
    file: &faultless_tests::process::File,
    growth: Growth,
    strategy: Strategy,
    mut want: Vec<u8>,
) -> Vec<u8> {
    let write = |pos: u64, want: &mut Vec<u8>| {
        let options = WriteOptions::at(pos).with_strategy(strategy);
        assert_eq!(process.write_with(file, b"growth", &options), Ok(6), "{growth:?}");
        want.resize((pos as usize + 6).max(want.len()), 0);
        want[pos as usize..pos as usize + 6].copy_from_slice(b"growth");
    };
    match growth {
        Growth::SetSize => {
            set_size(file, 3 * PAGE + 7).unwrap();
            want.resize(3 * PAGE_SIZE + 7, 0);
        }
        Growth::GapInPage => write(3000, &mut want),
        Growth::GapToNextPage => write(PAGE + 50, &mut want),
        Growth::Append => {
            write(100, &mut want);
            set_size(file, PAGE).unwrap();
            want.resize(PAGE_SIZE, 0);
        }
    }
    want
}

balanced_on_both_mmus! {
    /// Museum B13: scribble past the end through a mapping, then extend.
    fn p2_a_scribble_past_the_end_never_becomes_data(machine) {
        for block in BLOCKS {
            for growth in GROWTHS {
                for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
                    let content = pattern(1, 100);
                    let store = StrictStore::with_contents(block, strategy, &content);
                    let (process, file) = (Process::new(machine), machine.inode(&store, 100));
                    let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
                    process.space.fill(addr.wrapping_add(100), 0xEE, PAGE_SIZE - 100).unwrap();
                    let want = grow(&process, &file, growth, strategy, content);
                    assert_bytes(&process.contents(&file), &want, &format!("{growth:?} {block}"));
                    make_cold(&file);
                    assert_bytes(&process.contents(&file), &want, "again from the store");
                    assert_bytes(&store.contents(), &want, "the store");
                    assert_eq!(store.stray(file.size()), None, "{growth:?} {block}");
                    store.assert_balanced();
                }
            }
        }
    }

    /// The page was write-protected and cleaned by a writeback in between, and stored to past the
    /// end once more.
    fn p2_a_scribble_after_a_writeback_never_becomes_data(machine) {
        for growth in GROWTHS {
            let store = StrictStore::new(512, Strategy::BeginEnd);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(2, 100)), Ok(100));
            let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
            for _ in 0..3 {
                process.space.fill(addr.wrapping_add(100), 0xEE, 900).unwrap();
                fsync(&file).unwrap();
                assert_eq!(store.stray(100), None);
            }
            process.space.fill(addr.wrapping_add(200), 0xEF, 3000).unwrap();
            let want = grow(&process, &file, growth, Strategy::BeginEnd, pattern(2, 100));
            assert_bytes(&process.contents(&file), &want, &format!("{growth:?}"));
            make_cold(&file);
            assert_bytes(&process.contents(&file), &want, "again from the store");
        }
    }

    /// The view that scribbles may be of another process, and the page may have been unmapped
    /// since.
    fn p2_a_scribble_survives_neither_munmap_nor_its_process(machine) {
        let store = StrictStore::new(1024, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, b"data"), Ok(4));
        {
            let other = Process::new(machine);
            let addr = other.map(FREE, 1, &file, 0, Protection::ReadWrite);
            other.space.fill(addr.wrapping_add(4), 0xEE, PAGE_SIZE - 4).unwrap();
            other.space.unmap(FREE, 1);
        }
        set_size(&file, PAGE).unwrap();
        let bytes = process.contents(&file);
        assert_eq!(&bytes[..4], b"data");
        assert!(bytes[4..].iter().all(|&byte| byte == 0));
    }

    fn p2_what_writeback_sends_is_zero_past_the_end(machine) {
        for block in BLOCKS {
            for size in [1, 511, 512, 513, 1024, 4095] {
                let store = StrictStore::new(block, Strategy::BeginEnd);
                let (process, file) = (Process::new(machine), machine.inode(&store, 0));
                let content = pattern(3, size);
                assert_eq!(process.write(&file, 0, &content), Ok(size));
                let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
                process.space.fill(addr.wrapping_add(size), 0xEE, PAGE_SIZE - size).unwrap();
                fsync(&file).unwrap();
                assert_eq!(store.stray(size as u64), None, "{block} {size}");
                assert_bytes(&store.contents(), &content, "the store");
            }
        }
    }

    /// Cut in the middle of a page and of a block, and back: in the cache, not in the cache, and
    /// half in the store.
    fn p2_truncating_down_and_up_exposes_zeros(machine) {
        let content = pattern(4, 3 * PAGE_SIZE);
        for block in BLOCKS {
            for cut in [0, 1, 100, 511, 512, 4095, 4096, 4097, 5000, 8191, 8192, 9000] {
                for warmth in 0..4 {
                    let store = StrictStore::with_contents(block, Strategy::BeginEnd, &content);
                    let (process, file) = (Process::new(machine), machine.inode(&store, 3 * PAGE));
                    match warmth {
                        0 => {}
                        1 => drop(process.contents(&file)),
                        2 => assert_eq!(process.write(&file, 0, &content), Ok(3 * PAGE_SIZE)),
                        _ => {
                            let addr = process.map(FREE, 3, &file, 0, Protection::ReadWrite);
                            process.space.store(addr, &content).unwrap();
                        }
                    }
                    set_size(&file, cut).unwrap();
                    if cut % 2 == 1 {
                        assert_eq!(store.stray(cut), None, "{block} {cut} {warmth}");
                    }
                    set_size(&file, 3 * PAGE).unwrap();
                    let mut want = content[..cut as usize].to_vec();
                    want.resize(3 * PAGE_SIZE, 0);
                    let what = format!("{block} {cut} {warmth}");
                    assert_bytes(&process.contents(&file), &want, &what);
                    make_cold(&file);
                    assert_bytes(&process.contents(&file), &want, &what);
                    assert_bytes(&store.contents(), &want, &what);
                }
            }
        }
    }

    /// The mapped page is cut while it is dirty and mapped: what the program sees past the end is
    /// zero at once.
    fn p2_a_mapping_sees_zeros_past_the_new_end(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(5, 2 * PAGE_SIZE)), Ok(2 * PAGE_SIZE));
        let addr = process.map(FREE, 2, &file, 0, Protection::ReadWrite);
        process.space.fill(addr, 0xAA, 2 * PAGE_SIZE).unwrap();
        set_size(&file, 1000).unwrap();
        let page = process.space.read_vec(addr, PAGE_SIZE).unwrap();
        assert!(page[..1000].iter().all(|&byte| byte == 0xAA));
        assert!(page[1000..].iter().all(|&byte| byte == 0));
        assert_eq!(process.byte(addr.wrapping_add(PAGE_SIZE)), Err(UserFault::Bus));
    }

    fn p2_a_page_fetched_from_the_store_shows_zeros_past_the_end(machine) {
        // The store holds a whole block; the file ends inside it, as after a crash between data and
        // size.
        let store = StrictStore::with_contents(4096, Strategy::BeginEnd, &pattern(6, PAGE_SIZE));
        let (process, file) = (Process::new(machine), machine.inode(&store, 700));
        let addr = process.map(FREE, 1, &file, 0, Protection::Read);
        let page = process.space.read_vec(addr, PAGE_SIZE).unwrap();
        assert_eq!(page[..700], pattern(6, PAGE_SIZE)[..700]);
        assert!(page[700..].iter().all(|&byte| byte == 0));
    }

    /// A growing write whose copy fails must leave what lies past the end as it was: zero.
    fn p2_a_failed_growing_write_leaves_no_bytes_past_the_end(machine) {
        for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
            let store = StrictStore::new(512, strategy);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, b"0123456789"), Ok(10));
            // 20 readable bytes, then nothing: 20 land, of 200.
            process.space.fill(process.space.at(0, PAGE_SIZE - 20), 0x33, 20).unwrap();
            process.space.unmap(1, 1);
            let source = process.space.slice(0, PAGE_SIZE - 20, 200);
            assert_eq!(process.write_from(&file, source, &WriteOptions::at(10)), Ok(20));
            process.space.map_anonymous(1, 1, Protection::ReadWrite);
            assert_eq!(file.size(), 30);
            set_size(&file, PAGE).unwrap();
            let mut want = b"0123456789".to_vec();
            want.resize(30, 0x33);
            want.resize(PAGE_SIZE, 0);
            assert_bytes(&process.contents(&file), &want, "zeros after what landed");
        }
    }

    /// A store through the mapping between the moment the file is cut and the moment it grows
    /// again.
    fn p2_a_store_between_cut_and_growth_is_hidden(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(7, PAGE_SIZE)), Ok(PAGE_SIZE));
        let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
        for round in 0..5_u8 {
            process.space.store(addr.wrapping_add(50), &[round]).unwrap();
            set_size(&file, 100).unwrap();
            process.space.fill(addr.wrapping_add(100), 0xEE, 3000).unwrap();
            if round == 2 {
                writeback(&file, 0..PAGE).unwrap();
            }
            if round == 3 {
                process.space.unmap(FREE, 1);
                fsync(&file).unwrap();
                assert_eq!(evict(&file), 1);
                process.map(FREE, 1, &file, 0, Protection::ReadWrite);
            }
            set_size(&file, PAGE).unwrap();
            let bytes = process.contents(&file);
            assert_eq!(bytes[50], round);
            assert!(bytes[100..].iter().all(|&byte| byte == 0), "round {round}");
        }
    }

    /// The size grows while the writeback of the page with the old end is under way.
    fn p2_growth_during_writeback_loses_nothing(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        let mut want = Vec::new();
        for round in 0..50_usize {
            let piece = pattern(round as u8, 97 + round);
            let task = {
                let file = Arc::clone(&file);
                faultless_tests::threads::spawn(move || writeback(&file, 0..u64::MAX).unwrap())
            };
            assert_eq!(process.write(&file, want.len() as u64, &piece), Ok(piece.len()));
            want.extend_from_slice(&piece);
            task.join().unwrap();
        }
        make_cold(&file);
        assert_bytes(&process.contents(&file), &want, "every append");
        assert_eq!(store.stray(file.size()), None);
    }

    /// A short copy in the page of the end, retried: the rest of the page stays zero until the
    /// bytes arrive.
    fn p2_a_short_append_keeps_the_tail_zero(machine) {
        let store = StrictStore::new(512, Strategy::BeginEnd);
        let (process, file) = (Process::new(machine), machine.inode(&store, 0));
        assert_eq!(process.write(&file, 0, &pattern(8, 10)), Ok(10));
        process.space.script().add(Event::AtomicCopy, When::Every(2), Action::Short(3));
        process.space.script().add(Event::AtomicCopy, When::Every(2), Action::Steal);
        assert_eq!(process.write(&file, 10, &pattern(9, 100)), Ok(100));
        process.space.script().clear();
        let want = [pattern(8, 10), pattern(9, 100)].concat();
        assert_bytes(&process.contents(&file), &want, "what was written");
        set_size(&file, PAGE).unwrap();
        assert!(process.contents(&file)[110..].iter().all(|&byte| byte == 0));
    }

    /// However far away the write begins: the next page, or where no product of numbers fits any
    /// more.
    fn p2_a_scribble_is_zeroed_before_a_write_far_past_it(machine) {
        for pos in [PAGE, 1 << 40, 1 << 62] {
            let store = MemoryStore::volatile();
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(1, 100)), Ok(100));
            let addr = process.map(FREE, 1, &file, 0, Protection::ReadWrite);
            process.space.store(addr.wrapping_add(200), b"scribble").unwrap();
            assert_eq!(process.write(&file, pos, b"four"), Ok(4));
            assert_bytes(&process.read(&file, 100, 300).unwrap(), &[0; 300], "the gap");
            set_size(&file, 0).unwrap();
        }
    }

    /// A file of 1 TiB with 100 bytes, nowhere but in memory, is read whole in parts.
    fn w5_holes_of_a_file_in_memory_read_as_zeros_and_take_no_memory(machine) {
        const PART: usize = 4 * PAGE_SIZE;
        let (process, file) = (Process::new(machine), machine.inode(&MemoryStore::volatile(), 0));
        let data = 1 << 33;
        set_size(&file, 1 << 40).unwrap();
        assert_eq!(process.write(&file, data - 50, &pattern(1, 100)), Ok(100));
        for pos in [1, (1 << 20) - 5, (1 << 40) - PART as u64] {
            assert_bytes(&process.read(&file, pos, PART).unwrap(), &[0; PART], "a hole");
        }
        let zeros = [0; PAGE_SIZE];
        let want = [&zeros[..], &pattern(1, 100), &zeros].concat();
        assert_bytes(&process.read(&file, data - 50 - PAGE, want.len()).unwrap(), &want, "data");
        assert_eq!(process.read(&file, (1 << 40) - 5, 10).unwrap(), [0; 5], "up to the end");
        assert_eq!(file.mapping().cached_pages(), 2);
        // The target ends two pages on.
        let (mapped, to) = (machine.inode(&MemoryStore::new(), 3 * PAGE), 2 * PAGE);
        set_size(&mapped, to).unwrap();
        process.map(FREE, 3, &mapped, 0, Protection::ReadWrite);
        let target = process.space.slice(FREE, 10, 3 * PAGE_SIZE - 10);
        assert_eq!(process.read_to(&file, 0, target), Ok(to as usize - 10));
    }

    /// A fault finds the file held by a write that may move the end, and asks for room for the
    /// whole page. The write gives back what lies past its end (W9), whether it lands or ends in an
    /// error. Strategy A faults in before it asks for any room itself.
    fn p2_room_for_a_store_past_the_end_does_not_outlast_the_write(machine) {
        let strategies = [Strategy::BeginEnd, Strategy::PrepareCommit];
        for (reachable, strategy) in [true, false].into_iter().flat_map(|r| strategies.map(|s| (r, s))) {
            let store = BlockStore::new(512, 100);
            let (process, file) = (Process::new(machine), machine.inode(&store, 0));
            assert_eq!(process.write(&file, 0, &pattern(1, 100)), Ok(100));
            make_cold(&file);
            let source = process.space.slice(5, 0, 20);
            process.space.store(process.space.at(5, 0), &pattern(2, 20)).unwrap();
            process.space.evict(5, 1);
            let other = machine.space();
            other.map_file(0, 1, &file, PageIndex::ZERO, Protection::ReadWrite);
            let stores = Action::Call(Arc::new(move |_| {
                let other = other.clone();
                let thread = faultless_tests::threads::spawn(move || other.store(other.at(0, 0), b"stored"));
                assert_eq!(thread.join().expect("no panic"), Ok(()));
            }));
            process.space.script().add(Event::FaultIn, When::Nth(1), stores);
            if !reachable {
                process.space.script().add(Event::FaultIn, When::Nth(1), Action::Refuse);
            }
            let wrote = process.write_from(&file, source, &WriteOptions::append().with_strategy(strategy));
            assert_eq!(wrote, if reachable { Ok(20) } else { Err(Errno::Fault) });
            process.space.script().clear();
            assert_eq!(store.blocks_past(file.size()), 0, "blocks past the end");
            make_cold(&file);
            assert_eq!(store.complaints(), Vec::<String>::new());
            let mut want = [b"stored", &pattern(1, 100)[6..]].concat();
            if reachable {
                want.extend_from_slice(&pattern(2, 20));
            }
            assert_bytes(&process.contents(&file), &want, "from the store");
        }
    }
}
