//! A locked page cannot be returned past the end of the system call (P3).
use faultless::page::{LockedRun, PageRun};
use faultless::prelude::*;

fn keep<K: Kernel>(inode: &Inode<K>) -> Option<LockedRun<'_, K>> {
    // SAFETY: the program does not run.
    let mut token = unsafe { MayFault::assert() };
    inode.mapping().lock(token.page_locks(), PageRun::single(PageIndex::ZERO))
}

fn main() {}
