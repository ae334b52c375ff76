//! DL2: a page lock while another one is held, in an order that nobody checks.
use faultless::page::PageRun;
use faultless::prelude::*;

fn dl2<K: Kernel>(a: &Inode<K>, b: &Inode<K>, token: &mut MayFault) {
    let run = PageRun::single(PageIndex::ZERO);
    let first = a.mapping().lock(token.page_locks(), run);
    let second = b.mapping().lock(token.page_locks(), run);
    drop(first);
    drop(second);
}

fn main() {}
