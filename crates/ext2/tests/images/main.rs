//! Images that `mke2fs` makes, changed through the page cache, and checked by `e2fsck`.

mod crash;
mod disk;
mod extended;
mod failures;
mod hostile;
mod model;
mod names;
mod random;
mod rig;
mod rng;
mod store;
mod tools;
