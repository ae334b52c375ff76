//! A disk that fails.

use faultless::prelude::*;

use crate::disk::Faults;
use crate::rig::{Rig, contents, evict, fsync, token, write};
use crate::rng::Rng;
use crate::tools::{Format, assert_sound};

#[test]
fn f2_a_failed_write_reaches_the_sync_and_nothing_is_lost() {
    for format in Format::ALL {
        let mut rig = Rig::mount(format.make(&[]), 1);
        let file = rig.open("f");
        let (mut rng, mut expected, mut failures) = (Rng::new(1), vec![0; 300_000], 0);
        rig.disk.fail(Faults { writes: 10, ..Faults::default() });
        for _ in 0..40 {
            let (from, len) = (rng.below(250_000), 1 + rng.below(20_000));
            let bytes = rng.bytes(len);
            assert_eq!(write(&file, from as u64, &bytes), Ok(len));
            expected[from..from + len].copy_from_slice(&bytes);
            match fsync(&file) {
                Ok(()) => {}
                Err(errno) => {
                    assert_eq!(errno, Errno::Io);
                    failures += 1;
                }
            }
        }
        assert!(failures > 3, "{failures} failures");
        rig.disk.fail(Faults::default());
        expected.truncate(file.size() as usize);
        fsync(&file).expect("a sync");
        evict(&file).expect("an eviction");
        assert!(contents(&file) == Ok(expected), "what was written");
        drop(file);
        assert_sound(&rig.unmount());
    }
}

#[test]
fn w5_a_block_whose_first_write_failed_shows_nothing() {
    let mut rig = Rig::mount(Format::SMALL.make(&[]), 2);
    let old = rig.open("old");
    write(&old, 0, &[0x5e; 1_000_000]).expect("a write");
    fsync(&old).expect("a sync");
    old.set_size(&mut token(), 0, &NoTask).expect("a truncation");
    fsync(&old).expect("a sync");
    let file = rig.open("f");
    write(&file, 0, &[1; 100_000]).expect("a write");
    rig.disk.fail(Faults { writes: 1, ..Faults::default() });
    assert_eq!(evict(&file), Err(Errno::Io));
    rig.disk.fail(Faults::default());
    // Other files are synced, and what was not written is given up.
    fsync(&old).expect("a sync");
    let number = file.mapping().store().number();
    drop((old, file));
    rig.forget(number);
    let file = rig.open("f");
    let found = contents(&file).expect("contents");
    assert!(!found.contains(&0x5e), "bytes of another file");
    drop(file);
    assert_sound(&rig.unmount());
}

#[test]
fn f1_after_a_flush_that_failed_no_sync_succeeds() {
    let mut rig = Rig::mount(Format::SMALL.make(&[]), 3);
    let (file, other) = (rig.open("f"), rig.open("g"));
    write(&other, 0, &[2; 10_000]).expect("a write");
    write(&file, 0, &[1; 10_000]).expect("a write");
    evict(&other).expect("an eviction");
    rig.disk.fail(Faults { flushes: 1, ..Faults::default() });
    assert_eq!(fsync(&file), Err(Errno::Io));
    // What it lost may be the other file's.
    assert_eq!(fsync(&other), Err(Errno::Io));
    assert_eq!(fsync(&file), Err(Errno::Io));
    assert_eq!(rig.create("h").err().map(|error| error.code()), Some(Errno::ReadOnly.code()));
    drop((file, other));
    rig.abandon();
}

#[test]
fn f8_a_block_that_cannot_be_read_is_an_error_of_its_reader() {
    for format in Format::ALL {
        let mut rig = Rig::mount(format.make(&[]), 4);
        let (file, other) = (rig.open("f"), rig.open("g"));
        write(&file, 0, &[1; 600_000]).expect("a write");
        write(&other, 0, &[2; 20_000]).expect("a write");
        for file in [&file, &other] {
            fsync(file).expect("a sync");
            evict(file).expect("an eviction");
        }
        let number = file.mapping().store().number();
        drop((file, other));
        let image = rig.unmount();
        let mut rig = Rig::mount(image, 4);
        let (file, other) = (rig.open("f"), rig.open("g"));
        assert_eq!(file.mapping().store().number(), number);
        // The end of the disk's used part: data, and blocks that lead to data.
        let all = 64..format.kib as u64;
        assert_eq!(contents(&other), Ok(vec![2; 20_000]));
        rig.disk.fail(Faults { reads: all.collect(), ..Faults::default() });
        assert_eq!(contents(&file), Err(Errno::Io));
        rig.disk.fail(Faults::default());
        assert_eq!(contents(&file), Ok(vec![1; 600_000]));
        drop((file, other));
        assert_sound(&rig.unmount());
    }
}
