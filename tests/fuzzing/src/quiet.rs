//! A panic that is a finding: caught, and reported by other means than the panic hook.

#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// Does some work, whose panic is a finding.
///
/// # Errors
/// What it panicked with.
pub(super) fn quietly<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(be_quiet);
    EXPECTED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    result.map_err(|panic| text(panic.as_ref()))
}

thread_local! {
    /// Whether a panic of this thread is a finding, which is reported by other means.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

fn be_quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !EXPECTED.try_with(Cell::get).unwrap_or(false) {
            before(info);
        }
    }));
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
