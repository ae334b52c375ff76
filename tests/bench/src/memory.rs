//! Memory to copy between, and the copies that everything is compared with.
//!
//! The unsafe part of the benchmarks that does not concern the kernel under test: mappings, raw
//! copies, and the few system calls that std does not offer.

use std::arch::asm;
use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

/// Anonymous memory, zeroed, page-aligned, resident, in huge pages where the system gives some, so
/// that every contestant has the same chance with the TLB.
#[derive(Debug)]
pub(super) struct Arena {
    start: NonNull<u8>,
    bytes: usize,
}

impl Arena {
    /// Maps and touches memory.
    ///
    /// # Errors
    /// The system's, when there is not enough.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping wherever the system likes; nothing existing is touched.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: advice about a mapping that is ours alone. Without huge pages all are alike, too.
        let _ = unsafe { libc::madvise(at, bytes, libc::MADV_HUGEPAGE) };
        let start = NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        let arena = Self { start, bytes };
        // SAFETY: all of the mapping, which is writable and ours alone.
        unsafe { start.write_bytes(0xa5, bytes) };
        Ok(arena)
    }

    /// The first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The size.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of it as words, for those who make no copies to it.
    pub(super) fn words(&self) -> &[AtomicU32] {
        let words = self.bytes / size_of::<AtomicU32>();
        // SAFETY: the mapping is page-aligned, initialized, writable, and lives as long as the
        // arena; any bits are a word.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), words) }
    }

    /// The byte at `offset`, from which `len` bytes lie in the arena.
    #[track_caller]
    #[inline]
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.bytes && len <= self.bytes - offset, "outside the arena");
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and whoever keeps its address keeps the arena.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

// SAFETY: the arena is a number and a size; its bytes are reached by raw copies only.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// All of an arena, or one of two parts that alternate: memory is not equally fast everywhere, and
/// contestants are to have the same.
#[derive(Clone, Debug)]
pub(super) struct Part {
    arena: Arc<Arena>,
    /// Which of the two it is.
    of_two: Option<usize>,
}

impl Part {
    /// Bytes that lie side by side in a part of two: those of a huge page.
    const STRIPE: usize = 2 << 20;

    /// Two parts of at least `bytes` each.
    ///
    /// # Errors
    /// The system's, when there is not enough memory.
    pub(super) fn two(bytes: usize) -> io::Result<[Self; 2]> {
        let arena = Arc::new(Arena::new(2 * bytes.next_multiple_of(Self::STRIPE))?);
        Ok([0, 1].map(|part| Self { arena: arena.clone(), of_two: Some(part) }))
    }

    /// Its size.
    pub(super) fn bytes(&self) -> usize {
        if self.of_two.is_some() { self.arena.bytes() / 2 } else { self.arena.bytes() }
    }

    /// How many bytes of the part, from byte `at` on, lie side by side.
    pub(super) fn bytes_beside(&self, at: usize) -> usize {
        match self.of_two {
            Some(_) => Self::STRIPE - at % Self::STRIPE,
            None => self.bytes() - at,
        }
    }

    /// The arena, and where in it byte `at` of the part is. What follows lies behind it, up to the
    /// next multiple of 2 MiB.
    #[inline]
    pub(super) fn place(&self, at: usize) -> (&Arena, usize) {
        let stripe = at / Self::STRIPE * Self::STRIPE;
        (&self.arena, self.of_two.map_or(at, |part| at + stripe + part * Self::STRIPE))
    }
}

impl From<Arena> for Part {
    fn from(arena: Arena) -> Self {
        Self { arena: Arc::new(arena), of_two: None }
    }
}

/// Bytes of memory that no cache of the CPU keeps: twice the last one, 256 MiB at least, and no
/// more than a thirty-second of what the machine has to give. The contestants of a row, three at
/// least, have as much each, and all of it is used between two uses of a line. Hosts of virtual
/// machines take memory away that is seldom used, so that more is not better. As the machine was
/// when this was first asked for.
pub(super) fn cold_bytes() -> usize {
    const LEAST: usize = 256 << 20;
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES
        .get_or_init(|| (2 * last_cache()).min(available() / 32).max(LEAST).next_multiple_of(LEAST))
}

