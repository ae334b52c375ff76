//! What a kernel would have without Faultless: a `BTreeMap` of boxed pages under a mutex. Linux
//! itself is in [`tmpfs`](crate::tmpfs).

#![forbid(unsafe_code)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use faultless_page::PAGE_SIZE;

/// The page cache of many hobby kernels, with the same duties: lookup, lock, dirty mark, size.
#[derive(Debug, Default)]
pub(super) struct TreeCache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pages: BTreeMap<u64, Page>,
    size: u64,
}

#[derive(Debug)]
struct Page {
    bytes: Box<[u8; PAGE_SIZE]>,
    state: State,
}

/// Whether a page may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The store has its bytes.
    Clean,
    /// It may not.
    Dirty,
}

impl TreeCache {
    /// Copies straight into the pages, under the mutex.
    pub(super) fn write(&self, pos: u64, source: &[u8]) {
        let mut inner = self.lock();
        let mut done = 0;
        while done < source.len() {
            let at = pos + done as u64;
            let offset = (at % PAGE_SIZE as u64) as usize;
            let len = (PAGE_SIZE - offset).min(source.len() - done);
            let page = inner
                .pages
                .entry(at / PAGE_SIZE as u64)
                .or_insert_with(|| Page { bytes: Box::new([0; PAGE_SIZE]), state: State::Clean });
            page.bytes[offset..offset + len].copy_from_slice(&source[done..done + len]);
            if page.state == State::Clean {
                page.state = State::Dirty;
            }
            done += len;
        }
        inner.size = inner.size.max(pos + source.len() as u64);
    }

    /// Copies the request away first, as is done to keep faults out of the mutex.
    pub(super) fn write_with_bounce(&self, pos: u64, source: &[u8]) {
        let bounce = source.to_vec();
        self.write(pos, std::hint::black_box(&bounce));
    }

    /// Copies out of the pages, under the mutex.
    pub(super) fn read(&self, pos: u64, target: &mut [u8]) {
        let inner = self.lock();
        let len = target.len().min(inner.size.saturating_sub(pos) as usize);
        let mut done = 0;
        while done < len {
            let at = pos + done as u64;
            let offset = (at % PAGE_SIZE as u64) as usize;
            let step = (PAGE_SIZE - offset).min(len - done);
            let piece = &mut target[done..done + step];
            match inner.pages.get(&(at / PAGE_SIZE as u64)) {
                Some(page) => piece.copy_from_slice(&page.bytes[offset..offset + step]),
                None => piece.fill(0),
            }
            done += step;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The page cache of many hobby kernels once it gives pages up: the pages in a `BTreeMap`, and a
/// list of them, under a mutex. The page that was used longest ago is at the front.
#[derive(Debug, Default)]
pub(super) struct ListedCache {
    inner: Mutex<Listed>,
}

#[derive(Debug, Default)]
struct Listed {
    pages: BTreeMap<u64, Page>,
    lru: VecDeque<u64>,
}

impl ListedCache {
    /// Brings in those of the first `pages` pages that it does not have.
    pub(super) fn fill(&self, pages: u64, state: State) {
        let mut inner = self.lock();
        let Listed { pages: map, lru } = &mut *inner;
        for number in 0..pages {
            map.entry(number).or_insert_with(|| {
                lru.push_back(number);
                Page { bytes: Box::new([1; PAGE_SIZE]), state }
            });
        }
    }

    /// Looks at so many pages at most, and gives up those that may go until there are `wanted`.
    pub(super) fn reclaim(&self, wanted: u32, looks: u32) -> u32 {
        let mut inner = self.lock();
        let Listed { pages, lru } = &mut *inner;
        let mut freed = 0;
        for _ in 0..looks {
            if freed == wanted {
                break;
            }
            let Some(number) = lru.pop_front() else { break };
            match pages.entry(number) {
                Entry::Occupied(page) if page.get().state == State::Clean => {
                    page.remove();
                    freed += 1;
                }
                _ => lru.push_back(number),
            }
        }
        freed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Listed> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A tree with so many bytes in its pages.
pub(super) fn filled_tree(bytes: usize) -> TreeCache {
    let tree = TreeCache::default();
    for pos in (0..bytes).step_by(PAGE_SIZE) {
        tree.write(pos as u64, &[1; PAGE_SIZE]);
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_gives_back_what_was_written_across_pages_and_zeros_in_holes() {
        let cache = TreeCache::default();
        cache.write(4090, b"abcdefghij");
        cache.write_with_bounce(3 * 4096, b"xyz");
        let mut all = vec![0xff; 3 * 4096 + 3];
        cache.read(0, &mut all);
        let mut expected = vec![0; 3 * 4096 + 3];
        expected[4090..4100].copy_from_slice(b"abcdefghij");
        expected[3 * 4096..].copy_from_slice(b"xyz");
        assert_eq!(all, expected);
        cache.clear();
        let mut untouched = [7];
        cache.read(0, &mut untouched);
        assert_eq!(untouched, [7], "nothing lies past the end");
    }
    #[test]
    fn the_list_gives_up_clean_pages_and_keeps_dirty_ones() {
        let cache = ListedCache::default();
        cache.fill(5, State::Dirty);
        cache.fill(8, State::Clean);
        assert_eq!(cache.reclaim(2, 6), 1, "the sixth page is the first that may go");
        assert_eq!(cache.reclaim(9, 100), 2);
        assert_eq!(cache.reclaim(1, 100), 0);
        cache.fill(8, State::Clean);
        assert_eq!(cache.reclaim(9, 100), 3);
    }
}
