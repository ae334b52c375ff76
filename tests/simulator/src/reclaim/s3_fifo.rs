//! S3-FIFO (Yang and others, 2023), with libCacheSim's choices, and Clock2Q+ (2025).

use super::chain::Chain;
use super::policy::Policy;

/// Lists.
const SMALL: usize = 0;
const MAIN: usize = 1;
const GHOST: usize = 2;

/// A tenth of the cache for new pages, nine tenths for those that were used twice there, or that
/// return while their names are remembered.
#[derive(Debug)]
pub(super) struct S3Fifo {
    chain: Chain<3>,
    uses: Vec<u8>,
    capacity: usize,
    most_small: usize,
    most_ghosts: usize,
    evicted: bool,
}

impl S3Fifo {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        let most_small = (capacity / 10).max(1);
        Self {
            chain: Chain::new(pages),
            uses: vec![0; pages],
            capacity,
            most_small,
            most_ghosts: capacity * 9 / 10,
            evicted: false,
        }
    }

    fn evict(&mut self) {
        self.evicted = true;
        let most_main = self.capacity - self.most_small;
        if self.chain.len(MAIN) > most_main || self.chain.len(SMALL) == 0 {
            self.evict_main();
        } else {
            self.evict_small();
        }
    }

    fn evict_small(&mut self) {
        while let Some(page) = self.chain.pop_back(SMALL) {
            if self.uses[page as usize] < 2 {
                self.chain.push_front(GHOST, page);
                if self.chain.len(GHOST) > self.most_ghosts {
                    self.chain.pop_back(GHOST);
                }
                return;
            }
            self.uses[page as usize] = 0;
            self.chain.push_front(MAIN, page);
        }
    }

    fn evict_main(&mut self) {
        while let Some(page) = self.chain.pop_back(MAIN) {
            let uses = &mut self.uses[page as usize];
            if *uses == 0 {
                return;
            }
            *uses = (*uses).min(3) - 1;
            self.chain.push_front(MAIN, page);
        }
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, page: u32) -> bool {
        let list = self.chain.list_of(page);
        if matches!(list, Some(SMALL | MAIN)) {
            let uses = &mut self.uses[page as usize];
            *uses = uses.saturating_add(1);
            return true;
        }
        self.chain.remove(page);
        while self.chain.len(SMALL) + self.chain.len(MAIN) >= self.capacity {
            self.evict();
        }
        let surplus = !self.evicted && self.chain.len(SMALL) >= self.most_small;
        self.uses[page as usize] = 0;
        self.chain.push_front(if list.is_some() || surplus { MAIN } else { SMALL }, page);
        false
    }
}

/// As S3-FIFO, but one use is enough, uses soon after the insertion do not count, and the main
/// queue is a CLOCK of one bit.
#[derive(Debug)]
pub(super) struct Clock2QPlus {
    chain: Chain<3>,
    referenced: Vec<bool>,
    /// Insertions into the small queue so far, and at which of them each page came.
    inserted: u64,
    born: Vec<u64>,
    capacity: usize,
    most_small: usize,
    evicted: bool,
}

impl Clock2QPlus {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        Self {
            chain: Chain::new(pages),
            referenced: vec![false; pages],
            inserted: 0,
            born: vec![0; pages],
            capacity,
            most_small: (capacity / 10).max(1),
            evicted: false,
        }
    }

    fn evict(&mut self) {
        self.evicted = true;
        let most_main = self.capacity - self.most_small;
        if self.chain.len(MAIN) > most_main || self.chain.len(SMALL) == 0 {
            while let Some(page) = self.chain.pop_back(MAIN) {
                if !std::mem::take(&mut self.referenced[page as usize]) {
                    return;
                }
                self.chain.push_front(MAIN, page);
            }
        }
        while let Some(page) = self.chain.pop_back(SMALL) {
            if !std::mem::take(&mut self.referenced[page as usize]) {
                self.chain.push_front(GHOST, page);
                if self.chain.len(GHOST) > self.capacity * 9 / 10 {
                    self.chain.pop_back(GHOST);
                }
                return;
            }
            self.chain.push_front(MAIN, page);
        }
    }
}

impl Policy for Clock2QPlus {
    fn request(&mut self, page: u32) -> bool {
        let at = page as usize;
        let list = self.chain.list_of(page);
        if matches!(list, Some(SMALL | MAIN)) {
            let window = self.most_small as u64 / 2;
            let early = list == Some(SMALL) && self.inserted - self.born[at] < window;
            self.referenced[at] |= !early;
            return true;
        }
        self.chain.remove(page);
        while self.chain.len(SMALL) + self.chain.len(MAIN) >= self.capacity {
            self.evict();
        }
        let surplus = !self.evicted && self.chain.len(SMALL) >= self.most_small;
        self.referenced[at] = false;
        self.inserted += u64::from(list.is_none() && !surplus);
        self.born[at] = self.inserted;
        self.chain.push_front(if list.is_some() || surplus { MAIN } else { SMALL }, page);
        false
    }
}
