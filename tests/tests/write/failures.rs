//! W4, W9 and W11: the store is full, fails, or memory is short, at each call in turn. Progress
//! beats the error, nothing begun is left behind, and the same write succeeds once the trouble is
//! over.

use std::sync::Arc;

use faultless::filemap::{NoTask, OpenFile, OpenFlags, SyncKind};
use faultless::page::{Errno, PageIndex, Strategy};
use faultless::usercopy::IovIter;
use faultless_host::stores::{BlockStore, Call, FaultyStore, HookedStore, MemoryStore};
use faultless_host::{Machine, Mmu, When, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::setup::STRATEGIES;
use faultless_tests::{Backing, File, PAGE, Rig, Setup, Store, Tail, calls, pattern};

/// A file on blocks of `block` bytes whose store fails on request.
fn faulty_rig<M: Mmu>(
    machine: &Machine<M>,
    strategy: Strategy,
    block: usize,
) -> (Rig<'_, M>, Arc<FaultyStore<BlockStore>>) {
    let blocks = BlockStore::new(block, 1024 * (PAGE / block));
    let faulty = FaultyStore::new(Arc::clone(&blocks), machine.watchdog());
    let store = Store::around_blocks(Arc::clone(&faulty), blocks);
    let setup = Setup { backing: Backing::Blocks(block), strategy };
    println!("{setup}");
    (Rig::over(machine, setup, store), faulty)
}

/// A file of which pages 1 and 3 are holes and the end lies in the middle of page 4; cold.
fn sieve<M: Mmu>(rig: &Rig<'_, M>) -> Vec<u8> {
    rig.fill(&[]);
    let mut holds = vec![0; 4 * PAGE + 1500];
    for page in [0, 2, 4] {
        let end = holds.len().min((page + 1) * PAGE);
        let bytes = pattern(page as u64 + 1, end - page * PAGE);
        let source = rig.source_at(900, 0, &bytes);
        assert_eq!(rig.write((page * PAGE) as u64, source), Ok(bytes.len()));
        holds[page * PAGE..end].copy_from_slice(&bytes);
    }
    rig.chill();
    holds
}

/// What the sweeps write: it begins in a page, crosses pages of every kind and ends past the end of
/// the file.
const POS: usize = 700;
const LEN: usize = 6 * PAGE;

/// Writes while something fails; checks the count and the file; then everything works and the rest
/// is written.
#[track_caller]
fn survive<M: Mmu>(
    rig: &Rig<'_, M>,
    holds: &[u8],
    expected: Errno,
    heal: impl Fn(),
) -> Result<usize, Errno> {
    let bytes = pattern(99, LEN);
    let source = rig.source_at(8, 33, &bytes);
    let got = rig.write(POS as u64, source);
    let landed = match got {
        Ok(landed) => landed,
        Err(errno) => {
            assert_eq!(errno, expected);
            0
        }
    };
    assert!(landed > 0 || got.is_err(), "no progress without an error");
    heal();
    let mut holds = holds.to_vec();
    overlay(&mut holds, POS, &bytes[..landed]);
    rig.assert_holds(&holds);
    rig.store().assert_in_order(holds.len() as u64);
    assert_eq!(rig.write((POS + landed) as u64, source.skip(landed)), Ok(LEN - landed));
    overlay(&mut holds, POS, &bytes);
    rig.assert_holds_for_good(&holds);
    got
}

on_both_mmus! {
    fn w9_no_space_at_each_call_in_turn_is_a_short_count_with_nothing_left_behind(machine) {
        for strategy in STRATEGIES {
            for block in [512, 1024, 4096] {
                for errno in [Errno::NoSpace, Errno::Io] {
                    for nth in 1.. {
                        let (rig, faulty) = faulty_rig(machine, strategy, block);
                        let holds = sieve(&rig);
                        let before = faulty.count(Call::WriteBegin);
                        faulty.fail(Call::WriteBegin, When::From(before + nth), errno);
                        let got = survive(&rig, &holds, errno, || faulty.heal());
                        if got == Ok(LEN) {
                            assert!(nth > 6, "the write asked for room for each new page");
                            break;
                        }
                        assert!(nth < 200, "the write ends");
                    }
                }
            }
        }
    }

    fn w9_a_failing_read_at_each_call_in_turn_is_a_short_count(machine) {
        for strategy in STRATEGIES {
            for nth in 1.. {
                let (rig, faulty) = faulty_rig(machine, strategy, 1024);
                let holds = sieve(&rig);
                let before = faulty.count(Call::Read);
                faulty.fail(Call::Read, When::From(before + nth), Errno::Io);
                if survive(&rig, &holds, Errno::Io, || faulty.heal()) == Ok(LEN) {
                    assert!(nth > 1, "the first page has to be read");
                    break;
                }
                assert!(nth < 50, "the write ends");
            }
        }
    }

    /// Each page of the request in turn is bad for good: what lies before it is written.
    fn w9_a_bad_page_ends_the_write_just_before_it(machine) {
        for strategy in STRATEGIES {
            for page in 0..6_u64 {
                let (rig, faulty) = faulty_rig(machine, strategy, 512);
                let holds = sieve(&rig);
                faulty.fail_page(Call::WriteBegin, PageIndex::new(page), Errno::Io);
                // A page that has all its blocks need not ask: only where the store is asked, it
                // can refuse.
                let got = survive(&rig, &holds, Errno::Io, || faulty.heal());
                let before = (page as usize * PAGE).saturating_sub(POS);
                match before {
                    0 => assert_eq!(got, Err(Errno::Io)),
                    _ => assert_eq!(got, Ok(before), "up to page {page}"),
                }
            }
        }
    }

    fn w9_no_memory_at_each_allocation_in_turn_is_a_short_count(machine) {
        for setup in Setup::distinct() {
            for lasting in [false, true] {
                for nth in 1.. {
                    let rig = Rig::new(machine, setup);
                    let holds = sieve(&rig);
                    // The window is read through before: only the write allocates from here on.
                    let memory = machine.memory();
                    let heal = || memory.stop_failing();
                    let calls = memory.allocation_calls();
                    match lasting {
                        true => memory.fail_allocations_from(nth),
                        false => memory.fail_allocation(nth),
                    }
                    let got = survive(&rig, &holds, Errno::NoMemory, heal);
                    if got == Ok(LEN) {
                        println!("{} allocations", memory.allocation_calls() - calls);
                        break;
                    }
                    assert!(nth < 100, "the write ends");
                }
            }
        }
    }

    /// With b blocks of room, exactly as many bytes land as fit, to the byte; then the store is
    /// full for good.
    fn w9_a_full_device_takes_what_fits_to_the_byte(machine) {
        for strategy in STRATEGIES {
            for block in [512, 1024, 4096] {
                for (room, pos) in [(0, 0), (1, 0), (1, 300), (3, 100), (7, 4000), (9, 0), (8, 511), (17, 1)] {
                    let blocks = BlockStore::new(block, room);
                    let setup = Setup { backing: Backing::Blocks(block), strategy };
                    println!("{setup}, {room} blocks, at {pos}");
                    let rig = Rig::over(machine, setup, Store::on_blocks(Arc::clone(&blocks)));
                    let bytes = pattern(1, 20 * PAGE);
                    let source = rig.source_at(8, 1, &bytes);
                    let fits = (room * block).saturating_sub(pos % block);
                    let expected = if fits == 0 { Err(Errno::NoSpace) } else { Ok(fits) };
                    assert_eq!(rig.write(pos as u64, source), expected);
                    let mut holds = Vec::new();
                    overlay(&mut holds, pos, &bytes[..fits]);
                    rig.assert_holds(&holds);
                    assert_eq!(rig.write(holds.len() as u64, source.skip(fits)), Err(Errno::NoSpace));
                    rig.assert_holds_for_good(&holds);
                    // What is there can be overwritten: it has room.
                    if fits > 0 {
                        assert_eq!(rig.write(pos as u64, source.skip(7).prefix(fits)), Ok(fits));
                        overlay(&mut holds, pos, &bytes[7..7 + fits]);
                        rig.assert_holds_for_good(&holds);
                    }
                }
            }
        }
    }

    /// C2, C3: the source ends in the middle of what the store was asked for; the blocks go, and a
    /// later write gets new ones.
    fn w9_blocks_past_a_short_append_are_given_back_and_can_be_had_again(machine) {
        for strategy in STRATEGIES {
            for block in [512, 1024, 4096] {
                let blocks = BlockStore::new(block, 64);
                let setup = Setup { backing: Backing::Blocks(block), strategy };
                let rig = Rig::over(machine, setup, Store::on_blocks(Arc::clone(&blocks)));
                let mut holds = Vec::new();
                for round in 0..10_usize {
                    let bytes = pattern(round as u64, 100 + 333 * round);
                    let source = rig.source_before(8, &bytes, Tail::ALL[round % 3], 3 * PAGE);
                    let got = rig.write_as(&[source], &rig.append(), &NoTask);
                    assert_eq!(got.map(|written| written.bytes), Ok(bytes.len()));
                    holds.extend(bytes);
                    rig.assert_holds(&holds);
                    rig.store().assert_in_order(holds.len() as u64);
                    let needed = holds.len().div_ceil(block);
                    assert_eq!(blocks.allocated(), needed, "blocks of {} bytes", holds.len());
                }
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    /// A store that grants a byte, or seven, at a time is slow, and nothing else.
    fn w9_a_store_that_grants_little_at_a_time_still_takes_everything(machine) {
        for strategy in STRATEGIES {
            for grant in [1, 7, 511, 4095] {
                let (rig, faulty) = faulty_rig(machine, strategy, 1024);
                let mut holds = sieve(&rig);
                faulty.shorten_grants(grant);
                let len = if grant < 100 { 2 * PAGE } else { LEN };
                let bytes = pattern(3, len);
                let source = rig.source_at(8, 0, &bytes);
                assert_eq!(rig.write(3 * PAGE as u64 + 5, source), Ok(len));
                overlay(&mut holds, 3 * PAGE + 5, &bytes);
                faulty.heal();
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w4_the_error_that_progress_hid_comes_with_the_next_call(machine) {
        for strategy in STRATEGIES {
            let (rig, faulty) = faulty_rig(machine, strategy, 4096);
            let bytes = pattern(1, 3 * PAGE);
            let source = rig.source_at(8, 0, &bytes);
            faulty.fail_page(Call::WriteBegin, PageIndex::new(1), Errno::NoSpace);
            let mut open = OpenFile::new(rig.file(), OpenFlags::empty());
            let mut write = |from: &mut IovIter<'_, _>| {
                let got = machine.syscall(|token| open.write(rig.file(), token, from, &NoTask));
                (got, open.position())
            };
            let segments = [source];
            let mut from = IovIter::new(rig.user(), &segments).expect("a request");
            assert_eq!(write(&mut from), (Ok(PAGE), PAGE as u64));
            assert_eq!(write(&mut from), (Err(Errno::NoSpace), PAGE as u64));
            assert_eq!(from.count(), 2 * PAGE, "the cursor stands behind what landed");
            faulty.heal();
            assert_eq!(write(&mut from), (Ok(2 * PAGE), 3 * PAGE as u64));
            rig.assert_holds_for_good(&bytes);
        }
    }

    fn w4_a_failed_writeback_comes_out_at_fsync_once_and_loses_nothing(machine) {
        let (rig, faulty) = faulty_rig(machine, Strategy::BeginEnd, 1024);
        let bytes = pattern(1, 3 * PAGE);
        let source = rig.source_at(8, 0, &bytes);
        assert_eq!(rig.write(0, source), Ok(bytes.len()));
        faulty.fail_next(Call::Writeback, Errno::NoSpace);
        let sent = machine.syscall(|token| rig.file().writeback(token, 0..u64::MAX, &NoTask));
        assert_eq!(sent, Err(Errno::NoSpace));
        assert_eq!(calls::fsync(rig.file()), Err(Errno::NoSpace), "reported");
        assert_eq!(calls::fsync(rig.file()), Ok(()), "and only once");
        rig.assert_holds_for_good(&bytes);
    }

    /// W11 and S5: what was written stays written, but the call says that it is not durable.
    fn w11_s5_a_sync_error_overrides_the_count_even_of_a_short_write(machine) {
        for strategy in STRATEGIES {
            for kind in [SyncKind::Data, SyncKind::All] {
                for call in [Call::Sync, Call::Writeback] {
                    let (rig, faulty) = faulty_rig(machine, strategy, 1024);
                    let bytes = pattern(1, 100);
                    let short = rig.source_before(8, &bytes, Tail::Unmapped, 100);
                    faulty.fail_next(call, Errno::Io);
                    let got = rig.write_as(&[short], &rig.append().with_sync(kind), &NoTask);
                    assert_eq!(got, Err(Errno::Io), "{kind:?}, {call:?}");
                    rig.assert_holds(&bytes);
                    let got = rig.write_as(&[short.prefix(50)], &rig.at(0).with_sync(kind), &NoTask);
                    assert_eq!(got.map(|written| written.bytes), Ok(50), "reported once");
                    rig.assert_holds_for_good(&bytes);
                }
            }
        }
    }

    fn w11_a_synced_write_is_in_the_store_when_it_returns_and_a_plain_one_is_not(machine) {
        for strategy in STRATEGIES {
            let blocks = BlockStore::new(1024, 64);
            let setup = Setup { backing: Backing::Blocks(1024), strategy };
            let rig = Rig::over(machine, setup, Store::on_blocks(Arc::clone(&blocks)));
            let bytes = pattern(1, 9000);
            let source = rig.source_at(8, 0, &bytes);
            assert_eq!(rig.write(0, source.prefix(5000)), Ok(5000));
            assert!(blocks.contents().iter().all(|byte| *byte == 0), "still in the cache");
            for (from, kind) in [(100, SyncKind::Data), (5000, SyncKind::All)] {
                let options = rig.at(from).with_sync(kind);
                let tail = source.skip(from as usize);
                assert_eq!(rig.write_as(&[tail], &options, &NoTask).map(|w| w.end), Ok(9000));
                assert_eq!(blocks.contents()[from as usize..], bytes[from as usize..]);
            }
            let mut open = OpenFile::new(rig.file(), OpenFlags::DATA_SYNC | OpenFlags::APPEND);
            let segments = [source.prefix(10)];
            let mut from = IovIter::new(rig.user(), &segments).expect("a request");
            assert_eq!(machine.syscall(|token| open.write(rig.file(), token, &mut from, &NoTask)), Ok(10));
            assert_eq!(blocks.contents()[9000..], bytes[..10]);
        }
    }

    fn w11_the_position_stays_when_the_sync_fails(machine) {
        let (rig, faulty) = faulty_rig(machine, Strategy::BeginEnd, 1024);
        let segments = [rig.source_at(8, 0, &pattern(1, 100))];
        let mut open = OpenFile::new(rig.file(), OpenFlags::SYNC);
        let mut from = IovIter::new(rig.user(), &segments).expect("a request");
        faulty.fail_next(Call::Sync, Errno::Io);
        let got = machine.syscall(|token| open.write(rig.file(), token, &mut from, &NoTask));
        assert_eq!((got, open.position()), (Err(Errno::Io), 0));
    }

    fn w11_nothing_is_synced_when_nothing_was_written(machine) {
        let (rig, faulty) = faulty_rig(machine, Strategy::BeginEnd, 1024);
        faulty.fail_next(Call::Sync, Errno::Io);
        let nothing = rig.user().slice(8, 0, 0);
        let options = rig.at(0).with_sync(SyncKind::All);
        assert_eq!(rig.write_as(&[nothing], &options, &NoTask).map(|written| written.bytes), Ok(0));
        assert_eq!(faulty.count(Call::Sync), 0);
    }

    /// While the store syncs, somebody else truncates the file, which takes I: it must be free.
    fn w11_the_sync_happens_after_the_inode_lock_is_released(machine) {
        for strategy in STRATEGIES {
            let store = Arc::new(HookedStore::new(MemoryStore::new()));
            let file: File = machine.inode(&store, 0);
            let other = Arc::downgrade(&file);
            store.hook(move |at, below| match at.call {
                Call::Sync => truncate_elsewhere(&other.upgrade().ok_or(Errno::Io)?, 55),
                _ => below(),
            });
            let space = machine.space();
            space.map_anonymous(8, 1, faultless_host::Protection::ReadWrite);
            let source = [space.slice(8, 0, 100)];
            let options = faultless::filemap::WriteOptions::append()
                .with_strategy(strategy)
                .with_sync(SyncKind::All);
            let got = calls::write_as(&space, &file, &source, &options, &NoTask);
            assert_eq!(got.map(|written| written.bytes), Ok(100));
            assert_eq!(file.size(), 55, "the other one came in between");
        }
    }
}

/// Another thread truncates the file.
fn truncate_elsewhere(file: &File, size: u64) -> Result<(), Errno> {
    std::thread::scope(|scope| {
        faultless_tests::threads::spawn_in(scope, || calls::truncate(file, size))
            .join()
            .unwrap_or(Err(Errno::Io))
    })
}
