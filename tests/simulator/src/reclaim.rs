//! Page traces, and the policies that are compared.
//!
//! [`faultless::Faultless`] replays a trace through the policy that ships; the others are the
//! page-granular policies of the literature, each as small as it can be, behind one trait
//! ([`Policy`]). [`run`] replays a [`Trace`] through the chosen one ([`Contestant`]).

mod adaptive;
mod belady;
mod chain;
mod faultless;
mod lirs;
mod policy;
mod queues;
mod runner;
mod s3_fifo;
mod trace;
mod two_queues;

pub use faultless::{Faultless, Layout};
pub use policy::{Costs, Policy};
pub use runner::{Contestant, Report, replay, run};
pub use trace::{Trace, TraceError, generated};
