//! S1 to S5, the defects of the first cure (08291429cf): each shows on the control that has it
//! alone, and on the control as it was released; it does not show on the control without it, nor on
//! production, by either strategy.

use std::sync::Arc;

use faultless::filemap::{NoTask, SyncKind, Task, WriteOptions};
use faultless::page::{AddressSpaceOperations, Errno, Strategy};
use faultless::usercopy::{IovIter, UserSlice};
use faultless_controls::{Control, ControlFile, Defect, Defects, Failure, Request};
use faultless_host::stores::{Call, FaultyStore, MemoryStore};
use faultless_host::{AddressSpace, Event, Machine, Mmu, Protection, When, on_both_mmus, syscall};
use faultless_tests::{File, PAGE, assert_same, pattern};

/// Rounds that no request here needs.
const STEPS: u64 = 10_000;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Control(Defects),
    Production(Strategy),
}

/// Those that have the defect, and those that have not.
fn writers(defect: Defect) -> ([Writer; 2], [Writer; 4]) {
    let bad = [Defects::only(defect), Defects::ALL].map(Writer::Control);
    let good = [
        Writer::Control(Defects::NONE),
        Writer::Control(Defects::ALL.without(defect)),
        Writer::Production(Strategy::PrepareCommit),
        Writer::Production(Strategy::BeginEnd),
    ];
    (bad, good)
}

/// A writer's system call: bytes written, or why not.
fn write<M: Mmu, T: Task>(
    writer: Writer,
    space: &AddressSpace<M>,
    file: &File,
    segments: &[UserSlice],
    options: WriteOptions,
    task: &T,
) -> Result<usize, Failure> {
    let written = match writer {
        Writer::Control(defects) => {
            let control = Control::Linux2624Rc1(defects);
            let request = Request { control, segments, options, steps: STEPS };
            let file = ControlFile::new(file);
            syscall(|token| file.write(&request, token, space, task))
        }
        Writer::Production(strategy) => {
            let mut from = IovIter::new(space, segments).expect("a request");
            let options = options.with_strategy(strategy);
            syscall(|token| file.write(token, &mut from, &options, task)).map_err(Into::into)
        }
    };
    written.map(|written| written.bytes)
}

/// The whole file, by way of the last pages of an address space of its own.
fn contents<M: Mmu>(machine: &Machine<M>, file: &File) -> Vec<u8> {
    let space = machine.space();
    let len = file.size() as usize;
    space.map_anonymous(0, len.div_ceil(PAGE).max(1), Protection::ReadWrite);
    let to = space.slice(0, 0, len);
    let read = syscall(|token| file.read(token, &mut IovIter::from_slice(&space, &to), 0, &NoTask));
    assert_eq!(read, Ok(len), "the file can be read");
    space.read_vec(to.addr(), len).expect("memory of a program")
}

/// A file of these bytes, all of them cached and uptodate.
fn warm_file<M: Mmu>(machine: &Machine<M>, bytes: &[u8]) -> File {
    let file = cold_file(machine, &MemoryStore::with_contents(bytes), bytes.len());
    assert_same(&contents(machine, &file), bytes, "the file at first");
    file
}

fn cold_file<M: Mmu, S>(machine: &Machine<M>, store: &Arc<S>, len: usize) -> File
where
    S: AddressSpaceOperations + 'static,
{
    machine.inode(store, len as u64)
}

/// A program with `source` at the beginning of page 0, and nothing after its `pages`.
fn program<M: Mmu>(machine: &Machine<M>, source: &[u8], pages: usize) -> AddressSpace<M> {
    let space = machine.space();
    space.map_anonymous(0, pages, Protection::ReadWrite);
    space.store(space.at(0, 0), source).expect("memory of a program");
    space
}

/// A task that is killed as soon as so many copies were made from its memory.
struct KilledAfter<M: Mmu>(u64, AddressSpace<M>);

impl<M: Mmu> Task for KilledAfter<M> {
    fn fatal_signal_pending(&self) -> bool {
        let script = self.1.script();
        script.count(Event::AtomicCopy) + script.count(Event::FaultingCopy) >= self.0
    }
}

