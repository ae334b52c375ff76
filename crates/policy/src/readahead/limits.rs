//! How many pages are read ahead.
#![forbid(unsafe_code)]

/// Limits on what is read ahead, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages of the first window of a stream.
    pub start: u32,
    /// Pages of the largest window.
    pub most: u32,
    /// Pages that are read around a fault; a power of two.
    pub around: u32,
}

impl Limits {
    /// 4 pages at first, 128 (512 KiB) at most, 16 around a fault.
    pub const DEFAULT: Self = Self { start: 4, most: 128, around: 16 };

    /// Pages of the largest window that [`for_store`](Self::for_store) gives (2 MiB).
    pub const LARGEST: u32 = 512;

    /// Limits for a store whose requests take `latency_ns` until the first byte, which then
    /// transfers a page in `page_ns`, and which serves `depth` requests of up to 64 pages at once.
    ///
    /// The window covers the pages that the store can transfer in one latency, rounded up to a
    /// power of two; no more than the store can hold in its queue. The first window is a 32nd of
    /// that, so that the number of windows until then does not grow with the latency; where the
    /// window is larger than by default, a 16th, as each window until then is waited for as long.
    #[must_use]
    pub fn for_store(latency_ns: u64, page_ns: u64, depth: u32) -> Self {
        let in_one_latency = latency_ns / page_ns.max(1);
        let queue = depth.saturating_mul(64).clamp(Self::DEFAULT.most, Self::LARGEST);
        let pages = in_one_latency.clamp(1, u64::from(queue)) as u32;
        let most = pages.next_power_of_two().clamp(Self::DEFAULT.most, queue);
        let part = if most > Self::DEFAULT.most { 16 } else { 32 };
        Self { start: most / part, most, ..Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_long_latency_and_a_deep_queue_gets_a_large_window() {
        assert_eq!(Limits::for_store(100_000, 2_000, 8), Limits::DEFAULT);
        assert_eq!(Limits::for_store(500_000, 2_000, 8).most, 256);
        assert_eq!(Limits::for_store(5_000_000, 2_000, 8).most, 512);
        assert_eq!(Limits::for_store(5_000_000, 2_000, 1).most, 128);
        assert_eq!(Limits::for_store(u64::MAX, 0, u32::MAX).most, 512);
    }
}
