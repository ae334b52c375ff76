//! Belady's optimum: drops the page whose next use is farthest away.

use std::collections::BTreeSet;

use super::policy::Policy;

/// Knows the trace, and replays exactly it.
#[derive(Debug)]
pub(super) struct Belady {
    /// For each request, when its page is requested next.
    next: Vec<u32>,
    at: usize,
    /// Pages in the cache by their next use.
    cached: BTreeSet<(u32, u32)>,
    capacity: usize,
}

impl Belady {
    pub(super) fn new(requests: &[u32], pages: usize, capacity: usize) -> Self {
        let mut coming = vec![u32::MAX; pages];
        let mut next = vec![u32::MAX; requests.len()];
        for (at, page) in requests.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut coming[*page as usize], at as u32);
        }
        Self { next, at: 0, cached: BTreeSet::new(), capacity }
    }
}

impl Policy for Belady {
    fn request(&mut self, page: u32) -> bool {
        let hit = self.cached.remove(&(self.at as u32, page));
        self.cached.insert((self.next[self.at], page));
        if self.cached.len() > self.capacity {
            self.cached.pop_last();
        }
        self.at += 1;
        hit
    }
}
