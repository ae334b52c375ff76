//! User memory with a planted bug, and the conformance suite's verdict on it.

use faultless_usercopy::conformance::scripted::Scripted;
use faultless_usercopy::conformance::{Failure, Layout, Operation, check};
use faultless_usercopy::{MayFault, UserAddr, UserMemory};

use super::may_fault;

/// User memory that breaks some of its promises, over memory that keeps them.
pub(crate) trait Buggy: UserMemory<Token = MayFault> {
    /// The memory below.
    fn inner(&self) -> &Scripted;
}

/// The layout of the memory below, for the suite.
pub(crate) struct Over<B>(pub(crate) B);

impl<B: Buggy> Layout for Over<B> {
    type User = B;

    fn user(&self) -> &B {
        &self.0
    }

    fn page_size(&self) -> usize {
        self.0.inner().page_size()
    }

    fn base(&self) -> UserAddr {
        self.0.inner().base()
    }

    fn peek(&self, addr: UserAddr, bytes: &mut [u8]) {
        self.0.inner().peek(addr, bytes);
    }

    fn poke(&self, addr: UserAddr, bytes: &[u8]) {
        self.0.inner().poke(addr, bytes);
    }
}

/// What the suite says, which has to blame this rule of this operation.
#[track_caller]
pub(crate) fn caught(buggy: impl Buggy, operation: Operation, rule: &str) -> Failure {
    let failure = check(&Over(buggy), &mut may_fault()).expect_err("not caught");
    assert_eq!((failure.operation, failure.rule), (operation, rule), "{failure}");
    failure
}
