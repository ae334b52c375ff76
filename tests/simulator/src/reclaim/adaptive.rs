//! ARC (Megiddo and Modha, 2003).

use super::chain::Chain;
use super::policy::Policy;

/// Lists: pages used once and more often, and the names of the last ones dropped of either.
const ONCE: usize = 0;
const OFTEN: usize = 1;
const ONCE_GONE: usize = 2;
const OFTEN_GONE: usize = 3;

/// Two LRU lists whose shares follow the returns of dropped pages.
#[derive(Debug)]
pub(super) struct Arc {
    chain: Chain<4>,
    capacity: usize,
    /// Wanted length of `ONCE`.
    target: f64,
}

impl Arc {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        Self { chain: Chain::new(pages), capacity, target: 0.0 }
    }

    fn len(&self, list: usize) -> usize {
        self.chain.len(list)
    }

    /// Drops one page. `often` counts 1 if a page of `OFTEN_GONE` is coming back.
    fn replace(&mut self, often: usize) {
        let once = self.len(ONCE);
        if once > 0 && (once + often) as f64 > self.target || self.len(OFTEN) == 0 {
            self.pass_on(ONCE, ONCE_GONE);
        } else {
            self.pass_on(OFTEN, OFTEN_GONE);
        }
    }

    fn pass_on(&mut self, from: usize, to: usize) {
        if let Some(page) = self.chain.pop_back(from) {
            self.chain.push_front(to, page);
        }
    }

    fn adapt(&mut self, list: usize) {
        let (once, often) = (self.len(ONCE_GONE).max(1) as f64, self.len(OFTEN_GONE).max(1) as f64);
        self.target = match list {
            ONCE_GONE => (self.target + (often / once).max(1.0)).min(self.capacity as f64),
            _ => (self.target - (once / often).max(1.0)).max(0.0),
        };
    }

    fn make_room_for_a_stranger(&mut self) {
        let once = self.len(ONCE) + self.len(ONCE_GONE);
        let all = once + self.len(OFTEN) + self.len(OFTEN_GONE);
        if once == self.capacity {
            if self.len(ONCE) < self.capacity {
                self.chain.pop_back(ONCE_GONE);
                self.replace(0);
            } else {
                self.chain.pop_back(ONCE);
            }
        } else if all >= self.capacity {
            if all >= 2 * self.capacity {
                self.chain.pop_back(OFTEN_GONE);
            }
            self.replace(0);
        }
    }
}

impl Policy for Arc {
    fn request(&mut self, page: u32) -> bool {
        let list = self.chain.list_of(page);
        match list {
            Some(ONCE | OFTEN) => {}
            Some(gone) => {
                self.adapt(gone);
                self.replace(usize::from(gone == OFTEN_GONE));
            }
            None => self.make_room_for_a_stranger(),
        }
        self.chain.push_front(if list.is_some() { OFTEN } else { ONCE }, page);
        matches!(list, Some(ONCE | OFTEN))
    }
}
