//! Doubly linked lists of pages, each page on at most one of them.

/// No page.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    list: Option<u8>,
}

/// `N` lists over pages `0..pages`.
#[derive(Clone, Debug)]
pub(super) struct Chain<const N: usize> {
    links: Vec<Link>,
    fronts: [u32; N],
    backs: [u32; N],
    lens: [usize; N],
}

impl<const N: usize> Chain<N> {
    pub(super) fn new(pages: usize) -> Self {
        let link = Link { before: NONE, after: NONE, list: None };
        Self { links: vec![link; pages], fronts: [NONE; N], backs: [NONE; N], lens: [0; N] }
    }

    pub(super) fn len(&self, list: usize) -> usize {
        self.lens[list]
    }

    /// The list that the page is on.
    pub(super) fn list_of(&self, page: u32) -> Option<usize> {
        self.links[page as usize].list.map(usize::from)
    }

    /// Takes the page off its list, if it is on one, and puts it at the front of `list`.
    pub(super) fn push_front(&mut self, list: usize, page: u32) {
        self.remove(page);
        let after = self.fronts[list];
        self.links[page as usize] = Link { before: NONE, after, list: Some(list as u8) };
        match after {
            NONE => self.backs[list] = page,
            after => self.links[after as usize].before = page,
        }
        self.fronts[list] = page;
        self.lens[list] += 1;
    }

    pub(super) fn back(&self, list: usize) -> Option<u32> {
        Some(self.backs[list]).filter(|page| *page != NONE)
    }

    pub(super) fn pop_back(&mut self, list: usize) -> Option<u32> {
        let page = self.back(list)?;
        self.remove(page);
        Some(page)
    }

    /// The next page towards the front.
    pub(super) fn before(&self, page: u32) -> Option<u32> {
        Some(self.links[page as usize].before).filter(|page| *page != NONE)
    }

    pub(super) fn remove(&mut self, page: u32) {
        let Link { before, after, list } = self.links[page as usize];
        let Some(list) = list.map(usize::from) else { return };
        match before {
            NONE => self.fronts[list] = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.backs[list] = before,
            after => self.links[after as usize].before = before,
        }
        self.links[page as usize].list = None;
        self.lens[list] -= 1;
    }
}
