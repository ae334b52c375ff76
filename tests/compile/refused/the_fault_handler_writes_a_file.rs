//! The fault handler holds the lock of the address space, and an inode lock ranks before it.
use faultless::prelude::*;

fn handler<K: Kernel>(inode: &Inode<K>, fault: &mut InFault) {
    let memory = KernelMemory::readable(&[1]);
    let slice = memory.slice();
    let mut from = IovIter::from_slice(&memory, &slice);
    let _ = inode.write(fault, &mut from, &WriteOptions::append(), &NoTask);
}

fn main() {}
