//! What a write that comes less far than it prepared for leaves of its pages, their frames and
//! their room.

use faultless::page::Errno;
use faultless_host::{Action, Event, When, on_both_mmus};
use faultless_tests::bytes::overlay;
use faultless_tests::{Backing, PAGE, Rig, Setup, Tail, calls, pattern};

on_both_mmus! {
    /// The store takes room back that a write did not use. So a page that got nothing, or only a
    /// part, asks for it again (W9).
    fn w9_room_for_bytes_that_did_not_land_is_asked_for_again(machine) {
        for setup in Setup::over(&[Backing::Thrifty(1024), Backing::Thrifty(4096)]) {
            for landed in [100, 1024, PAGE, PAGE + 1, 2 * PAGE + 3000] {
                let rig = Rig::new(machine, setup);
                assert_eq!(calls::truncate(rig.file(), 4 * PAGE as u64), Ok(()));
                let mut whole = vec![0; 4 * PAGE];
                // Read in, the pages are uptodate: they need room and nothing else.
                rig.assert_holds(&whole);
                let source = rig.source_before(8, &pattern(2, landed), Tail::Unmapped, 4 * PAGE - landed);
                assert_eq!(rig.write(0, source), Ok(landed));
                overlay(&mut whole, 0, &pattern(2, landed));
                for (number, pos) in [2000, PAGE + 2000, 2 * PAGE + 3500, 3 * PAGE].into_iter().enumerate() {
                    let bytes = pattern(number as u64 + 3, 50);
                    let source = rig.source_at(40, 0, &bytes);
                    assert_eq!(rig.write(pos as u64, source), Ok(50));
                    overlay(&mut whole, pos, &bytes);
                }
                rig.assert_holds_for_good(&whole);
            }
        }
    }

    /// Nothing of the source can be read, but the store was asked already: for the page that is
    /// overwritten in part.
    fn p5_a_page_that_was_read_for_a_write_stays_and_new_frames_go(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 2 * PAGE + 100));
        rig.chill();
        let source = rig.source_at(8, 0, &pattern(2, 4 * PAGE));
        let script = rig.user().script();
        script.add(Event::AtomicCopy, When::Every(1), Action::Unmap);
        assert_eq!(rig.write(PAGE as u64 + 10, source), Err(Errno::Fault));
        script.clear();
        let mapping = rig.file().mapping();
        assert_eq!(mapping.cached_pages(), 1, "page 1 only");
        rig.assert_holds_for_good(&pattern(1, 2 * PAGE + 100));
    }

    /// Pages 0 and 2 of four are in the cache. The frame allocator refuses twice, and each time
    /// what is there takes its bytes first: progress between two refusals makes them two first ones
    /// (W9).
    fn w9_a_refused_frame_is_no_error_while_there_is_progress(machine) {
        let rig = Rig::holding(machine, Setup::PLAIN, &pattern(1, 4 * PAGE));
        let run = |page: usize| page as u64 * PAGE as u64..(page as u64 + 1) * PAGE as u64;
        for page in [1, 3] {
            let evicted = machine.syscall(|token| rig.file().evict(token, run(page)));
            assert_eq!(evicted, 1);
        }
        let ours = pattern(2, 4 * PAGE);
        let source = rig.source_at(8, 0, &ours);
        let memory = machine.memory();
        memory.fail_allocation(1);
        let again = std::sync::Arc::clone(memory);
        // The copy into page 0.
        rig.user().script().add(Event::AtomicCopy, When::Nth(1), Action::Call(std::sync::Arc::new(move |_| {
            again.fail_allocation(1);
        })));
        assert_eq!(rig.write(0, source), Ok(ours.len()));
        rig.user().script().clear();
        memory.stop_failing();
        rig.assert_holds_for_good(&ours);
    }
}