/// Bytes of the last cache of the CPU; 0 where the C library does not tell.
fn last_cache() -> usize {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no other effect than its answer.
    return usize::try_from(unsafe { libc::sysconf(libc::_SC_LEVEL3_CACHE_SIZE) }).unwrap_or(0);
    #[cfg(not(target_env = "gnu"))]
    return 0;
}

/// Bytes that can be had without swapping; 0 where the system does not tell.
fn available() -> usize {
    let all = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or(0) << 10
}

/// How bytes are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copier {
    /// The C library's `memcpy`.
    Libc,
    /// The CPU's string instruction.
    RepMovsb,
}

/// Copies `len` bytes between two arenas.
#[inline]
pub(super) fn copy(how: Copier, to: (&Arena, usize), from: (&Arena, usize), len: usize) {
    let (dst, src) = (to.0.at(to.1, len), from.0.at(from.1, len));
    match how {
        // SAFETY: both ranges lie in arenas, as `at` checked; arenas do not overlap unless they are
        // the same, and nothing here copies inside one.
        Copier::Libc => unsafe {
            libc::memcpy(dst.cast(), src.cast(), len);
        },
        // SAFETY: as above.
        Copier::RepMovsb => unsafe { rep_movsb(dst, src, len) },
    }
}

/// # Safety
/// As `memcpy`.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn rep_movsb(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: copies exactly the bytes that the caller vouches for, upwards: the direction flag is
    // clear.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
}

/// # Safety
/// As `memcpy`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn rep_movsb(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the same contract.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, len) };
}

/// Sets `len` bytes of an arena.
#[inline]
pub(super) fn fill((arena, offset): (&Arena, usize), len: usize) {
    let dst = arena.at(offset, len);
    // SAFETY: the range lies in the arena, as `at` checked.
    unsafe {
        libc::memset(dst.cast(), 0, len);
    }
}

/// A copy of some bytes of an arena, for contestants that take a slice.
pub(super) fn bytes_of(arena: &Arena, offset: usize, len: usize) -> Vec<u8> {
    let src = arena.at(offset, len);
    let mut bytes = vec![0; len];
    // SAFETY: the range lies in the arena and the vector is fresh.
    unsafe { std::ptr::copy_nonoverlapping(src, bytes.as_mut_ptr(), len) };
    bytes
}

/// The cheapest system call, past any cache in the C library.
#[inline]
pub(super) fn null_syscall() {
    // SAFETY: the call has no arguments and no effect.
    let _ = unsafe { libc::syscall(libc::SYS_getppid) };
}

/// The CPUs that this thread may run on, in ascending order.
///
/// # Errors
/// The system's.
fn cpus() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero CPU set is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&set);
    // SAFETY: the set is ours and of the size given.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let allowed = |cpu: &usize| {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_ISSET(*cpu, &set) }
    };
    Ok((0..libc::CPU_SETSIZE as usize).filter(allowed).collect())
}

/// Keeps this thread on one CPU, which is [`cpu`] from now on.
///
/// # Errors
/// The system's: there is no such CPU, or it may not be used.
pub(super) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: an all-zero CPU set is an empty one.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is below the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: the set is ours and of the size given.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) } != 0 {
        return Err(io::Error::last_os_error());
    }
    set_cpu(cpu);
    Ok(())
}

/// The CPUs that threads are kept on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    /// That of the thread that measures.
    pub(super) own: usize,
    /// That of the threads beside it, if there is another.
    pub(super) other: Option<usize>,
}

impl Cpus {
    /// Keeps this thread on the last CPU that it may use; threads beside it get the one before.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn take() -> io::Result<Self> {
        let cpus = cpus()?;
        let own = cpus.last().copied().unwrap_or(0);
        pin(own)?;
        Ok(Self { own, other: cpus.iter().rev().nth(1).copied() })
    }
}

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// The CPU that this thread stands for: what a kernel reads from its per-CPU area.
#[inline]
pub(super) fn cpu() -> usize {
    CPU.get()
}

/// Lets this thread stand for a CPU, wherever it runs.
pub(super) fn set_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// How often this thread was made to give up the CPU.
pub(super) fn involuntary_switches() -> i64 {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours.
    let _ = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    usage.ru_nivcsw
}
