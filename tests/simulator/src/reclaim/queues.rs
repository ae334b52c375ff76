//! Policies of one queue: FIFO, LRU, CLOCK, SIEVE.

use super::chain::Chain;
use super::policy::Policy;

/// FIFO, or LRU if a hit moves the page to the front.
#[derive(Debug)]
pub(super) struct Queue {
    chain: Chain<1>,
    capacity: usize,
    on_hit: OnHit,
}

/// What a hit does to the page's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnHit {
    Stay,
    Move,
}

impl Queue {
    pub(super) fn new(pages: usize, capacity: usize, on_hit: OnHit) -> Self {
        Self { chain: Chain::new(pages), capacity, on_hit }
    }
}

impl Policy for Queue {
    fn request(&mut self, page: u32) -> bool {
        let hit = self.chain.list_of(page).is_some();
        if !hit && self.chain.len(0) == self.capacity {
            self.chain.pop_back(0);
        }
        if !hit || self.on_hit == OnHit::Move {
            self.chain.push_front(0, page);
        }
        hit
    }
}

/// CLOCK with one bit: a referenced page at the back goes to the front once more.
#[derive(Debug)]
pub(super) struct Clock {
    chain: Chain<1>,
    referenced: Vec<bool>,
    capacity: usize,
}

impl Clock {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        Self { chain: Chain::new(pages), referenced: vec![false; pages], capacity }
    }
}

impl Policy for Clock {
    fn request(&mut self, page: u32) -> bool {
        if self.chain.list_of(page).is_some() {
            self.referenced[page as usize] = true;
            return true;
        }
        while self.chain.len(0) == self.capacity {
            let Some(last) = self.chain.pop_back(0) else { break };
            if std::mem::take(&mut self.referenced[last as usize]) {
                self.chain.push_front(0, last);
            }
        }
        self.referenced[page as usize] = false;
        self.chain.push_front(0, page);
        false
    }
}

/// SIEVE: the hand moves from the back to the front, and pages keep their places.
#[derive(Debug)]
pub(super) struct Sieve {
    chain: Chain<1>,
    visited: Vec<bool>,
    hand: Option<u32>,
    capacity: usize,
}

impl Sieve {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        Self { chain: Chain::new(pages), visited: vec![false; pages], hand: None, capacity }
    }

    fn evict(&mut self) {
        let mut at = self.hand.or_else(|| self.chain.back(0));
        while let Some(page) = at {
            if !std::mem::take(&mut self.visited[page as usize]) {
                self.hand = self.chain.before(page);
                self.chain.remove(page);
                return;
            }
            at = self.chain.before(page).or_else(|| self.chain.back(0));
        }
    }
}

impl Policy for Sieve {
    fn request(&mut self, page: u32) -> bool {
        if self.chain.list_of(page).is_some() {
            self.visited[page as usize] = true;
            return true;
        }
        if self.chain.len(0) == self.capacity {
            self.evict();
        }
        self.visited[page as usize] = false;
        self.chain.push_front(0, page);
        false
    }
}
