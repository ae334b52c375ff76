//! What the workspace's integration tests share: system calls in one line, files over every store,
//! sources that end at a given byte, tasks with limits, and assertions that name the first wrong
//! byte.
//!
//! | for | module |
//! |---|---|
//! | one system call on a file | [`calls`] |
//! | what a call costs, exactly | [`costs`] |
//! | a program, a file, and what the file ought to hold | [`rig`] |
//! | which store and which strategy | [`setup`], [`legacy`] |
//! | bytes that cannot be confused with zeros or recycled memory | [`bytes`] |
//! | a process with scratch memory; a test body on both MMUs, balanced at its end | [`process`] |
//! | a store that checks the core's promises | [`strict`] |
//! | crashes at every call of the store | [`crash`] |
//! | the kernel and its files | [`kernel`] |
//! | workers against disturbers, under a watchdog | [`stress`] |
//! | a task with limits, signals and a clock | [`tasks`] |
//! | another thread, on the same machine | [`threads`] |
//! | waiting for another thread, not for ever | [`waiting`] |
//!
//! It owns no assertion about the core that is not a test's own: those stand in `tests/`.
#![forbid(unsafe_code)]

pub mod bytes;
pub mod calls;
pub mod costs;
pub mod crash;
pub mod kernel;
pub mod legacy;
pub mod process;
pub mod rig;
pub mod setup;
pub mod stress;
pub mod strict;
pub mod tasks;
pub mod threads;
pub mod waiting;

pub use self::bytes::{assert_same, pattern};
pub use self::kernel::{File, Kernel, PAGE};
pub use self::rig::{Rig, Tail};
pub use self::setup::{Backing, Setup, Store};
pub use self::tasks::TestTask;
