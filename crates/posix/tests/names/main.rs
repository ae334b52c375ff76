//! The tree of names: rule by rule, and beside other threads.
#![allow(missing_docs, unreachable_pub)]

mod add;
mod handles;
mod kernel;
mod listing;
mod opening;
mod paths;
mod remove;
mod rename;
mod status;
mod threads;
mod world;
