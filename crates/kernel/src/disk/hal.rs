//! Memory and addresses, as the virtio crate wants them.

use core::ptr::NonNull;

use faultless::prelude::{Frames, PAGE_SIZE};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use crate::memory::{direct_map, frames, physical};

/// This kernel: devices see physical memory as it is, and caches are coherent.
pub(super) struct Direct;

// SAFETY: memory comes from the frames, and every address lies in the direct map.
unsafe impl Hal for Direct {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let none = (0, NonNull::dangling());
        let Ok((first, len)) = frames().allocate(pages as u32) else { return none };
        let start = frames().address(first);
        if (len as usize) < pages {
            // SAFETY: allocated above, and used by nothing.
            unsafe { Self::dma_dealloc(0, start, len as usize) };
            return none;
        }
        // SAFETY: as many pages, which nothing else uses.
        unsafe { start.write_bytes(0, pages * PAGE_SIZE) };
        (physical(start) as PhysAddr, start)
    }

    unsafe fn dma_dealloc(_at: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        for page in 0..pages {
            let address = NonNull::new(start.as_ptr().wrapping_add(page * PAGE_SIZE));
            if let Some(frame) = address.and_then(|address| frames().frame_at(address)) {
                // SAFETY: the count of the allocation; the caller's promise.
                unsafe { frames().release(frame) };
            }
        }
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(direct_map(at as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        // Requests lie in the heap: a kernel stack is not in the direct map.
        physical(buffer.cast()) as PhysAddr
    }

    unsafe fn unshare(_at: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
