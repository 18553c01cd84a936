//! No test hangs for ever.
//!
//! What a test waits for has a limit where it waits, and then the test fails and says for what. Some
//! waits have none, such as a statement on a connection that a test holds. So the whole of a test
//! has a limit too; a test beyond it can't be ended by itself, and ends this process.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    process,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::time::timeout;

/// How long one thing may take: far longer than any does.
const STEP: Duration = Duration::from_mins(3);

/// How long a test may take.
const TEST: Duration = Duration::from_mins(15);

/// What comes of it, unless it takes too long.
pub(crate) async fn of<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(STEP, work).await.ok()
}

/// What comes of it, or a panic that says what was waited for.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    of(work).await.unwrap_or_else(|| panic!("after {STEP:?} still waiting for: {what:.500}"))
}

/// Since when tests run, by their threads' names, which are theirs.
static RUNNING: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

fn running() -> MutexGuard<'static, BTreeMap<String, Instant>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that has begun, and has ended when its thread has.
struct Test(String);

impl Test {
    fn begin() -> Self {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        running().insert(name.clone(), Instant::now());
        Self(name)
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

thread_local! {
    static THIS: Test = Test::begin();
}

/// Sets the limit of the test that this thread runs, once.
pub(crate) fn of_this_test() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        thread::spawn(watch);
    });
    THIS.with(|_| {});
}

fn watch() {
    // The long soak is as long as was asked for.
    let soak = env::var("GHOST_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    let limit = TEST + Duration::from_secs(soak.unwrap_or_default());
    loop {
        thread::sleep(Duration::from_secs(1));
        let running = running();
        if running.values().any(|since| since.elapsed() > limit) {
            // Not by `eprintln`, which the test that has set this going would keep for itself.
            let mut stderr = io::stderr();
            for (name, since) in running.iter() {
                let _ = writeln!(stderr, "test {name} runs for {} s", since.elapsed().as_secs());
            }
            let _ = writeln!(stderr, "no test may take longer than {} s", limit.as_secs());
            process::exit(101);
        }
    }
}
