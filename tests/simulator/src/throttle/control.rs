//! The decisions that are simulated.

#![forbid(unsafe_code)]

use faultless_policy::throttle::{Limits, Rate, Step, Store, Writer};

/// What decides. Every decision is that of the policy that ships, unless a test plants a bug.
pub trait Control {
    /// See [`Limits::share`].
    fn share(&self, limits: &Limits, (own, all): (Rate, Rate), others: u64) -> Limits {
        limits.share(own, all, others)
    }

    /// See [`Limits::admit`].
    fn admit(&self, limits: &Limits, charged: u64, wanted: u64) -> u64 {
        limits.admit(charged, wanted)
    }

    /// See [`Writer::landed`].
    fn landed(
        &self,
        writer: &mut Writer,
        dirtied: u32,
        store: &Store,
        limits: (&Limits, u64),
        now: u64,
    ) -> Step {
        writer.landed(dirtied, store, limits, now)
    }
}

/// The policy that ships.
#[derive(Clone, Copy, Debug)]
pub struct Ships;

impl Control for Ships {}
