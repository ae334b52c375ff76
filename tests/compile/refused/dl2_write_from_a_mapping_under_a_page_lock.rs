//! DL2: a whole write, which faults in its source, while a page of another file is locked.
use faultless::page::PageRun;
use faultless::prelude::*;

fn dl2<K: Kernel, U: UserMemory<Token = MayFault>>(
    a: &Inode<K>,
    b: &Inode<K>,
    token: &mut MayFault,
    from: &mut IovIter<'_, U>,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let locked = a.mapping().lock(token.page_locks(), run);
    let _ = b.write(token, from, &WriteOptions::at(0), &NoTask);
    drop(locked);
}

fn main() {}
