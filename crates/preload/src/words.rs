//! Structures of Linux's that are words of 64 bits, as bytes of a program's memory.
#![forbid(unsafe_code)]

/// The first words of some bytes; zeros for those that are not there.
pub(crate) fn words_of<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}
