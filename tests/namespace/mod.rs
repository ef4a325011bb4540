//! Gives a test a network namespace of its own, on a thread that ends with the test.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it; failing is its way to report"
)]

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

/// Runs `test` on a fresh thread in a fresh network namespace; a failure in it is a failure of the caller.
pub(crate) fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare needs root; run it through integration/run");
        test()
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The same for a test that awaits.
pub(crate) fn alone_async<F: Future>(test: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F::Output: Send + 'static,
{
    alone(|| block_on(test()))
}

/// Waits for `work` on this thread.
pub(crate) fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Runs `work` on a fresh thread inside the network namespace `ns`.
pub(crate) fn within<T: Send>(ns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(ns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Looks again until `look` is content; after ten seconds fails with the last thing that it saw.
pub(crate) fn wait_until<T: Debug>(what: &str, mut look: impl FnMut() -> Result<(), T>) -> Duration {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return start.elapsed(),
            Err(seen) => assert!(
                start.elapsed() < Duration::from_secs(10),
                "{what}: last seen {seen:?}"
            ),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
