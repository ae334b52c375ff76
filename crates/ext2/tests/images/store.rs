//! Contents of files: blocks, holes, sizes, and what the host's tools read of them.

use faultless::prelude::*;
use faultless_ext2::Access;

use crate::disk::Disk;
use crate::rig::{Rig, contents, evict, fsync, read, token, write};
use crate::rng::Rng;
use crate::tools::{Format, assert_sound, changed, debugfs};

#[test]
fn what_is_written_is_on_the_disk_after_an_unmount() {
    for format in Format::ALL {
        let mut rig = Rig::mount(format.make(&[]), 1);
        let data = Rng::new(1).bytes(1_000_001);
        let file = rig.open("a");
        assert_eq!(write(&file, 0, &data), Ok(data.len()));
        drop(file);
        let image = rig.unmount();
        assert_sound(&image);
        assert_eq!(debugfs(&image, "cat /a"), data, "{format:?}");
    }
}

#[test]
fn files_have_the_number_of_the_device_that_they_are_on() {
    let mut rig = Rig::mount(Format::ALL[0].make(&[]), 1);
    let file = rig.open("a");
    assert_eq!(file.mapping().store_id(), Disk::STORE);
    drop(file);
    assert_sound(&rig.unmount());
}

#[test]
fn what_the_tools_have_written_is_read() {
    for format in Format::ALL {
        let source = tempfile::NamedTempFile::new().expect("a file");
        let data = Rng::new(2).bytes(700_123);
        std::fs::write(source.path(), &data).expect("a file");
        let request = format!("write {} b", source.path().display());
        let mut rig = Rig::mount(changed(&format.make(&[]), &request), 2);
        let file = rig.open("b");
        assert_eq!(contents(&file), Ok(data));
        drop(file);
        assert_sound(&rig.unmount());
    }
}

#[test]
fn a_file_of_all_levels_of_indirect_blocks_is_found_again() {
    let mut rig = Rig::mount(Format::ALL[0].make(&[]), 3);
    let file = rig.open("deep");
    // Blocks of 1 KiB: direct, once, twice and three times indirect.
    let places = [0, 11 << 10, 12 << 10, (12 + 255) << 10, (12 + 256) << 10, 67 << 20, 900 << 20];
    for place in places {
        assert_eq!(write(&file, place, b"here"), Ok(4));
    }
    evict(&file).expect("an eviction");
    for place in places {
        assert_eq!(read(&file, place, 4).as_deref(), Ok(&b"here"[..]));
        assert_eq!(file.seek_data(place), Ok(Some(place)));
    }
    assert_eq!(file.seek_data(100 << 20), Ok(Some(900 << 20)));
    let hole = file.seek_hole(0, &NoTask).expect("a hole");
    assert!(hole.is_some_and(|hole| hole <= 4096), "{hole:?}");
    drop(file);
    let image = rig.unmount();
    assert_sound(&image);
    let mut rig = Rig::mount(image, 4);
    let file = rig.open("deep");
    let free = rig.fs().space().free_blocks;
    file.set_size(&mut token(), 0, &NoTask).expect("a truncation");
    assert!(rig.fs().space().free_blocks > free + 8, "indirect blocks are given back too");
    drop(file);
    assert_sound(&rig.unmount());
}

#[test]
fn p2_bytes_that_were_cut_off_stay_away_when_the_file_grows() {
    for format in Format::ALL {
        let mut rig = Rig::mount(format.make(&[]), 5);
        let file = rig.open("t");
        write(&file, 0, &[7; 10_000]).expect("a write");
        evict(&file).expect("an eviction");
        file.set_size(&mut token(), 5000, &NoTask).expect("a truncation");
        evict(&file).expect("an eviction");
        file.set_size(&mut token(), 9000, &NoTask).expect("a growth");
        let mut expected = vec![7; 5000];
        expected.resize(9000, 0);
        assert_eq!(contents(&file).as_ref(), Ok(&expected));
        fsync(&file).expect("a sync");
        evict(&file).expect("an eviction");
        assert_eq!(contents(&file).as_ref(), Ok(&expected));
        drop(file);
        let image = rig.unmount();
        assert_sound(&image);
        assert_eq!(debugfs(&image, "cat /t"), expected);
    }
}

