//! The names of one directory, by name and by cookie.
//!
//! Key type: [`Entries`]. It has no lock and knows no nodes. A cookie is given to a name when it is
//! added, is larger than all that the directory gave before, and is never given again. So a walk
//! in order of cookies meets each name that is there from its begin to its end exactly once,
//! whatever is added and removed meanwhile.
#![forbid(unsafe_code)]

use core::mem;

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;

/// The cookie of the first name. Those below stand for `.` and `..`.
pub(super) const FIRST_COOKIE: u64 = 2;

/// Names, each with a value of type `V`.
pub(super) struct Entries<V> {
    by_name: BTreeMap<Arc<[u8]>, (u64, V)>,
    by_cookie: BTreeMap<u64, Arc<[u8]>>,
    /// The cookie of the next name.
    next: u64,
}

impl<V> Entries<V> {
    pub(super) const fn new() -> Self {
        Self { by_name: BTreeMap::new(), by_cookie: BTreeMap::new(), next: FIRST_COOKIE }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&V> {
        self.by_name.get(name).map(|(_, value)| value)
    }

    /// Gives a name this value; the one that it had. A name that is there keeps its cookie.
    pub(super) fn set(&mut self, name: &Arc<[u8]>, value: V) -> Option<V> {
        match self.by_name.entry(Arc::clone(name)) {
            Entry::Occupied(mut there) => Some(mem::replace(&mut there.get_mut().1, value)),
            Entry::Vacant(free) => {
                let cookie = self.next;
                self.next += 1;
                free.insert((cookie, value));
                self.by_cookie.insert(cookie, Arc::clone(name));
                None
            }
        }
    }

    /// Removes a name; its value.
    pub(super) fn remove(&mut self, name: &[u8]) -> Option<V> {
        let (cookie, value) = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie);
        Some(value)
    }

    /// The name with the least cookie that is at least `from` and below `end`.
    pub(super) fn at_or_after(&self, from: u64, end: u64) -> Option<(u64, &Arc<[u8]>, &V)> {
        let (cookie, name) = self.by_cookie.range(from..end.max(from)).next()?;
        let (_, value) = self.by_name.get(name)?;
        Some((*cookie, name, value))
    }

    /// The cookie that the next name gets.
    pub(super) const fn next_cookie(&self) -> u64 {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Removes all names; their values.
    pub(super) fn take(&mut self) -> impl Iterator<Item = V> + use<V> {
        self.by_cookie.clear();
        mem::take(&mut self.by_name).into_values().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn walk(entries: &Entries<u32>) -> alloc::vec::Vec<(u64, u32)> {
        let mut found = alloc::vec::Vec::new();
        let mut from = 0;
        while let Some((cookie, _, value)) = entries.at_or_after(from, u64::MAX) {
            found.push((cookie, *value));
            from = cookie + 1;
        }
        found
    }

    #[test]
    fn a_cookie_is_not_given_twice() {
        let mut entries = Entries::new();
        assert_eq!(entries.set(&name("b"), 1), None);
        assert_eq!(entries.remove(b"b"), Some(1));
        assert_eq!(entries.set(&name("b"), 2), None);
        assert_eq!(walk(&entries), [(FIRST_COOKIE + 1, 2)]);
    }

    #[test]
    fn a_name_with_another_value_keeps_its_cookie() {
        let mut entries = Entries::new();
        entries.set(&name("b"), 1);
        entries.set(&name("a"), 2);
        assert_eq!(entries.set(&name("b"), 3), Some(1));
        assert_eq!(walk(&entries), [(FIRST_COOKIE, 3), (FIRST_COOKIE + 1, 2)]);
        assert_eq!((entries.len(), entries.next_cookie()), (2, FIRST_COOKIE + 2));
    }

    #[test]
    fn a_walk_ends_before_its_end() {
        let mut entries = Entries::new();
        entries.set(&name("b"), 1);
        let end = entries.next_cookie();
        entries.set(&name("a"), 2);
        assert!(entries.at_or_after(FIRST_COOKIE + 1, end).is_none());
        assert!(entries.at_or_after(u64::MAX, end).is_none(), "past the end is no error");
    }
}
