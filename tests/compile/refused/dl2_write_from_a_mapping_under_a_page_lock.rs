//! DL2: a whole write, which faults in its source, while a page of another file is locked.
use faultless::page::PageRun;
use faultless::prelude::*;

fn dl2<K: Kernel, U: UserMemory<Token = MayFault>>(
    a: &Inode<K>,
    b: &Inode<K>,
    may: &mut MayFault,
    from: &mut IovIter<'_, U>,
) {
    let run = PageRun::single(PageIndex::ZERO);
    let locked = a.mapping().lock(may.page_locks(), run);
    let _ = b.write(may, from, &WriteOptions::at(0), &NoTask);
    drop(locked);
}

fn main() {}
