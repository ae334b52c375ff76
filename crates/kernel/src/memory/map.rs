//! Where physical memory and the image are mapped.

use core::ops::Range;
use core::ptr::{self, NonNull, with_exposed_provenance_mut};

/// Where the first 4 GiB of physical memory are mapped.
pub(crate) const DIRECT_MAP: usize = 0xffff_8000_0000_0000;

/// Where the image is linked, for physical address 0.
const IMAGE: usize = 0xffff_ffff_8000_0000;

/// The addresses that programs may have. The last page before the hole stays empty: behind a
/// `syscall` at its end the CPU would return to an address that it refuses.
pub(crate) const USER_END: usize = 0x7fff_ffff_f000;

/// Bytes of one entry of [`image_map`].
const LARGE_PAGE: usize = 2 << 20;

unsafe extern "C" {
    static text_start: u8;
    static text_end: u8;
    #[link_name = "image_end"]
    static IMAGE_END: u8;
    /// The top table of the kernel (`boot::start`).
    pub(super) static boot_tables: [u64; 512];
    /// The table of 2 MiB pages that maps the image.
    static mut image_map: [u64; 512];
}

/// The kernel's address of a physical one.
pub(crate) fn direct_map(physical: usize) -> *mut u8 {
    with_exposed_provenance_mut(DIRECT_MAP + physical)
}

/// The physical address of one in the direct map.
pub(crate) fn physical(address: NonNull<u8>) -> usize {
    address.addr().get() - DIRECT_MAP
}

/// The page table without user memory.
pub(crate) fn kernel_root() -> usize {
    (&raw const boot_tables).addr() - IMAGE
}

/// The physical address where the image ends.
pub(crate) fn image_end() -> usize {
    (&raw const IMAGE_END).addr() - IMAGE
}

/// Makes the code of the image read-only, and everything else of it not executable.
pub(super) fn protect_image() {
    const WRITE: u64 = 1 << 1;
    const NOT_EXECUTE: u64 = 1 << 63;
    let code: Range<usize> =
        (&raw const text_start).addr() - IMAGE..(&raw const text_end).addr() - IMAGE;
    let map = (&raw mut image_map).cast::<u64>();
    for at in 0..512 {
        // SAFETY: one of the 512 entries. This CPU alone runs.
        let entry = unsafe { ptr::read_volatile(map.wrapping_add(at)) };
        let entry =
            if code.contains(&(at * LARGE_PAGE)) { entry & !WRITE } else { entry | NOT_EXECUTE };
        // SAFETY: as above; the code stays executable, and the data writable.
        unsafe { ptr::write_volatile(map.wrapping_add(at), entry) };
    }
    x86_64::instructions::tlb::flush_all();
}
