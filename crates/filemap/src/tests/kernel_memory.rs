//! Kernel code that reads and writes files for itself: the same calls with a buffer of the kernel.

use faultless_page::{Errno, Strategy};
use faultless_usercopy::{IovIter, KernelMemory};

use super::rig::assert_same;
use super::{PAGE, Rig, both, bytes, overlay};
use crate::{InKernel, WriteOptions};

/// The token of a loader.
fn in_kernel() -> InKernel {
    // SAFETY: tests hold no lock between calls, and make one token at a time.
    unsafe { InKernel::enter() }
}

/// Writes a buffer of the kernel at `pos`.
fn write(rig: &Rig, pos: u64, buffer: &[u8]) -> Result<usize, Errno> {
    let memory = KernelMemory::readable(buffer);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    let options = WriteOptions::at(pos);
    let written = rig.file().write(&mut in_kernel(), &mut from, &options, &rig.task);
    written.map(|written| written.bytes)
}

/// Reads into a buffer of the kernel.
fn read(rig: &Rig, pos: u64, len: usize) -> Result<std::vec::Vec<u8>, Errno> {
    let mut buffer = std::vec![0xee; len];
    let memory = KernelMemory::writable(&mut buffer);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    let got = rig.file().read(&mut in_kernel(), &mut to, pos, &rig.task)?;
    assert!(buffer[got..].iter().all(|byte| *byte == 0xee), "nothing behind what arrived");
    buffer.truncate(got);
    Ok(buffer)
}

#[test]
fn w1_a_buffer_of_the_kernel_lands_whole_and_is_read_back() {
    both(|rig| {
        let old = bytes(1, 3 * PAGE);
        assert_eq!(write(&rig, 0, &old), Ok(3 * PAGE));
        let new = bytes(2, PAGE + 10);
        assert_eq!(write(&rig, 100, &new), Ok(PAGE + 10));
        let expected = overlay(&old, 100, &new);
        assert_same(&read(&rig, 0, 4 * PAGE).expect("a read"), &expected, "of the buffer");
        rig.assert_keeps(&expected);
    });
}

#[test]
fn w6_no_write_of_a_buffer_waits_for_user_memory() {
    for strategy in [Strategy::BeginEnd, Strategy::PrepareCommit] {
        let rig = Rig::with(strategy);
        rig.fill_cold(&bytes(1, 2 * PAGE));
        // User memory that a copy would fault on is there, and is not looked at.
        rig.user.at_next_fault(|| panic!("user memory was faulted in"));
        assert_eq!(write(&rig, 50, &bytes(2, PAGE)), Ok(PAGE));
        assert_eq!(read(&rig, 50, PAGE).as_deref(), Ok(&bytes(2, PAGE)[..]));
    }
}

#[test]
fn a_header_is_read_from_a_cold_file_and_the_end_is_seen() {
    let rig = Rig::new();
    let old = bytes(1, PAGE + 20);
    rig.fill_cold(&old);
    assert_eq!(read(&rig, 0, 64).as_deref(), Ok(&old[..64]));
    assert_eq!(read(&rig, PAGE as u64, 64).as_deref(), Ok(&old[PAGE..]));
    assert_eq!(read(&rig, PAGE as u64 + 20, 64).as_deref(), Ok(&[][..]));
}

#[test]
fn w1_a_buffer_that_is_only_read_takes_no_bytes() {
    let rig = Rig::new();
    rig.fill(&bytes(1, 100));
    let buffer = [5; 100];
    let memory = KernelMemory::readable(&buffer);
    let slice = memory.slice();
    let mut to = IovIter::from_slice(&memory, &slice);
    let got = rig.file().read(&mut in_kernel(), &mut to, 0, &rig.task);
    assert_eq!((got, to.count()), (Err(Errno::Fault), 100));
    assert_eq!(buffer, [5; 100]);
}

#[test]
fn w9_kernel_code_cuts_a_file_and_lets_it_grow() {
    let rig = Rig::new();
    rig.fill(&bytes(1, PAGE));
    assert_eq!(rig.file().set_size(&mut in_kernel(), 10, &rig.task), Ok(()));
    assert_eq!(write(&rig, 20, b"new"), Ok(3));
    rig.assert_keeps(&overlay(&bytes(1, 10), 20, b"new"));
}
