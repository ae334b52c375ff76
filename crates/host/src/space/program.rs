//! The user program: loads and stores in an address space, which fault as user code does and get a
//! signal for an answer; and a debugger's view, which does not fault.

use faultless_page::PAGE_SIZE;
use faultless_usercopy::UserAddr;

use super::AddressSpace;
use crate::kernel::Flavor;
use crate::lockcheck;
use crate::mmu::{Mmu, Operation, Policy, Protection, UserFault};

impl<M: Mmu, F: Flavor> AddressSpace<M, F> {
    /// The program reads `bytes.len()` bytes at `addr`.
    ///
    /// # Errors
    /// The signal; what lies before the fault has been read.
    ///
    /// # Panics
    /// If the range leaves the address space, or the calling thread is inside the kernel (holds a
    /// lock of it).
    pub fn load(&self, addr: UserAddr, bytes: &mut [u8]) -> Result<(), UserFault> {
        self.run(addr, bytes.len(), Operation::Load(bytes.as_mut_ptr()))
    }

    /// The program writes `bytes` at `addr`.
    ///
    /// # Errors
    /// The signal; what lies before the fault has been written.
    ///
    /// # Panics
    /// As for [`load`](Self::load).
    pub fn store(&self, addr: UserAddr, bytes: &[u8]) -> Result<(), UserFault> {
        self.run(addr, bytes.len(), Operation::Store(bytes.as_ptr()))
    }

    /// The program sets `len` bytes at `addr` to `byte`.
    ///
    /// # Errors
    /// The signal; what lies before the fault has been written.
    ///
    /// # Panics
    /// As for [`load`](Self::load).
    pub fn fill(&self, addr: UserAddr, byte: u8, len: usize) -> Result<(), UserFault> {
        self.store(addr, &vec![byte; len])
    }

    /// The program reads `len` bytes at `addr`.
    ///
    /// # Errors
    /// The signal.
    ///
    /// # Panics
    /// As for [`load`](Self::load).
    pub fn read_vec(&self, addr: UserAddr, len: usize) -> Result<Vec<u8>, UserFault> {
        let mut bytes = vec![0; len];
        self.load(addr, &mut bytes).map(|()| bytes)
    }

    /// A debugger reads `bytes.len()` bytes at `addr`, whatever the protection, without a fault and
    /// without making anything resident.
    ///
    /// # Panics
    /// If a page has no frame.
    #[track_caller]
    pub fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.each_piece(addr.get(), bytes.len(), &mut |page, done, len| {
            let part = &mut bytes[done..done + len];
            // SAFETY: the frame is kept by the table's lock; the piece lies in both.
            unsafe { page.copy_to(part.as_mut_ptr(), len) };
        });
    }

    /// A debugger writes `bytes` at `addr`, whatever the protection, without a fault.
    ///
    /// # Panics
    /// If a page has no frame.
    #[track_caller]
    pub fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.each_piece(addr.get(), bytes.len(), &mut |page, done, len| {
            let part = &bytes[done..done + len];
            // SAFETY: the frame is kept by the table's lock; the piece lies in both.
            unsafe { page.copy_from(part.as_ptr(), len) };
        });
    }

    /// Makes the pages resident whatever their protection, for [`peek`](Self::peek) and
    /// [`poke`](Self::poke).
    ///
    /// # Errors
    /// As for [`populate`](Self::populate).
    pub fn populate_all(&self, page: usize, pages: usize) -> Result<(), UserFault> {
        (page..page + pages).try_for_each(|page| {
            let protection = self.inner.areas().find(page).map(|(_, area)| area.protection);
            let protection = protection.ok_or(UserFault::Segv)?;
            self.protect(page, 1, Protection::ReadWrite);
            let result = self.populate(page, 1);
            self.protect(page, 1, protection);
            result
        })
    }

    #[track_caller]
    fn run(&self, addr: UserAddr, len: usize, operation: Operation) -> Result<(), UserFault> {
        if F::CHECKED {
            self.inner.watchdog.check().adopt();
            lockcheck::nothing_held("user code runs");
        }
        self.assert_inside(addr.get(), len);
        if len == 0 {
            return Ok(());
        }
        self.inner.announce(addr.get(), len);
        let policy = Policy::Faulting;
        // SAFETY: the range lies in the address space (checked), the kernel side is a slice of that
        // length.
        unsafe { self.inner.mmu.access(&*self.inner, operation, addr.get(), len, policy) }.signal()
    }

    #[track_caller]
    fn assert_inside(&self, addr: usize, len: usize) {
        let base = self.inner.mmu.base();
        let end = addr.checked_add(len).expect("a range that does not wrap");
        let inside = addr >= base && end <= base + self.inner.pages * PAGE_SIZE;
        assert!(inside, "{addr:#x}+{len} lies in the address space");
    }

    /// Calls `with` with the kernel address of each piece of the range that lies in one page, how
    /// far into the range it lies, and its length.
    #[track_caller]
    fn each_piece(&self, addr: usize, len: usize, with: &mut dyn FnMut(*mut u8, usize, usize)) {
        self.assert_inside(addr, len);
        let table = self.inner.table();
        let mut done = 0;
        while done < len {
            let at = addr + done;
            let offset = at % PAGE_SIZE;
            let piece = (PAGE_SIZE - offset).min(len - done);
            let frame = table.any_frame(self.inner.page_of(at)).expect("a page with a frame");
            let page = self.inner.memory.address(frame).as_ptr();
            with(page.wrapping_add(offset), done, piece);
            done += piece;
        }
    }
}
