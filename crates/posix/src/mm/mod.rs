//! Address spaces: which pages of which files a program sees at which addresses.

mod access;
mod advice;
mod area;
mod areas_lock;
mod calls;
mod fault;
mod remove;
mod residency;
mod rmap;
mod space;
mod table;

pub use area::{Advised, Area, Sharing};
pub use areas_lock::AreasGuard;
pub use calls::MapRequest;
pub use fault::Signal;
pub use rmap::{Change, ReverseMap, ShowsFile};
pub use space::AddressSpace;
pub use table::{Entry, Owner, PageTable, Rights};
