//! Small hand-computed sequences, and a random one in which no page may get lost.
#![forbid(unsafe_code)]

mod books;
mod marks;
mod random;
mod sequences;
mod shadow_word;
mod shadows;
mod time;
