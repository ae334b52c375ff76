//! Reads, writes and faults of a kernel whose tasks are futures: nothing sleeps, and the wait seam
//! wakes wakers.
//!
//! Schedules are drawn from seeds. Tasks write and read one file from and to their mapping of it,
//! with pages that are cold, on a store that ends its requests later, while others send and evict
//! pages and take entries out of the page table. Contents are compared with a model after each
//! call, and a schedule in which all tasks wait while nothing is under way is a deadlock.

mod executor;
mod kernel;
mod memory;
mod space;
mod tasks;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use faultless::filemap::Strategy;
use faultless::page::PageCache;
use faultless_host::rng::seed;

use self::executor::{Ended, run};
use self::kernel::Async;
use self::world::World;

/// Tasks of a schedule.
const TASKS: usize = 4;

/// Names the seed of a schedule that panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("in the schedule of seed {}", self.0);
        }
    }
}

/// Plays a schedule, and checks what it leaves.
fn play(cache: &Arc<PageCache<Async>>, seed: u64, strategy: Strategy) {
    let _told = Told(seed);
    let free = cache.frames().free();
    let world = World::new(cache, seed);
    run_all(&world, seed, (0..TASKS).map(|_| tasks::work(&world, strategy)));
    // Everything is read back, whatever is on its way.
    world.store.fail_one_of(0);
    run_all(&world, seed, [tasks::read_all(&world)]);
    world.finish();
    let lost = free - cache.frames().free();
    assert_eq!(lost, 0, "seed {seed}: frames that nothing gives back");
}

fn run_all<'w>(
    world: &'w World,
    seed: u64,
    tasks: impl IntoIterator<Item = impl Future<Output = ()> + 'w>,
) {
    let tasks = tasks.into_iter().map(|task| Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>);
    let draw = |below: usize| {
        world.now.set(world.now.get() + 1);
        world.disturb();
        world.below(below)
    };
    let ended = run(tasks.collect(), draw, || world.store.work());
    assert_eq!(ended, Ended::Done, "seed {seed}");
}

fn schedules(count: u64, strategy: Strategy) {
    let cache = kernel::cache(256);
    let first = seed() * 1_000_000;
    for seed in first..first + count {
        play(&cache, seed, strategy);
    }
}

#[test]
fn l1_tasks_that_are_futures_write_and_read_a_file_from_its_own_mapping() {
    schedules(3000, Strategy::BeginEnd);
}

#[test]
fn l1_the_same_by_temporary_pages() {
    schedules(1000, Strategy::PrepareCommit);
}
