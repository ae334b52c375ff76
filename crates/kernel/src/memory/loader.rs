//! What the loader says (PVH, `hvm_start_info`): memory, modules, the command line.

use core::ops::Range;
use core::ptr;
use core::slice;

use crate::memory::map::{DIRECT_MAP, direct_map};

const MAGIC: u32 = 0x336e_c578;

/// Memory of the map that is free to use.
const RAM: u32 = 1;

#[derive(Clone, Copy)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
    acpi: u64,
    memory_map: u64,
    memory_entries: u32,
    reserved: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ModuleEntry {
    start: u64,
    len: u64,
    command_line: u64,
    reserved: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MemoryEntry {
    start: u64,
    len: u64,
    kind: u32,
    reserved: u32,
}

/// A file that the loader has put into memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Module(&'static [u8]);

impl Module {
    /// Its bytes.
    pub(crate) const fn bytes(&self) -> &'static [u8] {
        self.0
    }
}

/// What the loader says.
#[derive(Debug)]
pub(crate) struct Boot {
    memory: &'static [MemoryEntry],
    /// The initramfs.
    pub(crate) module: Option<Module>,
    /// The command line.
    pub(crate) command_line: &'static [u8],
    /// The physical address of the ACPI tables' root pointer.
    pub(crate) acpi: usize,
}

impl core::fmt::Debug for MemoryEntry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}+{:#x}: {}", self.start, self.len, self.kind)
    }
}

impl Boot {
    /// Reads what lies at the physical address that the loader has left.
    ///
    /// # Safety
    /// It is that address, and nothing has overwritten what it leads to.
    ///
    /// # Panics
    /// It is no start information, or has no map of memory.
    pub(crate) unsafe fn read(at: usize) -> Self {
        // SAFETY: the caller's promise.
        let info = unsafe { direct_map(at).cast::<StartInfo>().read_unaligned() };
        assert!(info.magic == MAGIC && info.version >= 1, "the loader is none for PVH");
        // SAFETY: the list has one entry.
        let module = (info.modules > 0).then(|| unsafe {
            direct_map(info.module_list as usize).cast::<ModuleEntry>().read_unaligned()
        });
        let map = direct_map(info.memory_map as usize).cast::<MemoryEntry>();
        Self {
            // SAFETY: the loader's map, which stays.
            memory: unsafe { slice::from_raw_parts(map, info.memory_entries as usize) },
            module: module.map(|module| {
                let start = direct_map(module.start as usize);
                // SAFETY: the loader's copy of the file, which stays.
                Module(unsafe { slice::from_raw_parts(start, module.len as usize) })
            }),
            // SAFETY: the loader's copy of the line, which stays.
            command_line: unsafe { text(direct_map(info.command_line as usize)) },
            acpi: info.acpi as usize,
        }
    }

    /// The largest piece of memory below `end` without the image, which ends at `image`, the low
    /// memory before it, and the module.
    pub(crate) fn largest_free(&self, image: usize, end: usize) -> Range<usize> {
        let module = self.module.map_or(0..0, |module| {
            let start = module.0.as_ptr().addr() - DIRECT_MAP;
            start..start + module.0.len()
        });
        let ram = self.memory.iter().filter(|entry| entry.kind == RAM);
        let pieces = ram.flat_map(|entry| {
            let start = (entry.start as usize).max(image);
            let end = (entry.start.saturating_add(entry.len) as usize).min(end);
            if module.start < end && start < module.end {
                [start..module.start, module.end..end]
            } else {
                [start..end, 0..0]
            }
        });
        pieces.max_by_key(Range::len).unwrap_or(0..0)
    }
}

/// # Safety
/// A text with a 0 at its end, which stays.
unsafe fn text(start: *const u8) -> &'static [u8] {
    if ptr::eq(start, direct_map(0)) {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { core::ffi::CStr::from_ptr(start.cast()) }.to_bytes()
}
