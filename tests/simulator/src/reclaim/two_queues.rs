//! 2Q, in its full version (Johnson and Shasha, 1994).

use super::chain::Chain;
use super::policy::Policy;

/// Lists.
const IN: usize = 0;
const OUT: usize = 1;
const MAIN: usize = 2;

/// A quarter of the cache for new pages in a FIFO, the rest for an LRU of those that return while
/// a list of the last dropped ones, half as long as the cache, has their names.
#[derive(Debug)]
pub(super) struct TwoQueues {
    chain: Chain<3>,
    capacity: usize,
    most_in: usize,
    most_out: usize,
}

impl TwoQueues {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        let most_in = (capacity / 4).max(1);
        Self { chain: Chain::new(pages), capacity, most_in, most_out: (capacity / 2).max(1) }
    }

    fn make_room(&mut self) {
        if self.chain.len(IN) + self.chain.len(MAIN) < self.capacity {
            return;
        }
        if self.chain.len(IN) > self.most_in || self.chain.len(MAIN) == 0 {
            if let Some(page) = self.chain.pop_back(IN) {
                self.chain.push_front(OUT, page);
            }
            if self.chain.len(OUT) > self.most_out {
                self.chain.pop_back(OUT);
            }
        } else {
            self.chain.pop_back(MAIN);
        }
    }
}

impl Policy for TwoQueues {
    fn request(&mut self, page: u32) -> bool {
        match self.chain.list_of(page) {
            Some(IN) => return true,
            Some(MAIN) => {
                self.chain.push_front(MAIN, page);
                return true;
            }
            Some(_) => {
                self.chain.remove(page);
                self.make_room();
                self.chain.push_front(MAIN, page);
            }
            None => {
                self.make_room();
                self.chain.push_front(IN, page);
            }
        }
        false
    }
}
