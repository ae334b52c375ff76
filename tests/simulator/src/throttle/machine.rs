//! Writers, counters and stores, event by event.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use faultless_policy::throttle::{Limits, MOST_STEP, Rate, Writer};

use super::control::Control;
use super::store::{Disk, SECOND, Stored};

/// A task that writes.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// The number of its store.
    pub store: usize,
    /// Nanoseconds to dirty a page.
    pub page_ns: u64,
    /// Pages that it writes in a burst. `None`: without end.
    pub burst: Option<Burst>,
}

/// Pages that are written at intervals.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Pages.
    pub pages: u64,
    /// Nanoseconds from one burst to the next.
    pub every_ns: u64,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it is.
    pub name: &'static str,
    /// The limits of the whole cache.
    pub limits: Limits,
    /// The stores.
    pub disks: Vec<Disk>,
    /// The writers.
    pub tasks: Vec<Task>,
    /// Seconds.
    pub seconds: u64,
}

/// What became of a writer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// Pages dirtied.
    pub pages: u64,
    /// Pages dirtied in the first second.
    pub pages_at_first: u64,
    /// The longest pause, in nanoseconds, from the end of a step to the beginning of the next: the
    /// sleep, and the wait for pages of the next step.
    pub longest_ns: u64,
    /// Nanoseconds of all pauses.
    pub paused_ns: u64,
}

/// What a simulation counted.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Each writer.
    pub tasks: Vec<Fate>,
    /// The most pages that were dirty at once.
    pub most_dirty: u64,
    /// The most pages that were dirty or promised at once.
    pub most_charged: u64,
    /// How often a writer was denied pages.
    pub denied: u64,
    /// Dirty pages at the end.
    pub dirty: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A writer begins a step.
    Begin(usize),
    /// A step of a writer landed, with so many pages.
    Landed(usize, u64),
    /// A store wrote a batch.
    Written(usize),
}

#[derive(Debug)]
struct Running {
    task: Task,
    writer: Writer,
    /// Pages of the next step at most.
    most: u64,
    /// Pages left of the burst, and when the next one begins.
    left: u64,
    next_burst: u64,
    /// When the last step landed, if another one follows at once.
    landed: Option<u64>,
    fate: Fate,
}

struct Machine<'c, C> {
    control: &'c C,
    limits: Limits,
    stores: Vec<Stored>,
    tasks: Vec<Running>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    waiting: VecDeque<usize>,
    charged: u64,
    now: u64,
    out: Outcome,
}

/// Simulates a scene.
pub fn simulate(scene: &Scene, control: &impl Control) -> Outcome {
    let running = |task: &Task| Running {
        task: *task,
        writer: Writer::new(),
        most: u64::from(MOST_STEP),
        left: task.burst.map_or(u64::MAX, |burst| burst.pages),
        next_burst: task.burst.map_or(0, |burst| burst.every_ns),
        landed: None,
        fate: Fate::default(),
    };
    let mut machine = Machine {
        control,
        limits: scene.limits,
        stores: scene.disks.iter().map(|disk| Stored::new(*disk)).collect(),
        tasks: scene.tasks.iter().map(running).collect(),
        events: BinaryHeap::new(),
        number: 0,
        waiting: VecDeque::new(),
        charged: 0,
        now: 0,
        out: Outcome { tasks: vec![], most_dirty: 0, most_charged: 0, denied: 0, dirty: 0 },
    };
    for task in 0..scene.tasks.len() {
        machine.at(0, Event::Begin(task));
    }
    machine.run(scene.seconds * SECOND);
    machine.out.tasks = machine.tasks.iter().map(|running| running.fate).collect();
    machine.out.dirty = machine.dirty();
    machine.out
}

