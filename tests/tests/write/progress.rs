//! W6 and W13: a write ends, whatever the source does meanwhile, and its own pages may be the
//! source.

use std::sync::Arc;

use faultless::page::{Errno, PageIndex, Strategy};
use faultless::usercopy::UserSlice;
use faultless_host::script::Moment;
use faultless_host::{Action, Counters, Event, Mmu, Protection, When, counting, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{File, PAGE, Rig, Setup, assert_same, calls, pattern};

/// An action for a script.
fn call(action: impl Fn(Moment) + Send + Sync + 'static) -> Action {
    Action::Call(Arc::new(action))
}

/// Runs a system call on another thread, as somebody else would.
fn elsewhere(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        faultless_tests::threads::spawn_in(scope, work).join().expect("the other thread")
    });
}

/// Maps all of the file for reading at page 100 of the rig's program, nothing resident.
fn own_mapping<M: Mmu>(rig: &Rig<'_, M>, pos: usize, len: usize) -> UserSlice {
    let pages = (pos + len).div_ceil(PAGE);
    rig.user().map_file(100, pages, rig.file(), PageIndex::ZERO, Protection::Read);
    rig.user().slice(100, pos, len)
}

/// Writes `len` bytes at `pos` while the script of the program is armed, and says what was counted.
#[track_caller]
fn write_under_script<M: Mmu>(rig: &Rig<'_, M>, pos: usize, source: UserSlice) -> Counters {
    let (got, counted) = counting(|| rig.write(pos as u64, source));
    rig.user().script().clear();
    assert_eq!(got, Ok(source.len()));
    assert_eq!(counted.faults_under_page_lock, 0);
    counted
}

