//! How much stack a call of the core takes: each runs on a stack of its own that was painted
//! before, and the paint that is left tells how deep it came.
//!
//! Neighbours: [`kernel`](crate::kernel) is what is called. What a kernel's own parts take (its
//! store, allocator and waits) comes on top; here they are small.

use std::io;
use std::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult};
use faultless_filemap::{Access, Strategy, WriteOptions};
use faultless_page::{LEAF_SIZE, PAGE_SIZE};

use crate::frames::Layout;
use crate::kernel::Rig;
use crate::memory::Arena;

/// Bytes of a painted stack, its guard page included.
const SIZE: usize = 256 * 1024;
/// What no call leaves behind in all the words of a stack.
const PAINT: u64 = 0xa5a5_5a5a_c3c3_3c3c;

/// A call, on a file that holds the leaf before its position.
type Call = (&'static str, fn(&Rig));

/// Position of the calls: their pages are new.
const POS: u64 = LEAF_SIZE as u64;

const CALLS: &[Call] = &[
    ("write, fast path", |rig| rig.write(&WriteOptions::at(0), PAGE_SIZE)),
    ("write, new pages in two leaves", |rig| rig.write(&WriteOptions::at(POS / 2), LEAF_SIZE)),
    ("write, strategy A", |rig| {
        let options = WriteOptions::at(POS).with_strategy(Strategy::PrepareCommit);
        rig.write(&options, 4 * PAGE_SIZE);
    }),
    ("append", |rig| rig.write(&WriteOptions::append(), PAGE_SIZE + 1)),
    ("read", |rig| rig.read(100, LEAF_SIZE / 2)),
    ("read, absent pages", |rig| {
        rig.set_size(2 * POS);
        rig.read(POS, LEAF_SIZE / 2);
    }),
    ("fault, load", |rig| rig.fault(1, Access::Read)),
    ("fault, CPU store", |rig| rig.fault(1, Access::Write)),
    ("set_size, shorter", |rig| rig.set_size(100)),
    ("set_size, longer", |rig| rig.set_size(2 * POS)),
    ("fsync", Rig::fsync),
    ("evict", Rig::evict),
];

/// The bytes of stack that `call` takes.
fn depth(call: impl FnOnce() + 'static) -> io::Result<usize> {
    let stack = DefaultStack::new(SIZE)?;
    for word in words(&stack) {
        // SAFETY: a word of the stack, which is mapped and used by no thread.
        unsafe { with_exposed_provenance_mut::<u64>(word).write_volatile(PAINT) };
    }
    let mut coroutine = Coroutine::with_stack(stack, |_, ()| call());
    while let CoroutineResult::Yield(()) = coroutine.resume(()) {}
    let stack = coroutine.into_stack();
    let used = |word: &usize| {
        // SAFETY: as above.
        let found = unsafe { with_exposed_provenance::<u64>(*word).read_volatile() };
        found != PAINT
    };
    Ok(words(&stack).find(used).map_or(0, |lowest| stack.base().get() - lowest))
}

/// The addresses of the words of a stack, above its guard page.
fn words(stack: &DefaultStack) -> impl Iterator<Item = usize> + use<> {
    (stack.limit().get() + PAGE_SIZE..stack.base().get()).step_by(size_of::<u64>())
}

/// A file that holds one leaf.
fn rig() -> Result<Rig> {
    let frames = Arena::new(16 * LEAF_SIZE).context("no memory for frames")?;
    let memory = Arena::new(2 * LEAF_SIZE).context("no memory for the user")?;
    let rig = Rig::new(frames, Layout::Contiguous, Arc::new(memory));
    rig.write(&WriteOptions::at(0), LEAF_SIZE);
    Ok(rig)
}

/// All calls with the bytes of stack that they take.
fn depths() -> Result<Vec<(&'static str, usize)>> {
    let empty = depth(|| {})?;
    let mut found = Vec::new();
    for &(name, call) in CALLS {
        let rig = Arc::new(rig()?);
        let user = Arc::clone(&rig);
        let bytes = depth(move || call(&user))?;
        if bytes + PAGE_SIZE >= SIZE {
            bail!("{name}: more stack than there is");
        }
        found.push((name, bytes - empty));
    }
    Ok(found)
}

/// Prints how much stack each call takes.
pub(crate) fn print() -> Result<()> {
    let mut table = Table::new();
    table.set_header(["call", "bytes of stack"]);
    let depths = depths()?;
    for (name, bytes) in &depths {
        table.add_row([(*name).to_owned(), bytes.to_string()]);
    }
    println!("{table}");
    let most = depths.iter().map(|(_, bytes)| bytes).max().copied().unwrap_or(0);
    println!(
        "At most {most} bytes in an optimised build, beside what the kernel's own parts take."
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_of_a_call_is_measured() {
        let deep = || {
            let mut local = [0_u8; 10_000];
            std::hint::black_box(&mut local);
        };
        let (deep, empty) = (depth(deep).expect("a stack"), depth(|| {}).expect("a stack"));
        assert!(empty < 1_000 && (10_000..12_000).contains(&deep), "{deep} and {empty} bytes");
    }

    /// Also in a build that is hardly optimised no call needs much.
    #[test]
    fn no_call_takes_more_than_two_pages_of_stack() {
        for (name, bytes) in depths().expect("memory") {
            println!("{name}: {bytes}");
            assert!(bytes > 0 && bytes <= 2 * PAGE_SIZE, "{name}: {bytes} bytes");
        }
    }
}
