//! Physical memory: which there is, the kernel's heap, and the frames of the cache and of programs.
//!
//! | what | module |
//! |---|---|
//! | what the loader says: memory, modules, the command line | `loader` |
//! | where physical memory and the image are mapped | `map` |
//! | the heap | `heap` |
//! | frames | `frames` |
//! | page tables of programs | `table` |
//! | kernel stacks | `stacks` |
//! | the kernel as Faultless sees it, the cache, files, the limit of dirty pages, address spaces | `machine` |
//! | memory without a file | `anonymous` |
//! | user memory in system calls | `user` |

mod anonymous;
mod frames;
mod heap;
mod loader;
mod machine;
pub(crate) mod map;
pub(crate) mod stacks;
mod table;
mod user;
mod word;

use core::ptr::NonNull;

use faultless::filemap::PageLocks;
use faultless::parts::FramePool;
use faultless::prelude::{Kernel, MayFault, PAGE_SIZE};

pub(crate) use anonymous::{anonymous_request, is_anonymous, shared_anonymous};
pub(crate) use frames::{frames, is_below_low_mark};
pub use heap::Heap;
pub(crate) use loader::{Boot, Module};
pub(crate) use machine::{
    AddressSpace, DISK, Ends, FileHandle, Machine, Open, Reclaimable, Space, WeakFile, cache,
    dirty_limit, end_files, killed_by, new_space, reclaim_by,
};
pub(crate) use map::{USER_END, direct_map, image_end, kernel_root, physical};
pub(crate) use user::{
    User, UserBytes, copy_in, copy_out, get, get_string, get_words, put, put_words, user_memory,
    with_buffer, with_vector,
};

pub(crate) use word::change_word;

/// Bytes of physical memory that are mapped.
const MAPPED: usize = 4 << 30;

/// The part of memory that is the kernel's heap at first, and how large that is at most.
const HEAP_PART: usize = 8;
const LARGEST_HEAP: usize = 256 << 20;

/// The part of the frames that pages are given up for, and the part that is kept for programs that
/// run already.
const WANTED_PART: u32 = 64;
const KEPT_PART: u32 = 256;

/// Whether there is too little memory to begin what can be done without. Pages are given up before.
/// May sleep.
pub(crate) fn is_short(token: &mut MayFault) -> bool {
    let frames = frames();
    let wanted = frames.total() / WANTED_PART;
    if frames.free() < wanted {
        Machine::reclaim(machine::cache(), token.page_locks(), wanted);
    }
    frames.free() < frames.total() / KEPT_PART || heap::is_short()
}

/// Hands memory out: the heap, and the frames of the cache.
///
/// # Panics
/// There is none, or the initramfs is not in it.
pub(crate) fn init(boot: &Boot) {
    map::protect_image();
    let image = image_end();
    let all = boot.largest_free(image, MAPPED);
    let pages = |at: usize| at.next_multiple_of(PAGE_SIZE);
    let heap = pages(all.start)..pages(all.start + (all.len() / HEAP_PART).min(LARGEST_HEAP));
    heap::init(direct_map(heap.start), heap.len());
    let frames = heap.end..all.end;
    let base = NonNull::new(direct_map(frames.start)).unwrap_or(NonNull::dangling());
    // SAFETY: memory that nothing else uses, mapped for good. It is initialised: the machine's.
    let pool = unsafe { FramePool::from_raw(base, frames.len()) };
    frames::init(pool);
    stacks::init();
    machine::init();
}