on_both_mmus! {
    /// The pages go again between each fault-in and its copy: after a few rounds the temporary page
    /// carries the bytes.
    fn w6_a_source_that_is_stolen_before_every_copy_is_written_all_the_same(machine) {
        for setup in Setup::distinct() {
            let initial = pattern(1, 5 * PAGE);
            for (pos, len) in [(0, 1), (100, 3000), (4000, 200), (0, 3 * PAGE), (4 * PAGE, 2 * PAGE), (6 * PAGE + 3, 5000)] {
                for cold in [false, true] {
                    let mut holds = initial.clone();
                    let rig = Rig::holding(machine, setup, &initial);
                    if cold { rig.chill(); }
                    let bytes = pattern(2, len);
                    let source = rig.source_at(8, 10, &bytes);
                    rig.user().script().add(Event::AtomicCopy, When::Every(1), Action::StealAll);
                    let counted = write_under_script(&rig, pos, source);
                    overlay(&mut holds, pos, &bytes);
                    rig.assert_holds_for_good(&holds);
                    let pages = (pos % PAGE + len).div_ceil(PAGE) as u64;
                    assert!(counted.fault_ins <= 6 * pages + 4, "{} fault-ins for {pages} pages", counted.fault_ins);
                }
            }
        }
    }

    /// 5fe17237: fault-in is switched off. Whoever trusts it loops; the faulting copy does not.
    fn w6_a_fault_in_that_lies_cannot_spin_the_loop(machine) {
        for setup in Setup::distinct() {
            for cold in [false, true] {
                let mut holds = pattern(1, 3 * PAGE);
                let rig = Rig::holding(machine, setup, &holds);
                if cold { rig.chill(); }
                let bytes = pattern(2, 2 * PAGE);
                let source = rig.source_at(8, 10, &bytes);
                rig.user().evict(8, 4);
                rig.user().script().add(Event::FaultIn, When::Every(1), Action::Lie);
                let counted = write_under_script(&rig, 1000, source);
                assert!(counted.bounced >= 1, "the temporary page carried some");
                overlay(&mut holds, 1000, &bytes);
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    fn w6_a_fault_in_that_lies_about_a_bad_source_ends_in_efault(machine) {
        for setup in Setup::simple() {
            let holds = pattern(1, 3 * PAGE);
            let rig = Rig::holding(machine, setup, &holds);
            rig.user().script().add(Event::FaultIn, When::Every(1), Action::Lie);
            let bad = rig.user().slice(30, 5, 6000);
            assert_eq!(rig.write(1000, bad), Err(Errno::Fault));
            assert_eq!(rig.write(7 * PAGE as u64, bad), Err(Errno::Fault));
            rig.user().script().clear();
            rig.assert_holds_for_good(&holds);
        }
    }

    /// Both at once, and a good prefix: exactly that lands.
    fn w6_w1_the_prefix_is_exact_although_fault_in_lies_and_pages_are_stolen(machine) {
        for setup in Setup::simple() {
            for len in [1, 4095, 4097, 9000] {
                let mut holds = pattern(1, 5 * PAGE);
                let rig = Rig::holding(machine, setup, &holds);
                rig.chill();
                let bytes = pattern(2, len);
                let source = rig.source_before(8, &bytes, faultless_tests::Tail::Unmapped, 5000);
                let script = rig.user().script();
                script.add(Event::FaultIn, When::Every(1), Action::Lie);
                script.add(Event::AtomicCopy, When::Every(1), Action::StealAll);
                assert_eq!(rig.write(77, source), Ok(len));
                script.clear();
                overlay(&mut holds, 77, &bytes);
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    /// The most valuable knob of all: every copy stops after k bytes.
    fn w6_every_copy_short_at_byte_k_still_writes_everything(machine) {
        for setup in Setup::distinct() {
            for k in [1, 2, 7, 63, 512, 1000, 4095, 4096, 5000] {
                for cold in [false, true] {
                    let len = if k < 60 { 600 } else { 2 * PAGE + 700 };
                    let mut holds = pattern(1, 2 * PAGE);
                    let rig = Rig::holding(machine, setup, &holds);
                    if cold { rig.chill(); }
                    let bytes = pattern(2, len);
                    let source = rig.source_at(8, 10, &bytes);
                    for pos in [PAGE - 300, 2 * PAGE - 100, 9 * PAGE] {
                        println!("at {pos}, {k} bytes at a time");
                        rig.user().script().add(Event::AtomicCopy, When::Every(1), Action::Short(k));
                        let _ = write_under_script(&rig, pos, source);
                        overlay(&mut holds, pos, &bytes);
                        rig.assert_holds(&holds);
                    }
                    rig.assert_holds_for_good(&holds);
                }
            }
        }
    }

    /// One copy stops, at every byte of a request that crosses pages of every kind.
    fn w6_w2_one_copy_short_at_any_byte_changes_nothing_in_the_end(machine) {
        for setup in Setup::over(&[faultless_tests::Backing::Memory, faultless_tests::Backing::Blocks(512)]) {
            let rig = Rig::new(machine, setup);
            let initial = pattern(1, PAGE + 900);
            let bytes = pattern(2, 1300);
            for nth in [1, 2] {
                for k in (0..1300).step_by(43).chain([1, 511, 512, 513, 1299]) {
                    rig.fill(&initial);
                    rig.chill();
                    let source = rig.source_at(8, 10, &bytes);
                    rig.user().script().add(Event::AtomicCopy, When::Nth(nth), Action::Short(k));
                    let _ = write_under_script(&rig, PAGE - 200, source);
                    let mut holds = initial.clone();
                    overlay(&mut holds, PAGE - 200, &bytes);
                    rig.assert_holds_for_good(&holds);
                }
            }
        }
    }

    /// A4, A11, C12: the owner unmaps the source while it is being written: a prefix lands, and it
    /// is the right one.
    fn w6_a11_a_source_that_is_unmapped_midway_ends_the_write_with_what_landed(machine) {
        for setup in Setup::distinct() {
            for event in [Event::AtomicCopy, Event::FaultIn, Event::FaultingCopy] {
                for nth in 1..6 {
                    for gone in [Action::Unmap, Action::Protect(Protection::None)] {
                        let initial = pattern(1, 3 * PAGE);
                        let rig = Rig::holding(machine, setup, &initial);
                        rig.chill();
                        let bytes = pattern(2, 5 * PAGE);
                        let source = rig.source_at(8, 10, &bytes);
                        rig.user().evict(8, 6);
                        rig.user().script().add(event, When::From(nth), gone);
                        let got = rig.write(100, source);
                        rig.user().script().clear();
                        let landed = got.unwrap_or(0);
                        assert!(got == Ok(landed) && landed > 0 || got == Err(Errno::Fault), "{got:?}");
                        let mut holds = initial;
                        overlay(&mut holds, 100, &bytes[..landed]);
                        rig.assert_holds_for_good(&holds);
                    }
                }
            }
        }
    }

    /// C5: the file behind the source is cut off between fault-in and copy.
    fn w6_c5_a_source_file_that_is_truncated_midway_ends_the_write_with_what_landed(machine) {
        for setup in Setup::distinct() {
            for nth in 1..5 {
                for size in [0, 1, PAGE, 2 * PAGE + 50] {
                    let bytes = pattern(5, 4 * PAGE);
                    let other = Rig::holding(machine, setup, &bytes);
                    let rig = Rig::holding(machine, setup, &pattern(1, PAGE));
                    rig.user().map_file(100, 4, other.file(), PageIndex::ZERO, Protection::Read);
                    let source = rig.user().slice(100, 7, 3 * PAGE);
                    let cut: File = Arc::clone(other.file());
                    let check = Arc::clone(machine.check());
                    let truncate = move |_| elsewhere(|| {
                        check.adopt();
                        calls::truncate(&cut, size as u64).expect("a shorter file");
                    });
                    rig.user().script().add(Event::FaultIn, When::Nth(nth), call(truncate));
                    let got = rig.write(PAGE as u64 - 100, source);
                    rig.user().script().clear();
                    let landed = got.unwrap_or(0);
                    assert!(got == Ok(landed) && landed > 0 || got == Err(Errno::Fault), "{got:?}");
                    let mut holds = pattern(1, PAGE);
                    let mut read = bytes[7..].to_vec();
                    // What lies behind the new end in its page reads as zeros from then on.
                    let now = rig.read(PAGE as u64 - 100, landed);
                    read.truncate(landed);
                    for (at, byte) in now.iter().enumerate() {
                        assert!(*byte == read[at] || (*byte == 0 && at + 7 >= size), "byte {at} is {byte:#x}");
                    }
                    overlay(&mut holds, PAGE - 100, &now);
                    rig.assert_holds_for_good(&holds);
                }
            }
        }
    }

    /// The fault handler "sleeps", and every third time everything that had come is stolen
    /// meanwhile. (At every one it would stop the processor itself: a load that crosses pages needs
    /// both.)
    fn w6_pages_stolen_during_faults_do_not_stop_the_write(machine) {
        for setup in Setup::simple() {
            let mut holds = pattern(1, 4 * PAGE);
            let rig = Rig::holding(machine, setup, &holds);
            rig.chill();
            let bytes = pattern(2, 3 * PAGE);
            let source = rig.source_at(8, 10, &bytes);
            rig.user().evict(8, 4);
            rig.user().script().add(Event::Fault, When::Every(3), Action::StealAll);
            let _ = write_under_script(&rig, 500, source);
            overlay(&mut holds, 500, &bytes);
            rig.assert_holds_for_good(&holds);
        }
    }

    /// The destination is truncated between fault-in and copy: the write goes on as a growing one
    /// (P6).
    fn w6_a_destination_that_is_truncated_midway_grows_again(machine) {
        for setup in Setup::distinct() {
            for size in [0, 100, PAGE + 1, 3 * PAGE] {
                let rig = Rig::holding(machine, setup, &pattern(1, 4 * PAGE));
                // A request of more than one step holds its range, and truncation waits for it.
                let len = if setup.strategy == Strategy::BeginEnd { 2 * PAGE } else { 1000 };
                let bytes = pattern(2, len);
                let source = rig.source_at(8, 10, &bytes);
                rig.user().evict(8, 4);
                let (cut, check) = (Arc::clone(rig.file()), Arc::clone(machine.check()));
                let truncate = move |_| elsewhere(|| {
                    check.adopt();
                    calls::truncate(&cut, size as u64).expect("a shorter file");
                });
                rig.user().script().add(Event::FaultIn, When::Nth(1), call(truncate));
                let _ = write_under_script(&rig, PAGE, source);
                let mut holds = pattern(1, 4 * PAGE);
                holds.truncate(size);
                overlay(&mut holds, PAGE, &bytes);
                rig.assert_holds(&holds);
                rig.store().assert_in_order(holds.len() as u64);
            }
        }
    }

    /// D1, DL1: the source is the page that is written. On itself, nothing changes.
    fn w13_d1_a_page_written_onto_itself_from_its_own_mapping_stays_as_it_is(machine) {
        for setup in Setup::all() {
            for cold in [true, false] {
                for (pos, len) in [(0, PAGE), (0, 1), (100, 3000), (PAGE - 1, 2), (0, 3 * PAGE), (3 * PAGE + 5, 800)] {
                    let holds = pattern(1, 4 * PAGE);
                    let rig = Rig::holding(machine, setup, &holds);
                    if cold { rig.chill(); }
                    let source = own_mapping(&rig, pos, len);
                    let _ = write_under_script(&rig, pos, source);
                    rig.user().unmap(100, 5);
                    rig.assert_holds_for_good(&holds);
                }
            }
        }
    }

    fn w13_pages_of_a_file_are_copied_within_it_through_a_cold_mapping(machine) {
        for setup in Setup::all() {
            let initial = pattern(1, 9 * PAGE + 77);
            for (from, to, len) in [(PAGE, 0, PAGE), (0, PAGE, PAGE), (3, 2 * PAGE + 1, PAGE + 5), (5 * PAGE + 1, 17, 3 * PAGE), (0, 6 * PAGE, 3 * PAGE + 77), (10, 9 * PAGE + 77, 2 * PAGE)] {
                let rig = Rig::holding(machine, setup, &initial);
                rig.chill();
                let source = own_mapping(&rig, from, len);
                let counted = write_under_script(&rig, to, source);
                assert!(counted.faults > 0 || !rig.can_be_cold(), "a cold source faults");
                let mut holds = initial.clone();
                overlay(&mut holds, to, &initial[from..from + len]);
                rig.user().unmap(100, 10);
                rig.assert_holds_for_good(&holds);
            }
        }
    }

    /// W13: within the overlap any mixture will do, but of bytes of the file; outside it not a byte
    /// changes.
    fn w13_overlapping_bytes_in_one_page_terminate_and_leave_the_rest_alone(machine) {
        for setup in Setup::distinct() {
            for shift in [1, 3, 64, 2000] {
                for (from, to) in [(100, 100 + shift), (100 + shift, 100)] {
                    let initial = pattern(1, 2 * PAGE);
                    let rig = Rig::holding(machine, setup, &initial);
                    rig.chill();
                    let len = 3500;
                    let source = own_mapping(&rig, from, len);
                    let _ = write_under_script(&rig, to, source);
                    let now = rig.contents();
                    assert_eq!(now.len(), initial.len());
                    assert_same(&now[..to], &initial[..to], "before");
                    assert_same(&now[to + len..], &initial[to + len..], "behind");
                    let union = &initial[from.min(to)..from.max(to) + len];
                    assert!(now[to..to + len].iter().all(|byte| union.contains(byte)), "bytes of the file");
                }
            }
        }
    }

    fn w13_a_mapped_tail_appended_to_its_own_file_terminates(machine) {
        for setup in Setup::all() {
            // What lies past the end in the last page can be read through the mapping, and is zero
            // or what was just written.
            let initial = pattern(1, PAGE + 100);
            let rig = Rig::holding(machine, setup, &initial);
            let source = own_mapping(&rig, 0, 2 * PAGE);
            let got = rig.write_as(&[source], &rig.append(), &faultless::filemap::NoTask);
            assert_eq!(got.map(|written| written.bytes), Ok(2 * PAGE));
            let now = rig.contents();
            assert_eq!(now.len(), 3 * PAGE + 100);
            assert_same(&now[..PAGE + 100], &initial, "what was there");
            assert_same(&now[PAGE + 100..2 * PAGE + 100], &initial[..PAGE], "the first page again");
            rig.assert_holds_for_good(&now);
        }
    }

    fn w13_a_mapping_past_the_end_of_its_own_file_is_no_source(machine) {
        for setup in Setup::all() {
            let initial = pattern(1, PAGE);
            let rig = Rig::holding(machine, setup, &initial);
            rig.user().map_file(100, 4, rig.file(), PageIndex::ZERO, Protection::Read);
            let past = rig.user().slice(100, PAGE, PAGE);
            assert_eq!(rig.write_as(&[past], &rig.append(), &faultless::filemap::NoTask), Err(Errno::Fault));
            rig.assert_holds(&initial);
            // Page 0 makes page 1 readable, and so on: a file can be doubled and redoubled by one
            // call.
            let chain = rig.user().slice(100, 0, 3 * PAGE);
            let got = rig.write_as(&[chain], &rig.append(), &faultless::filemap::NoTask);
            let landed = got.expect("the first page at least").bytes;
            assert!(landed >= PAGE && landed.is_multiple_of(PAGE), "{landed}");
            let repeated: Vec<u8> = initial.iter().copied().cycle().take(PAGE + landed).collect();
            rig.assert_holds(&repeated);
        }
    }

    /// A10: no more is faulted in than the copy will use.
    fn w6_a10_fault_in_asks_for_no_more_than_the_next_copy_uses(machine) {
        for setup in Setup::simple() {
            let rig = Rig::new(machine, setup);
            let source = rig.source_at(8, 0, &pattern(1, 100 * PAGE));
            rig.user().evict(8, 100);
            // The pages are new: a copy fills those of a leaf.
            rig.user().script().add(Event::FaultIn, When::Every(1), call(move |moment| {
                assert!(moment.len <= 64 * PAGE, "{} bytes are faulted in", moment.len);
            }));
            let _ = write_under_script(&rig, 0, source);
        }
    }

    /// A12: whether the source is resident is never visible in the count.
    fn w6_a12_a_source_of_which_nothing_is_resident_is_written_whole(machine) {
        for setup in Setup::distinct() {
            let rig = Rig::new(machine, setup);
            let bytes = pattern(1, 150 * PAGE + 5);
            let source = rig.source_at(8, 3, &bytes);
            rig.user().evict(8, 152);
            assert_eq!(rig.write(11, source), Ok(bytes.len()));
            rig.user().unmap(8, 152);
            let mut holds = Vec::new();
            overlay(&mut holds, 11, &bytes);
            rig.assert_holds_for_good(&holds);
        }
    }
}