#[test]
fn a_write_behind_a_truncation_that_was_prepared_is_not_lost() {
    let mut rig = Rig::mount(Format::ALL[2].make(&[]), 6);
    let file = rig.open("t");
    write(&file, 0, &[1; 8192]).expect("a write");
    evict(&file).expect("an eviction");
    // What the store reads now is old when the file is cut.
    file.mapping().store().prepare_size(6000).expect("a preparation");
    write(&file, 4096, &[2; 4096]).expect("a write");
    evict(&file).expect("an eviction");
    file.mapping().truncate_size(6000);
    file.mapping().store().truncate_blocks(6000);
    evict(&file).expect("an eviction");
    assert_eq!(read(&file, 4096, 4096), Ok(vec![2; 6000 - 4096]));
    rig.abandon();
}

#[test]
fn holes_are_punched_and_ranges_are_zeroed_and_filled() {
    for format in Format::ALL {
        let mut rig = Rig::mount(format.make(&[]), 7);
        let file = rig.open("h");
        let mut expected = vec![9; 60_000];
        write(&file, 0, &expected).expect("a write");
        evict(&file).expect("an eviction");
        file.punch_hole(&mut token(), 5000..30_000, &NoTask).expect("a hole");
        expected[5000..30_000].fill(0);
        file.zero_range(&mut token(), 40_100..50_000, FileSize::Stays, &NoTask).expect("zeros");
        expected[40_100..50_000].fill(0);
        file.allocate(&mut token(), 59_000..90_000, FileSize::Grows, &NoTask).expect("room");
        expected.resize(90_000, 0);
        assert_eq!(contents(&file).as_ref(), Ok(&expected));
        evict(&file).expect("an eviction");
        assert_eq!(contents(&file).as_ref(), Ok(&expected));
        assert_eq!(
            file.seek_data(8192),
            Ok(Some(30_000 / 4096 * 4096)).map(|at| {
                at.map(|at: u64| {
                    at.max(30_000 / format.block_size as u64 * format.block_size as u64)
                })
            })
        );
        drop(file);
        let image = rig.unmount();
        assert_sound(&image);
        assert_eq!(debugfs(&image, "cat /h"), expected);
    }
}

#[test]
fn w9_a_full_disk_is_told_by_the_write_and_loses_nothing() {
    for format in [Format::SMALL, Format { block_size: 4096, inode_size: 128, kib: 4096 }] {
        let mut rig = Rig::mount(format.make(&[]), 8);
        let file = rig.open("full");
        let mut rng = Rng::new(8);
        let mut expected = Vec::new();
        let failure = loop {
            let bytes = rng.bytes(30_000);
            match write(&file, expected.len() as u64, &bytes) {
                Ok(len) => expected.extend(&bytes[..len]),
                Err(errno) => break errno,
            }
        };
        assert_eq!(failure, Errno::NoSpace);
        assert_eq!(rig.fs().space().free_blocks, 0);
        fsync(&file).expect("a sync");
        evict(&file).expect("an eviction");
        assert_eq!(contents(&file).as_ref(), Ok(&expected));
        // What is given back can be used at once.
        file.set_size(&mut token(), 100_000, &NoTask).expect("a truncation");
        let other = rig.open("other");
        assert_eq!(write(&other, 0, &[3; 200_000]), Ok(200_000));
        fsync(&other).expect("a sync");
        drop((file, other));
        let image = rig.unmount();
        assert_sound(&image);
        assert_eq!(debugfs(&image, "cat /full"), &expected[..100_000]);
        assert_eq!(debugfs(&image, "cat /other"), [3; 200_000]);
    }
}

