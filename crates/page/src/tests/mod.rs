//! Tests of the crate as a whole. What needs only one module's types is tested beside it.

mod concurrency;
mod costs;
mod epochs;
mod fairness;
mod fences;
mod index;
mod interruptions;
mod liveness;
mod locks;
mod memory;
mod misuse;
mod pages;
mod queue;
mod removals;
mod requests;
mod rwlock;
mod shape;
mod slots;
mod states;
mod surface;
mod transient;
mod unwinding;
mod writebacks;
