//! The control: what the refused programs do, with each lock gone before the next step.
use faultless::page::PageRun;
use faultless::prelude::*;

fn in_order<K: Kernel, U: UserMemory<Token = MayFault>>(
    a: &Inode<K>,
    b: &Inode<K>,
    user: &U,
    token: &mut MayFault,
    source: UserSlice,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let mut bytes = [0; 64];
    let locked = a.mapping().lock(token.page_locks(), run);
    drop(locked);
    let _ = copy_from_user(user, token, &mut bytes, source);
    let locked = b.mapping().lock(token.page_locks(), run);
    drop(locked);
    let _ = user.fault_in_readable(token, source);
    let section = a.mapping().read_section(token.page_locks());
    drop(section);
    let mut from = IovIter::from_slice(user, &source);
    let _ = b.write(token, &mut from, &WriteOptions::at(0), &NoTask);
    let _ = a.fsync(token, SyncKind::All, &NoTask);
}

fn handler<K: Kernel>(inode: &Inode<K>, fault: &mut InFault) {
    let _ = inode.fault(fault, PageIndex::ZERO, Access::Read, &NoTask, |_| ());
}

fn main() {
    // SAFETY: no lock is held.
    let _token = unsafe { MayFault::assert() };
}
