//! Generated inputs, against what knows the right answer: the running Linux kernel ([`linux`]), and
//! the models of the fuzz targets ([`fuzz_replay`]).
//!
//! The oracle changes `RLIMIT_FSIZE`, which belongs to the whole process. So no test that writes
//! files of the host may be in this program: its writes would fail at times.

mod fuzz_replay;
mod linux;
