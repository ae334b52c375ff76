//! The control: what the refused programs do, with each lock gone before the next step.
use faultless::page::PageRun;
use faultless::prelude::*;

fn in_order<K: Kernel, U: UserMemory<Token = MayFault>>(
    a: &Inode<K>,
    b: &Inode<K>,
    user: &U,
    may: &mut MayFault,
    source: UserSlice,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let mut bytes = [0; 64];
    let locked = a.mapping().lock(may.page_locks(), run);
    drop(locked);
    let _ = copy_from_user(user, may, &mut bytes, source);
    let locked = b.mapping().lock(may.page_locks(), run);
    drop(locked);
    let _ = user.fault_in_readable(may, source);
    let section = a.mapping().read_section(may.page_locks());
    drop(section);
    let mut from = IovIter::from_slice(user, &source);
    let _ = b.write(may, &mut from, &WriteOptions::at(0), &NoTask);
    let _ = a.fsync(may, SyncKind::All, &NoTask);
}

fn handler<K: Kernel>(inode: &Inode<K>, fault: &mut InFault) {
    let _ = inode.fault(fault, PageIndex::ZERO, Access::Read, &NoTask, |_| ());
}

fn main() {
    // SAFETY: no lock is held.
    let _token = unsafe { MayFault::assert() };
}
