//! LIRS (Jiang and Zhang, 2002).

use super::chain::Chain;
use super::policy::Policy;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Not in the cache.
    Gone,
    /// Low inter-reference recency: stays.
    Low,
    /// High inter-reference recency: in the queue of those that go next.
    High,
}

/// A stack by recency, pruned so that a low page is at its bottom, and a small queue of high pages.
#[derive(Debug)]
pub(super) struct Lirs {
    stack: Chain<1>,
    queue: Chain<1>,
    /// Pages of the stack that are gone, by the time they went: the oldest lose their places first.
    ghosts: Chain<1>,
    kinds: Vec<Kind>,
    low: usize,
    most_low: usize,
    most_high: usize,
    most_ghosts: usize,
}

impl Lirs {
    pub(super) fn new(pages: usize, capacity: usize) -> Self {
        let most_high = (capacity / 100).max(1);
        Self {
            stack: Chain::new(pages),
            queue: Chain::new(pages),
            ghosts: Chain::new(pages),
            kinds: vec![Kind::Gone; pages],
            low: 0,
            most_low: capacity.saturating_sub(most_high).max(1),
            most_high,
            most_ghosts: capacity,
        }
    }

    /// Takes pages off the bottom of the stack until a low one is there.
    fn prune(&mut self) {
        while let Some(page) = self.stack.back(0) {
            if self.kinds[page as usize] == Kind::Low {
                break;
            }
            self.stack.remove(page);
            self.ghosts.remove(page);
        }
    }

    /// The low page at the bottom becomes a high one.
    fn demote(&mut self) {
        if let Some(page) = self.stack.pop_back(0) {
            self.kinds[page as usize] = Kind::High;
            self.low -= 1;
            self.queue.push_front(0, page);
        }
        self.prune();
    }

    fn make_room(&mut self) {
        if self.low + self.queue.len(0) < self.most_low + self.most_high {
            return;
        }
        let Some(page) = self.queue.pop_back(0) else { return };
        self.kinds[page as usize] = Kind::Gone;
        if self.stack.list_of(page).is_some() {
            self.ghosts.push_front(0, page);
        }
        if self.ghosts.len(0) > self.most_ghosts
            && let Some(oldest) = self.ghosts.pop_back(0)
        {
            self.stack.remove(oldest);
        }
    }

    fn become_low(&mut self, page: u32) {
        self.queue.remove(page);
        self.ghosts.remove(page);
        self.kinds[page as usize] = Kind::Low;
        self.low += 1;
        self.stack.push_front(0, page);
        if self.low > self.most_low {
            self.demote();
        }
    }
}

impl Policy for Lirs {
    fn request(&mut self, page: u32) -> bool {
        let kind = self.kinds[page as usize];
        if kind == Kind::Low {
            self.stack.push_front(0, page);
            self.prune();
            return true;
        }
        if kind == Kind::Gone {
            self.make_room();
        }
        if self.stack.list_of(page).is_some() || self.low < self.most_low {
            self.become_low(page);
        } else {
            self.kinds[page as usize] = Kind::High;
            self.stack.push_front(0, page);
            self.queue.push_front(0, page);
        }
        kind == Kind::High
    }
}
