//! Tests of the crate as a whole. What needs only one module's types is tested beside it.

mod concurrency;
mod costs;
mod epochs;
mod fairness;
mod fences;
mod index;
mod intrusions;
mod liveness;
mod locks;
mod memory;
mod pages;
mod queue;
mod shape;
mod surface;
mod writebacks;
