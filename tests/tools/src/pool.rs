//! A few jobs at a time, each of which waits for a program.

#![forbid(unsafe_code)]

use anyhow::Result;
use rayon::ThreadPoolBuilder;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

/// Does `work` for every item, `jobs` of them at a time; what came of them, in the order of the
/// items. `work` is told which of the `jobs` workers it runs on. After an error no item is begun.
///
/// # Errors
/// The first that `work` returned, or that of a thread that cannot be started.
pub fn each<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    work: impl Fn(usize, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let pool = ThreadPoolBuilder::new().num_threads(jobs.max(1)).build()?;
    let here = || rayon::current_thread_index().unwrap_or(0);
    // One item is worth a thread.
    let items = items.par_iter().with_max_len(1);
    pool.install(|| items.map(|item| work(here(), item)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_item_is_done_once_on_a_worker_that_is_there_and_the_order_stays() {
        let items: Vec<usize> = (0..50).collect();
        let done = Mutex::new(Vec::new());
        let made = each(&items, 3, |worker, item| {
            assert!(worker < 3);
            done.lock().expect("no panic").push(*item);
            Ok(item * 2)
        });
        assert_eq!(made.expect("no error"), items.iter().map(|i| i * 2).collect::<Vec<_>>());
        let mut done = done.into_inner().expect("no panic");
        done.sort_unstable();
        assert_eq!(done, items);
    }

    #[test]
    fn an_error_is_handed_on() {
        let made = each(&[1, 2, 3], 0, |_, item| {
            anyhow::ensure!(*item != 2, "planted");
            Ok(())
        });
        assert_eq!(made.expect_err("planted").to_string(), "planted");
    }
}