on_both_mmus! {
    /// A1, 81b0c871: the loop probes the empty segment for ever, and the one that follows is never
    /// faulted in.
    fn s1_an_empty_first_segment_before_one_that_is_not_resident(machine) {
        let (old, new) = (pattern(1, PAGE), pattern(2, 100));
        let (bad, good) = writers(Defect::EmptySegmentLoop);
        let run = |writer| {
            let file = warm_file(machine, &old);
            let space = program(machine, &new, 1);
            space.evict(0, 1);
            let segments = [space.slice(5, 0, 0), space.slice(0, 0, new.len())];
            let written = write(writer, &space, &file, &segments, WriteOptions::at(50), &NoTask);
            (written, contents(machine, &file))
        };
        for writer in bad {
            assert_eq!(run(writer).0, Err(Failure::Livelock), "{writer:?}");
        }
        let mut expected = old.clone();
        expected[50..150].copy_from_slice(&new);
        for writer in good {
            let (written, now) = run(writer);
            assert_eq!(written, Ok(new.len()), "{writer:?}");
            assert_same(&now, &expected, &format!("{writer:?}"));
        }
    }

    fn s1_an_empty_first_segment_before_a_bad_one(machine) {
        let old = pattern(1, PAGE);
        let (bad, good) = writers(Defect::EmptySegmentLoop);
        let run = |writer| {
            let file = warm_file(machine, &old);
            let space = program(machine, &[], 1);
            let segments = [space.slice(0, 0, 0), space.slice(1, 0, 10)];
            let written = write(writer, &space, &file, &segments, WriteOptions::at(50), &NoTask);
            // Nothing was copied, and the page was uptodate: no byte has changed.
            assert_same(&contents(machine, &file), &old, &format!("{writer:?}"));
            written
        };
        for writer in bad {
            assert_eq!(run(writer), Err(Failure::Livelock), "{writer:?}");
        }
        for writer in good {
            assert_eq!(run(writer), Err(Failure::Errno(Errno::Fault)), "{writer:?}");
        }
    }

    /// C1: the size is that of the request, the bytes are those of the copy.
    fn s2_an_append_whose_second_segment_is_bad_grows_the_file_by_the_first(machine) {
        let (old, new) = (pattern(1, 100), pattern(2, 10));
        let (bad, good) = writers(Defect::GrowsByAsked);
        let run = |writer| {
            let file = warm_file(machine, &old);
            let space = program(machine, &new, 1);
            let segments = [space.slice(0, 0, 10), space.slice(1, 0, 10)];
            let written = write(writer, &space, &file, &segments, WriteOptions::append(), &NoTask);
            assert_eq!(written, Ok(10), "{writer:?}");
            contents(machine, &file)
        };
        for writer in bad {
            assert_eq!(run(writer).len(), 120, "{writer:?}");
        }
        for writer in good {
            let expected = [old.as_slice(), &new].concat();
            assert_same(&run(writer), &expected, &format!("{writer:?}"));
        }
    }

    /// A4, 2f718ffc: whether the page is uptodate or not.
    fn s3_a_source_that_crosses_into_a_bad_page_is_written_up_to_it(machine) {
        let (old, new) = (pattern(1, PAGE), pattern(2, PAGE));
        let (bad, good) = writers(Defect::WholeChunkRefused);
        for uptodate in [true, false] {
            let run = |writer| {
                let file = match uptodate {
                    true => warm_file(machine, &old),
                    false => cold_file(machine, &MemoryStore::with_contents(&old), old.len()),
                };
                let space = program(machine, &new, 1);
                let source = space.slice(0, PAGE - 10, 30);
                let written = write(writer, &space, &file, &[source], WriteOptions::at(7), &NoTask);
                (written, contents(machine, &file))
            };
            for writer in bad {
                let (written, now) = run(writer);
                assert_eq!(written, Err(Failure::Errno(Errno::Fault)), "{writer:?}");
                assert_same(&now, &old, &format!("{writer:?}"));
            }
            let mut expected = old.clone();
            expected[7..17].copy_from_slice(&new[PAGE - 10..]);
            for writer in good {
                let (written, now) = run(writer);
                assert_eq!(written, Ok(10), "{writer:?}");
                assert_same(&now, &expected, &format!("{writer:?}"));
            }
        }
    }

    /// W10: two pages in two leaves, so that both strategies have a round for each; the signal
    /// comes after the first.
    fn s4_a_fatal_signal_ends_the_loop_between_pages(machine) {
        let (old, new) = (pattern(1, 66 * PAGE), pattern(2, 2 * PAGE));
        let (bad, good) = writers(Defect::NoSignalCheck);
        let run = |writer, copies| {
            let file = warm_file(machine, &old);
            let space = program(machine, &new, 2);
            let options = WriteOptions::at(63 * PAGE as u64);
            let task = KilledAfter(copies, space.clone());
            write(writer, &space, &file, &[space.slice(0, 0, new.len())], options, &task)
        };
        for writer in bad {
            assert_eq!(run(writer, 1), Ok(new.len()), "{writer:?}");
            assert_eq!(run(writer, 0), Ok(new.len()), "{writer:?}");
        }
        for writer in good {
            assert_eq!(run(writer, 1), Ok(PAGE), "{writer:?}");
            assert_eq!(run(writer, 0), Err(Failure::Errno(Errno::Interrupted)), "{writer:?}");
        }
    }

    /// W11: the bytes are there, and they are not durable.
    fn s5_an_error_of_the_sync_is_returned_although_bytes_were_written(machine) {
        let (old, new) = (pattern(1, PAGE), pattern(2, 10));
        let (bad, good) = writers(Defect::SyncErrorLost);
        for failing in [Call::Sync, Call::Writeback] {
            let run = |writer| {
                let store = FaultyStore::new(MemoryStore::with_contents(&old), machine.watchdog());
                store.fail(failing, When::Nth(1), Errno::Io);
                let file = cold_file(machine, &store, old.len());
                let space = program(machine, &new, 1);
                let options = WriteOptions::at(7).with_sync(SyncKind::All);
                let source = [space.slice(0, 0, new.len())];
                write(writer, &space, &file, &source, options, &NoTask)
            };
            for writer in bad {
                assert_eq!(run(writer), Ok(new.len()), "{writer:?}");
            }
            for writer in good {
                assert_eq!(run(writer), Err(Failure::Errno(Errno::Io)), "{writer:?}");
            }
        }
    }
}

#[test]
fn every_defect_has_a_name_and_a_place_in_the_set() {
    assert_eq!(Defect::ALL.map(Defect::name), ["S1", "S2", "S3", "S4", "S5"]);
    for defect in Defect::ALL {
        assert!(Defects::ALL.has(defect) && Defects::only(defect).has(defect));
        assert!(!Defects::NONE.has(defect) && !Defects::ALL.without(defect).has(defect));
    }
}