impl<C: Control> Machine<'_, C> {
    fn at(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
    }

    fn run(&mut self, end: u64) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time >= end {
                break;
            }
            self.now = time;
            match event {
                Event::Begin(task) => self.begin(task),
                Event::Landed(task, pages) => self.landed(task, pages),
                Event::Written(store) => self.written(store),
            }
        }
    }

    fn dirty(&self) -> u64 {
        self.stores.iter().map(|store| store.dirty).sum()
    }

    /// The limits of a store: a share, if there are several.
    fn share(&self, store: usize) -> Limits {
        if self.stores.len() == 1 {
            return self.limits;
        }
        let is_active = |(n, other): &(usize, &Stored)| *n == store || other.counters.charged > 0;
        let active = self.stores.iter().enumerate().filter(is_active);
        let all = active.fold(Rate::default(), |sum, (_, one)| sum.plus(one.policy.bandwidth()));
        let Stored { policy, counters, .. } = &self.stores[store];
        let others = self.charged - counters.charged;
        self.control.share(&self.limits, (policy.bandwidth(), all), others)
    }

    /// Begins a step of the writer, or has it wait.
    fn begin(&mut self, task: usize) {
        let running = &self.tasks[task];
        let store = running.task.store;
        let wanted = running.left.min(running.most);
        let missing = wanted.saturating_sub(u64::from(running.writer.promised()));
        let own = self.share(store);
        let charged_to_store = self.stores[store].counters.charged;
        let admitted = self
            .control
            .admit(&self.limits, self.charged, missing)
            .min(self.control.admit(&own, charged_to_store, missing));
        self.charge(store, admitted);
        let running = &mut self.tasks[task];
        running.writer.promise(admitted as u32);
        let pages = wanted.min(u64::from(running.writer.promised()));
        if pages == 0 {
            self.out.denied += 1;
            self.waiting.push_back(task);
            return;
        }
        if let Some(landed) = running.landed.take() {
            let pause = self.now - landed;
            running.fate.longest_ns = running.fate.longest_ns.max(pause);
            running.fate.paused_ns += pause;
        }
        let end = self.now + pages * running.task.page_ns;
        self.at(end, Event::Landed(task, pages));
    }

    fn charge(&mut self, store: usize, pages: u64) {
        self.charged += pages;
        self.stores[store].counters.charged += pages;
        self.out.most_charged = self.out.most_charged.max(self.charged);
    }

    fn landed(&mut self, task: usize, pages: u64) {
        let store = self.tasks[task].task.store;
        self.stores[store].dirty += pages;
        self.stores[store].counters.dirtied += pages;
        self.out.most_dirty = self.out.most_dirty.max(self.dirty());
        let own = self.share(store);
        self.look(store, &own);
        let Stored { policy, counters, .. } = &self.stores[store];
        let running = &mut self.tasks[task];
        let limits = (&own, counters.charged);
        let writer = &mut running.writer;
        let step = self.control.landed(writer, pages as u32, policy, limits, self.now);
        running.most = u64::from(step.pages);
        running.fate.pages += pages;
        if self.now <= SECOND {
            running.fate.pages_at_first += pages;
        }
        let next = running.next_step(pages, self.now, step.pause_ns);
        self.at(next, Event::Begin(task));
        self.uncharge(store, u64::from(step.give_back));
        self.write(store);
    }

    fn uncharge(&mut self, store: usize, pages: u64) {
        self.charged -= pages;
        self.stores[store].counters.charged -= pages;
        if pages > 0 {
            self.wake();
        }
    }

    fn wake(&mut self) {
        for task in std::mem::take(&mut self.waiting) {
            self.at(self.now, Event::Begin(task));
        }
    }

    fn written(&mut self, store: usize) {
        self.charged -= self.stores[store].end(self.now);
        let own = self.share(store);
        self.look(store, &own);
        self.write(store);
        self.wake();
    }

    fn look(&mut self, store: usize, own: &Limits) {
        let store = &mut self.stores[store];
        let counters = store.counters(self.now);
        store.policy.update(&counters, own, self.now);
    }

    /// Begins writeback of a store if there is more dirty than there should be.
    fn write(&mut self, store: usize) {
        let own = self.share(store).background();
        let over = self.dirty() > self.limits.background() || self.stores[store].dirty > own;
        if over && let Some(end) = self.stores[store].begin(self.now) {
            self.at(end, Event::Written(store));
        }
    }
}

impl Running {
    /// When the next step begins, after one of `pages` pages that landed at time `now`.
    fn next_step(&mut self, pages: u64, now: u64, pause_ns: u64) -> u64 {
        self.left = self.left.saturating_sub(pages);
        let after = now + pause_ns;
        self.landed = Some(now);
        let Some(burst) = self.task.burst.filter(|_| self.left == 0) else { return after };
        self.left = burst.pages;
        let next = self.next_burst.max(now);
        self.next_burst = next + burst.every_ns;
        if next > after {
            self.landed = None;
        }
        next.max(after)
    }
}
