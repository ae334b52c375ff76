//! DL1: a faulting copy into a page that is locked. The fault handler would want the same page.
use faultless::page::PageRun;
use faultless::prelude::*;

fn dl1<K: Kernel, U: UserMemory<Token = MayFault>>(
    inode: &Inode<K>,
    user: &U,
    token: &mut MayFault,
    source: UserSlice,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let locked = inode.mapping().lock(token.page_locks(), run);
    let mut bytes = [0; 64];
    let _ = copy_from_user(user, token, &mut bytes, source);
    drop(locked);
}

fn main() {}
