//! What is done for tenants at paths of theirs, on threads that may hang there.
//!
//! A tenant's way may lead anywhere, also into a file system that he serves himself and that does not answer. So nobody
//! waits for it but whoever comes to the same path after it: at one path things are done one after another, in the order
//! in which they were asked for. One tenant can hold only so many threads, and have only so much waiting for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

use crate::sys::process::become_on_this_thread;

/// Threads of one tenant.
const AT_ONCE: usize = 64;
/// Errands of one tenant that wait for them.
const WAITING: usize = 4096;

/// Who it is done for, and as whom: a user and a group.
pub(super) type Tenant = (u32, u32);

/// It is told whether its thread is the tenant.
type Work = Box<dyn FnOnce(Result<(), Errno>) + Send>;

/// All errands of an emperor.
#[derive(Default)]
pub(super) struct Errands(BTreeMap<Tenant, Arc<Mutex<Desk>>>);

/// Those of one tenant.
#[derive(Default)]
struct Desk {
    waiting: VecDeque<Errand>,
    /// Paths at which something is being done.
    busy: BTreeSet<PathBuf>,
    threads: usize,
}

struct Errand {
    at: PathBuf,
    work: Work,
    done: Sender<()>,
}

/// What becomes of one.
pub(super) struct Outcome {
    at: PathBuf,
    done: Receiver<()>,
}

impl Outcome {
    /// Where it is done.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    /// Whether it was done; absent if that is not known by `latest`. Without the tenant's rights, or if it has panicked, it was not.
    pub(super) fn by(&self, latest: Instant) -> Option<bool> {
        let patience = latest.saturating_duration_since(Instant::now());
        match self.done.recv_timeout(patience) {
            Ok(()) => Some(true),
            Err(RecvTimeoutError::Disconnected) => Some(false),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }
}

impl Errands {
    /// Has `work` done at `at` on a thread that is `tenant`, with a umask of its own; without that right it is only told so.
    ///
    /// # Errors
    /// `EBUSY` if too much waits already, what `pthread_create(3)` says if there is no thread; then it is not called.
    pub(super) fn send(
        &mut self,
        tenant: Tenant,
        at: &Path,
        work: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) -> Result<Outcome, Errno> {
        self.0.retain(|_, desk| lock(desk).threads > 0);
        let desk = self.0.entry(tenant).or_default();
        let (done, outcome) = channel();
        let outcome = Outcome {
            at: at.to_owned(),
            done: outcome,
        };
        let errand = Errand {
            at: at.to_owned(),
            work: Box::new(work),
            done,
        };
        let mut open = lock(desk);
        if open.waiting.len() >= WAITING {
            return Err(Errno::EBUSY);
        }
        open.waiting.push_back(errand);
        if open.threads < AT_ONCE {
            let shared = desk.clone();
            let hired = std::thread::Builder::new()
                .name("errand".to_owned())
                .spawn(move || serve(tenant, &shared));
            match hired {
                Ok(_) => open.threads += 1,
                // Those that there are do it.
                Err(_) if open.threads > 0 => {}
                Err(error) => {
                    open.waiting.pop_back();
                    return Err(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw));
                }
            }
        }
        Ok(outcome)
    }
}

/// One thread. It ends when there is nothing that it could begin: what has to wait is waiting for another thread, which
/// looks again.
fn serve(tenant: Tenant, desk: &Mutex<Desk>) {
    let is_tenant = become_tenant(tenant);
    // Not in the condition of the loop, which would keep it locked.
    let next = || lock(desk).next();
    while let Some(Errand { at, work, done }) = next() {
        let called = catch_unwind(AssertUnwindSafe(|| work(is_tenant)));
        if called.is_ok() && is_tenant.is_ok() {
            // Perhaps nobody asks.
            let _ = done.send(());
        }
        lock(desk).busy.remove(&at);
    }
}

fn become_tenant((uid, gid): Tenant) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_FS)?;
    umask(Mode::empty());
    become_on_this_thread(uid, gid)
}

impl Desk {
    /// The next errand that need not wait for another one; without one, the thread that asks is a thread less.
    fn next(&mut self) -> Option<Errand> {
        let free = self
            .waiting
            .iter()
            .position(|errand| !self.busy.contains(&errand.at));
        let Some(errand) = free.and_then(|index| self.waiting.remove(index)) else {
            self.threads -= 1;
            return None;
        };
        self.busy.insert(errand.at.clone());
        Some(errand)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOT: Tenant = (0, 0);

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    #[ignore = "becomes another user on a thread: needs root"]
    fn what_hangs_is_waited_for_at_its_own_path_only() {
        let mut errands = Errands::default();
        let (answer, answers) = channel::<()>();
        let (tell, told) = channel();
        let send = |errands: &mut Errands, tenant, at: &str, what: &'static str| {
            let tell = tell.clone();
            errands
                .send(tenant, Path::new(at), move |_| tell.send(what).unwrap())
                .unwrap()
        };
        let hung = errands
            .send(ROOT, Path::new("/hung"), move |_| {
                assert!(answers.recv().is_err())
            })
            .unwrap();
        let after = send(&mut errands, ROOT, "/hung", "after it");
        for (tenant, at) in [(ROOT, "/other"), ((1, 1), "/hung")] {
            let other = send(&mut errands, tenant, at, "beside it");
            assert_eq!(other.by(in_a_minute()), Some(true), "{at} of {tenant:?}");
            assert_eq!(told.try_recv(), Ok("beside it"));
        }
        assert_eq!(after.by(Instant::now()), None);
        assert_eq!(hung.by(Instant::now()), None);
        drop(answer);
        assert_eq!(after.by(in_a_minute()), Some(true));
        assert_eq!(told.try_recv(), Ok("after it"));
        assert_eq!(hung.by(in_a_minute()), Some(true));
    }

    #[test]
    #[ignore = "becomes another user on a thread: needs root"]
    fn one_tenant_holds_so_many_threads_and_has_so_much_waiting() {
        let mut errands = Errands::default();
        let (answer, answers) = channel::<()>();
        let answers = Arc::new(Mutex::new(answers));
        let mut send = |tenant, at: usize| {
            let answers = answers.clone();
            let hang = move |_| assert!(answers.lock().unwrap().recv().is_err());
            errands.send(tenant, Path::new(&format!("/hung/{at}")), hang)
        };
        // Those that are begun leave the queue in their own time.
        let most = AT_ONCE + WAITING;
        let (sent, refusals): (Vec<_>, Vec<_>) = (0..=most).map(|at| send(ROOT, at)).partition(Result::is_ok);
        assert!((WAITING..=most).contains(&sent.len()), "{}", sent.len());
        assert!(
            refusals
                .iter()
                .all(|refused| refused.as_ref().err() == Some(&Errno::EBUSY))
        );
        assert!(!refusals.is_empty());
        let other = send((1, 1), 0).unwrap();
        drop(answer);
        assert_eq!(other.by(in_a_minute()), Some(true));
        for sent in sent {
            assert_eq!(sent.unwrap().by(in_a_minute()), Some(true));
        }
    }

    #[test]
    #[ignore = "becomes another user on a thread: needs root"]
    fn a_panic_is_not_done_and_harms_no_other() {
        let mut errands = Errands::default();
        let at = Path::new("/a");
        let panics = errands
            .send(ROOT, at, |_| std::panic::resume_unwind(Box::new("here")))
            .unwrap();
        let next = errands.send(ROOT, at, |_| {}).unwrap();
        assert_eq!(panics.by(in_a_minute()), Some(false));
        assert_eq!(next.by(in_a_minute()), Some(true));
    }
}
