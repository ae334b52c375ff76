//! Streams of reads, and a store with a latency.
