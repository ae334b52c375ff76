//! A tiny executor: it polls one task that was woken, or has the store end a request, as a seed
//! says. If it can do neither, the tasks that are left wait for each other.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// Polls after which a schedule counts as one without end.
const MANY: usize = 50_000;

/// The numbers of the tasks that were woken, each once.
type Woken = Arc<Mutex<Vec<usize>>>;

struct Number {
    task: usize,
    woken: Woken,
}

impl Wake for Number {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().expect("no panic under the lock");
        if !woken.contains(&self.task) {
            woken.push(self.task);
        }
    }
}

/// How a schedule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All tasks are done.
    Done,
    /// So many tasks wait, and nothing is under way.
    Deadlock(usize),
    /// Tasks are polled again and again.
    Spinning,
}

/// Runs `tasks` to their ends. `draw(n)` is a number below `n`; `other` does something else, such
/// as ending a request of the store, and says whether there was something to do.
pub(crate) fn run(
    tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
    mut draw: impl FnMut(usize) -> usize,
    mut other: impl FnMut() -> bool,
) -> Ended {
    let mut left = tasks.len();
    let woken: Woken = Arc::new(Mutex::new((0..left).collect()));
    let waker = |task| Waker::from(Arc::new(Number { task, woken: Arc::clone(&woken) }));
    let mut tasks: Vec<_> =
        tasks.into_iter().enumerate().map(|(number, task)| Some((task, waker(number)))).collect();
    for _ in 0..MANY {
        if left == 0 {
            return Ended::Done;
        }
        if draw(3) == 0 && other() {
            continue;
        }
        let next = {
            let mut woken = woken.lock().expect("no panic under the lock");
            let at = draw(woken.len().max(1));
            (at < woken.len()).then(|| woken.swap_remove(at))
        };
        let Some(next) = next else {
            if !other() {
                return Ended::Deadlock(left);
            }
            continue;
        };
        if let Some((task, waker)) = &mut tasks[next]
            && let Poll::Ready(()) = task.as_mut().poll(&mut Context::from_waker(waker))
        {
            tasks[next] = None;
            left -= 1;
        }
    }
    Ended::Spinning
}
