//! Runs futures on one thread in an order that follows from a seed, on a clock that stands still while anything can run and then
//! jumps to the next deadline. Guarantees: the same seed runs the same steps. Knows nothing of jobs.
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fastrand::Rng;
use futures::future::BoxFuture;
use wasmill::{
    dataflow::{Spawned, Spawner},
    model::Clock,
};

/// When simulated time begins, in ms since 1970-01-01 UTC.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// Polls after which a simulation counts as running in circles.
const STEPS_MAX: u64 = 2_000_000;

/// Once in so many polls, time goes on although something could run.
const DRIFT_ODDS: u64 = 16;

#[derive(Default)]
struct World {
    now: Duration,
    tasks: Vec<Option<BoxFuture<'static, ()>>>,
    aborted: Vec<usize>,
    /// By deadline, in the order they were set.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next_sleeper: u64,
}

/// A simulated machine. Clones are the same one.
#[derive(Clone, Default)]
pub struct Simulator {
    world: Arc<Mutex<World>>,
    /// Apart from the world, since whoever wakes may hold that.
    ready: Arc<Mutex<Vec<usize>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

/// Nothing can run and nobody waits for a time, or everything runs in circles.
#[derive(Debug, PartialEq, Eq)]
pub struct Stuck;

impl Simulator {
    /// Runs until `done` says so, which is asked before every step. What still runs then goes on in the next call.
    pub fn run_until(&self, random: &mut Rng, mut done: impl FnMut() -> bool) -> Result<(), Stuck> {
        for _ in 0..STEPS_MAX {
            if done() {
                return Ok(());
            }
            if random.u64(..DRIFT_ODDS) == 0 || lock(&self.ready).is_empty() {
                self.advance(random)?;
            }
            let next = {
                let mut ready = lock(&self.ready);
                if ready.is_empty() {
                    continue;
                }
                let at = random.usize(..ready.len());
                ready.swap_remove(at)
            };
            self.poll(next);
        }
        Err(Stuck)
    }

    /// Lets time go on: a little while something can run, else to the next deadline.
    fn advance(&self, random: &mut Rng) -> Result<(), Stuck> {
        let busy = !lock(&self.ready).is_empty();
        let mut world = lock(&self.world);
        match world.sleepers.first_key_value() {
            None if busy => {}
            None => return Err(Stuck),
            Some(((deadline, _), _)) => {
                let deadline = *deadline;
                let little = world.now + Duration::from_micros(random.u64(..500));
                world.now = if busy { deadline.min(little).max(world.now) } else { deadline.max(world.now) };
            }
        }
        let now = world.now;
        let later = world.sleepers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut world.sleepers, later);
        drop(world);
        due.into_values().for_each(Waker::wake);
        Ok(())
    }

    fn poll(&self, task: usize) {
        let Some(mut future) = lock(&self.world).tasks.get_mut(task).and_then(Option::take) else { return };
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.ready.clone() }));
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut world = lock(&self.world);
        if poll == Poll::Pending && !world.aborted.contains(&task) {
            world.tasks[task] = Some(future);
        } else {
            drop(world);
            // Dropping it may abort and wake others.
            drop(future);
        }
    }

    /// Drops every future where it is: the process is gone.
    pub fn crash(&self) {
        let futures = std::mem::take(&mut lock(&self.world).tasks);
        drop(futures);
        let mut world = lock(&self.world);
        let sleepers = std::mem::take(&mut world.sleepers);
        world.aborted.clear();
        drop(world);
        drop(sleepers);
        lock(&self.ready).clear();
    }

    /// Simulated time since the beginning.
    pub fn now(&self) -> Duration {
        lock(&self.world).now
    }
}

impl Spawner for Simulator {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) -> Spawned {
        let mut world = lock(&self.world);
        let task = world.tasks.len();
        world.tasks.push(Some(future));
        lock(&self.ready).push(task);
        let weak = Arc::downgrade(&self.world);
        Spawned::new(move || {
            let Some(world) = weak.upgrade() else { return };
            let mut world = lock(&world);
            world.aborted.push(task);
            let future = world.tasks.get_mut(task).and_then(Option::take);
            drop(world);
            drop(future);
        })
    }
}

impl Clock for Simulator {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + self.now().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        self.now()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let world = self.world.clone();
        let mut sleeper = Sleeper { world, deadline, id: None };
        Box::pin(std::future::poll_fn(move |context| sleeper.poll(context)))
    }
}

/// Waits for a time; forgotten when dropped.
struct Sleeper {
    world: Arc<Mutex<World>>,
    deadline: Duration,
    id: Option<u64>,
}

impl Sleeper {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut world = lock(&self.world);
        if world.now >= self.deadline {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            world.next_sleeper += 1;
            world.next_sleeper
        });
        world.sleepers.insert((self.deadline, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = lock(&self.world).sleepers.remove(&(self.deadline, id));
            drop(waker);
        }
    }
}
