//! The tree of names: rule by rule, beside other threads, and beside Linux's own.
#![allow(missing_docs, unreachable_pub)]

mod add;
mod differ;
mod handles;
mod kernel;
mod linux;
mod listing;
mod opening;
mod ops;
mod ours;
mod paths;
mod remove;
mod rename;
mod status;
mod threads;
mod world;
