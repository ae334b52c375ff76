//! The kernel made from a checker.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use faultless_page::{Kernel, PageCache, Trace};

use crate::checker::Checker;
use crate::memory::ModelFrames;
use crate::store::ModelStore;
use crate::wait::ModelWait;

/// The kernel that a checker explores.
pub struct ModelKernel<C>(PhantomData<C>);
impl<C: Checker> Kernel for ModelKernel<C> {
    type Sync = C::Sync;
    type Frames = ModelFrames<C>;
    type Wait = ModelWait<C>;
    type Cache = Arc<PageCache<Self>>;
    type Store = Arc<ModelStore>;
    type UserMappings = C::Maps;
    type Replacement = C::Replacement;

    /// Checks drop their files as they please: what is lost with them is looked for where it
    /// matters.
    fn dirty_pages_dropped(_mapping: u64, _pages: u64) {}

    fn trace(event: Trace) {
        C::trace(event);
    }
}

impl<C> fmt::Debug for ModelKernel<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelKernel")
    }
}
