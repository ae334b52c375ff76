//! Limits of size: the task's, and the store's (W8).
#![forbid(unsafe_code)]

use faultless_page::{Errno, MAX_FILE_SIZE};

use super::{both, bytes, overlay};
use crate::WriteOptions;

#[test]
fn w8_a_limit_clips_and_at_it_there_is_a_signal() {
    both(|rig| {
        rig.fill(&bytes(1, 100));
        rig.task.limit.set(150);
        let source = rig.user.put(0, &bytes(2, 80));
        let (written, left) = rig.write_from(&[source], &WriteOptions::append());
        assert_eq!((written.map(|written| written.bytes), left), (Ok(50), 30));
        assert_eq!(rig.task.signals.get(), 0);
        // Before the source is looked at.
        rig.user.ends_at(0);
        for options in [WriteOptions::append(), WriteOptions::at(150), WriteOptions::at(9999)] {
            let (written, left) = rig.write_from(&[source], &options);
            assert_eq!((written, left), (Err(Errno::FileTooBig), 80));
        }
        assert_eq!(rig.task.signals.get(), 3);
        rig.user.heal();
        assert_eq!(rig.write(149, b"xy"), Ok(1));
        rig.task.limit.set(u64::MAX);
        rig.assert_keeps(&overlay(&overlay(&bytes(1, 100), 100, &bytes(2, 50)), 149, b"x"));
    });
}

#[test]
fn w8_the_largest_file_is_efbig_without_a_signal() {
    both(|rig| {
        rig.fill(b"old");
        let largest = 1024 * 1024;
        assert_eq!(rig.write(largest - 1, b"xy"), Ok(1));
        assert_eq!(rig.file().size(), largest);
        for pos in [largest, largest + 1, MAX_FILE_SIZE, u64::MAX] {
            assert_eq!(rig.write(pos, b"x"), Err(Errno::FileTooBig), "at {pos}");
        }
        assert_eq!((rig.file().size(), rig.task.signals.get()), (largest, 0));
    });
}
