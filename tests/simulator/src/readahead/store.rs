//! A store with a latency, a queue and a transfer rate.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

/// Pages of the largest request: those of a leaf.
pub const MOST_PAGES: u64 = 64;

/// How fast a store is.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// From the start of a request to its first byte, in nanoseconds.
    pub latency_ns: u64,
    /// To transfer a page, one after the other, in nanoseconds.
    pub page_ns: u64,
    /// Requests that are served at once.
    pub depth: usize,
}

/// A store that serves requests in the order in which they come.
#[derive(Debug)]
pub struct Store {
    speed: Speed,
    /// When each of the requests that are served ends.
    ends: VecDeque<u64>,
    /// When the last transfer ends.
    free: u64,
}

impl Store {
    /// A store at rest.
    pub fn new(speed: Speed) -> Self {
        Self { speed, ends: VecDeque::new(), free: 0 }
    }

    /// Asks for `pages` pages at time `now`. Returns when the transfer of the first one begins.
    ///
    /// # Panics
    /// The request is larger than a leaf.
    pub fn read(&mut self, now: u64, pages: u64) -> u64 {
        assert!(pages <= MOST_PAGES, "a request of {pages} pages");
        let begin = if self.ends.len() < self.speed.depth {
            now
        } else {
            self.ends.pop_front().map_or(now, |end| end.max(now))
        };
        let transfer = (begin + self.speed.latency_ns).max(self.free);
        self.free = transfer + pages * self.speed.page_ns;
        self.ends.push_back(self.free);
        transfer
    }

    /// Nanoseconds to transfer a page.
    pub fn page_ns(&self) -> u64 {
        self.speed.page_ns
    }
}

impl Speed {
    /// Nanoseconds that the store needs for `pages` pages, all asked for at once.
    pub fn time_for(self, pages: u64) -> u64 {
        let mut store = Store::new(self);
        for first in (0..pages).step_by(MOST_PAGES as usize) {
            store.read(0, MOST_PAGES.min(pages - first));
        }
        store.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { latency_ns: 100, page_ns: 2, depth: 2 };

    #[test]
    fn latencies_overlap_up_to_the_depth_and_transfers_do_not() {
        let mut store = Store::new(SPEED);
        assert_eq!([store.read(0, 10), store.read(0, 10), store.read(0, 10)], [100, 120, 220]);
        assert_eq!(Speed { depth: 1, ..SPEED }.time_for(128), 2 * (100 + 128));
        assert_eq!(Speed { depth: 8, ..SPEED }.time_for(128), 100 + 256);
    }
}
