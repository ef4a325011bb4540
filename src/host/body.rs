//! What exists of a life from its birth to its end, whichever emperor it was born under.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use tokio::io::unix::AsyncFd;

use crate::config::Name;
use crate::emperor::Word;
use crate::emperor::state::{End, Life};
use crate::sys::process::{open_pid, send_signal};
use crate::sys::readiness::readable;

use super::ears::{Ears, Heard};
use super::life::{Handle, Herald, News};
use super::notify::Said;
use super::spawn;
use super::tree::Tree;

/// How long an ended process that is no child of ours may stay unreaped before its exit status counts as unknown.
const REAPED_WITHIN: Duration = Duration::from_secs(1);

/// What exists of a life: its first process, the cgroup that holds the others if no pid namespace does, and
/// the sockets over which it speaks.
pub(super) struct Body {
    pub(super) name: Name,
    pub(super) pid: u32,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) tree: Option<Tree>,
    pub(super) ears: Option<Box<Ears>>,
    pub(super) handle: Arc<Handle>,
}

impl Body {
    /// Waits for the end of the life; all that is left of it ends with it.
    pub(super) async fn end(mut self, main: Option<Arc<OwnedFd>>, tell: &impl Fn(News)) -> End {
        let main = main.and_then(|main| readable(main).ok());
        let end = match readable(self.pidfd.clone()) {
            Ok(first) => self.watch(first, main, tell).await,
            // Without a place in the event queue, the end is waited for on a thread of its own.
            Err(_) => {
                let pidfd = self.pidfd.clone();
                let waited = tokio::task::spawn_blocking(move || spawn::reap(&pidfd)).await;
                waited.ok().flatten().unwrap_or(End::Unknown)
            }
        };
        let last = self.ears.take().map(|ears| ears.last()).unwrap_or_default();
        if !last.is_empty() {
            tell(News::Heard(last));
        }
        let end = self.handle.cages().explain(end, &self.name);
        if let Some(tree) = self.tree {
            tree.fell().await;
        }
        self.handle.cages().remove().await;
        end
    }

    /// Passes on what is heard until the first process ends, or the one that was named as the main one.
    async fn watch(
        &mut self,
        first: AsyncFd<Arc<OwnedFd>>,
        mut main: Option<AsyncFd<Arc<OwnedFd>>>,
        tell: &impl Fn(News),
    ) -> End {
        let mut end = None;
        loop {
            tokio::select! {
                heard = hear(self.ears.as_mut()) => {
                    main = self.follow(&heard).or(main);
                    tell(News::Heard(heard));
                }
                _ = first.readable(), if end.is_none() => {
                    let first_end = how_it_ended(&first).await;
                    // Nothing outlives the first process of a pid namespace.
                    if main.is_none() || self.tree.is_none() {
                        return first_end;
                    }
                    end = Some(first_end);
                }
                () = gone(main.as_ref()) => {
                    if end.is_none() {
                        // ESRCH: it has ended by itself.
                        let _ = send_signal(first.get_ref(), libc::SIGKILL);
                        how_it_ended(&first).await;
                    }
                    // Only now: the kernel reaps what the first process of a pid namespace never did.
                    return match &main {
                        Some(main) => how_it_ended(main).await,
                        None => End::Unknown,
                    };
                }
            }
        }
    }

    /// Takes note of a new main process.
    fn follow(&self, heard: &[Heard]) -> Option<AsyncFd<Arc<OwnedFd>>> {
        let named = heard.iter().rev().find_map(|heard| match heard {
            Heard::Said(Said::Word(Word::MainPid(pid))) => Some(*pid),
            Heard::Said(Said::Word(_) | Said::Status(_) | Said::Errno(_)) | Heard::Byte(_) => None,
        })?;
        let main = Arc::new(open_pid(named).ok()?);
        self.handle.follow((named != self.pid).then(|| main.clone()));
        readable(main).ok().filter(|_| named != self.pid)
    }
}

/// Waits for the end of a process. One that is no child of ours is reaped by whose child it became, and only then
/// the kernel says how it ended; somebody who never reaps is not waited for.
async fn how_it_ended(watched: &AsyncFd<Arc<OwnedFd>>) -> End {
    let _ = watched.readable().await;
    if let Some(end) = spawn::reap(watched.get_ref()) {
        return end;
    }
    let reaped = async {
        while let Ok(mut ready) = watched.readable().await {
            if let Some(end) = spawn::outcome_of_reaped(watched.get_ref()) {
                return end;
            }
            ready.clear_ready();
        }
        End::Unknown
    };
    tokio::time::timeout(REAPED_WITHIN, reaped)
        .await
        .unwrap_or(End::Unknown)
}

/// A life that began under another emperor, from here to its end.
pub struct Heir {
    /// Whose.
    pub name: Name,
    /// Which.
    pub life: Life,
    /// Its first process.
    pub process: (u32, Arc<OwnedFd>),
    /// Its main process, if that is another one.
    pub main: Option<Arc<OwnedFd>>,
    /// The cgroup of its tree.
    pub tree: Option<Tree>,
    /// The sockets over which it speaks.
    pub ears: Option<Box<Ears>>,
    /// The daemon's hold on it.
    pub handle: Arc<Handle>,
    /// Where its news go.
    pub herald: Herald,
}

impl Heir {
    /// Lives the life to its end.
    pub async fn live(self) {
        let (name, life, herald) = (self.name.clone(), self.life, self.herald);
        let tell = move |news| {
            // The daemon is gone only at the very end, when nobody listens any more.
            let _ = herald.send((name.clone(), life, news));
        };
        let (pid, pidfd) = self.process;
        let body = Body {
            name: self.name,
            pid,
            pidfd,
            tree: self.tree,
            ears: self.ears,
            handle: self.handle,
        };
        tell(News::Ended(body.end(self.main, &tell).await));
    }
}

async fn hear(ears: Option<&mut Box<Ears>>) -> Vec<Heard> {
    match ears {
        Some(ears) => ears.next().await,
        None => std::future::pending().await,
    }
}

async fn gone(pidfd: Option<&AsyncFd<Arc<OwnedFd>>>) {
    match pidfd {
        Some(pidfd) => drop(pidfd.readable().await),
        None => std::future::pending().await,
    }
}
