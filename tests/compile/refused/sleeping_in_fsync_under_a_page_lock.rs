//! Writeback locks pages: not while one is locked (P4).
use faultless::page::PageRun;
use faultless::prelude::*;

fn sync<K: Kernel>(inode: &Inode<K>, token: &mut MayFault) {
    let locked = inode.mapping().lock(token.page_locks(), PageRun::single(PageIndex::ZERO));
    let _ = inode.fsync(token, SyncKind::All, &NoTask);
    drop(locked);
}

fn main() {}