#[test]
fn w12_the_times_of_a_write_are_on_the_disk_after_a_sync_or_a_close() {
    let mut rig = Rig::mount(Format::ALL[1].make(&[]), 12);
    let (synced, closed) = (rig.open("synced"), rig.open("closed"));
    let times = Times { modified: 5_000_000_001, changed: 6_000_000_002 };
    for file in [&synced, &closed] {
        write(file, 0, b"x").expect("a write");
        file.set_times(times);
    }
    fsync(&synced).expect("a sync");
    let number = closed.mapping().store().number();
    drop(closed);
    rig.close(number);
    for path in ["synced", "closed"] {
        let status = rig.fs().status(&rig.node(path).expect("a node")).expect("a status");
        assert_eq!(status.modified, times.modified, "{path}");
        assert!(status.changed >= times.changed, "{path}");
    }
    drop(synced);
    assert_sound(&rig.unmount());
}

#[test]
fn the_room_of_a_file_is_that_of_its_writes_before_and_after_they_are_sent() {
    let mut rig = Rig::mount(Format::ALL[1].make(&[]), 12);
    let file = rig.open("f");
    let sectors = || rig.fs().status(&rig.node("f").expect("a node")).expect("a status").sectors;
    assert_eq!(sectors(), 0);
    let block = rig.fs().space().block_size as usize;
    write(&file, 0, &vec![7; 3 * block]).expect("a write");
    let promised = sectors();
    assert_eq!(promised, 3 * (block as u64 / 512));
    fsync(&file).expect("a sync");
    assert_eq!(sectors(), promised);
}

/// Others have to read the same, as `debugfs` does: the low word is signed, and the extra word adds
/// rounds of it in its last bits.
#[test]
fn times_before_1970_and_after_2038_are_on_the_disk_as_in_ext4() {
    const SECOND: i64 = 1_000_000_000;
    let cases = [
        (-5 * SECOND, "mtime: 0xfffffffb:00000000"),
        (0x7fff_ffff * SECOND, "mtime: 0x7fffffff:00000000"),
        (0x8000_000a * SECOND + 3, "mtime: 0x8000000a:0000000d"),
        (0x1_8000_000a * SECOND, "mtime: 0x8000000a:00000002"),
    ];
    for (modified, expected) in cases {
        let mut rig = Rig::mount(Format::ALL[1].make(&[]), 12);
        let file = rig.open("f");
        let modified = modified.cast_unsigned();
        file.set_times(Times { modified, changed: 1 });
        fsync(&file).expect("a sync");
        let status = rig.fs().status(&rig.node("f").expect("a node")).expect("a status");
        assert_eq!(status.modified, modified, "{expected}");
        drop(file);
        let image = rig.unmount();
        let told = String::from_utf8(debugfs(&image, "stat f")).expect("text");
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn a_read_only_mount_writes_nothing() {
    let image = changed(&Format::SMALL.make(&[]), "mkdir d");
    let rig = Rig::try_mount(image.clone(), 9, Access::ReadOnly).expect("a mount");
    assert_eq!(rig.create("x").err().map(|error| error.code()), Some(30));
    assert!(rig.node("d").is_ok());
    assert!(rig.unmount() == image, "the image has changed");
}

#[test]
fn unknown_features_forbid_writing_or_the_mount() {
    let mut image = Format::SMALL.make(&[]);
    // Features that allow reading, and those that do not.
    image[1024 + 101] |= 0x40;
    let rig = Rig::try_mount(image.clone(), 10, Access::ReadWrite).expect("a mount");
    assert_eq!(rig.fs().access(), Access::ReadOnly);
    drop(rig);
    image[1024 + 97] |= 0x40;
    let mounted = Rig::try_mount(image, 10, Access::ReadWrite);
    assert_eq!(mounted.err(), Some(Errno::NotSupported));
}

#[test]
fn an_image_that_is_mounted_says_so() {
    let rig = Rig::mount(Format::SMALL.make(&[]), 11);
    assert!(rig.fs().was_clean());
    let image = rig.disk.image();
    rig.abandon();
    let rig = Rig::mount(image, 11);
    assert!(!rig.fs().was_clean());
    let rig = Rig::mount(rig.unmount(), 11);
    assert!(rig.fs().was_clean());
}
