//! DL3: faulting in takes the address-space lock, whose holder may wait for the locked page.
use faultless::page::PageRun;
use faultless::prelude::*;

fn dl3<K: Kernel, U: UserMemory<Token = MayFault>>(
    inode: &Inode<K>,
    user: &U,
    token: &mut MayFault,
    source: UserSlice,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let locked = inode.mapping().lock(token.page_locks(), run);
    let _ = user.fault_in_readable(token, source);
    drop(locked);
}

fn main() {}
