//! Which sockets of tenants there may be, on disk: `RUN/sockets/NAME.NUMBER.json`.
//!
//! A tenant's socket is made and taken away by threads that nobody waits for, while its definition changes; so the
//! vassal's record cannot say of which path there may be a file. Each such socket has an entry of its own, from before
//! it is made until it is known that it is not there. An emperor takes away what the entries of one that was killed
//! name, unless it waits there itself.

use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::errands::Outcome;
use super::listen::{self, Listener, Maker, Removal};
use super::{Call, Demands, Post};
use crate::config::Name;
use crate::config::definition::Trigger;
use crate::host::error::{Doing, HostError};
use crate::host::state::read_json;

/// What an entry says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    trigger: Trigger,
    uid: u32,
    gid: u32,
}

/// The file of one socket. It stays unless it is struck out: whoever does not get to that has not taken the socket away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Entry(PathBuf);

impl Entry {
    /// There is no such socket any more.
    pub(super) fn strike(self) {
        // Missing is what was wanted.
        let _ = std::fs::remove_file(self.0);
    }
}

/// A socket that is being taken away, and its entry.
pub(super) struct Closing {
    outcome: Outcome,
    entry: Option<Entry>,
}

impl Closing {
    /// Strikes it out if it has been taken away by `latest`; what comes back has not been.
    fn finish(self, latest: Instant) -> Option<Self> {
        match self.outcome.by(latest) {
            Some(true) => self.entry.into_iter().for_each(Entry::strike),
            Some(false) => {}
            None => return Some(self),
        }
        None
    }
}

/// All entries of an emperor.
pub(super) struct Ledger {
    directory: PathBuf,
    /// Those that an earlier emperor has left.
    earlier: Vec<Entry>,
    last: u64,
}

impl Ledger {
    /// Finds what an earlier emperor has left in `directory`.
    pub(super) fn open(directory: PathBuf) -> Self {
        let files = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let earlier = files.map(|file| Entry(file.path())).collect();
        Self {
            directory,
            earlier,
            last: 0,
        }
    }

    /// Writes down the socket of a tenant, before it is made; none of the emperor's own, which the vassals' records name.
    pub(super) fn enter(
        &mut self,
        name: &Name,
        trigger: &Trigger,
        maker: Maker,
    ) -> Result<Option<Entry>, HostError> {
        let (Trigger::Unix { .. }, Maker::Tenant(uid, gid)) = (trigger, maker) else {
            return Ok(None);
        };
        loop {
            self.last += 1;
            let path = self.directory.join(format!("{name}.{}.json", self.last));
            let failed = |error| HostError::from_io(Doing::WriteState, path.display().to_string(), &error);
            let mut new = std::fs::OpenOptions::new();
            let file = match new.write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                file => file.map_err(failed)?,
            };
            let trigger = trigger.clone();
            let claim = Claim { trigger, uid, gid };
            let entry = Entry(path.clone());
            return match serde_json::to_writer(file, &claim) {
                Ok(()) => Ok(Some(entry)),
                Err(error) => {
                    entry.strike();
                    Err(failed(error.into()))
                }
            };
        }
    }
}

/// What was made has its entry; what was not needs none.
pub(super) fn keep(entry: Option<Entry>, made: Result<Listener, HostError>) -> Result<Listener, HostError> {
    match made {
        Ok(listener) => Ok(listener.entered(entry)),
        Err(error) => {
            entry.into_iter().for_each(Entry::strike);
            Err(error)
        }
    }
}

impl Demands {
    /// Gives up what cannot be given back by dropping it, and waits until it is done, but not for longer than `patience`:
    /// what a tenant's file system holds up is left to the next emperor.
    pub(in crate::host) fn finish(&mut self, patience: Duration) {
        let latest = Instant::now() + patience;
        for (_, post) in std::mem::take(&mut self.posts) {
            post.give_up()
                .into_iter()
                .for_each(|listener| self.close(listener));
        }
        let making = self.making.drain(..);
        let mut hung: Vec<_> = making.filter(|making| making.by(latest).is_none()).collect();
        while let Ok(call) = self.heard.try_recv() {
            if let Call::Opened(_, _, entry, Ok(listener)) = call {
                self.close(listener.entered(entry));
            }
        }
        self.settle(latest);
        hung.extend(self.closing.drain(..).map(|closing| closing.outcome));
        for outcome in hung {
            let at = outcome.at().display();
            tracing::error!(
                %at,
                "a tenant's socket cannot be taken away: its directory does not answer; the next emperor tries again"
            );
        }
    }

    /// Writes down a tenant's socket that is there; it is waited at even if that cannot be written down.
    pub(super) fn enter_open(&mut self, name: &Name, trigger: &Trigger, listener: Listener) -> Listener {
        let entered = self.ledger.enter(name, trigger, listener.maker());
        listener.entered(entered.unwrap_or_else(|error| {
            tracing::error!(%name, "{error}; after a crash in the midst of an edit this socket might stay");
            None
        }))
    }

    /// Takes away a socket.
    pub(super) fn close(&mut self, mut listener: Listener) {
        let entry = listener.entry();
        let removal = listener.close(&mut self.errands);
        self.expect(removal, entry);
    }

    /// Takes away where nobody listens any more.
    pub(super) fn clear(&mut self, trigger: &Trigger, maker: Maker, entry: Option<Entry>) {
        let removal = listen::clear(trigger, maker, &mut self.errands);
        self.expect(removal, entry);
    }

    fn expect(&mut self, removal: Removal, entry: Option<Entry>) {
        self.settle(Instant::now());
        match removal {
            Removal::Done => entry.into_iter().for_each(Entry::strike),
            Removal::Begun(outcome) => self.closing.push(Closing { outcome, entry }),
            Removal::Refused => {}
        }
    }

    /// Strikes out what has been taken away by `latest`.
    fn settle(&mut self, latest: Instant) {
        let open = std::mem::take(&mut self.closing).into_iter();
        self.closing = open.filter_map(|closing| closing.finish(latest)).collect();
    }

    /// Everybody who goes on from an earlier emperor is waited for where that is due: what else there may be of its
    /// tenants' sockets is taken away.
    pub(in crate::host) fn clear_earlier(&mut self) {
        // Handed over, and nobody's any more; as long as it is open it is not abandoned.
        self.inherited.clear();
        for entry in std::mem::take(&mut self.ledger.earlier) {
            let Some(claim) = read_json::<Claim>(&entry.0) else {
                // It was being written, so its socket was not made.
                entry.strike();
                continue;
            };
            let maker = Maker::Tenant(claim.uid, claim.gid);
            let awaited = |post: &Post| post.trigger == claim.trigger && post.maker == maker;
            if self.posts.values().any(awaited) {
                // It has an entry of ours.
                entry.strike();
            } else {
                self.clear(&claim.trigger, maker, Some(entry));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[ignore = "becomes another user on a thread: needs root"]
    async fn a_socket_whose_emperor_died_before_it_was_taken_away_is_taken_away_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, path) = (directory.path().join("ledger"), directory.path().join("old"));
        std::fs::create_dir(&ledger).unwrap();
        let trigger = Trigger::Unix {
            path: path.clone(),
            mode: 0o600,
            uid: None,
            gid: None,
        };
        let name = Name::new("web").unwrap();
        let mut dead = Demands::new(ledger.clone());
        dead.ledger.enter(&name, &trigger, Maker::Tenant(0, 0)).unwrap();
        // What its thread has made, and nobody listens on any more.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        // One that was being written names nothing.
        std::fs::write(ledger.join("web.7.json"), "{").unwrap();
        let mut next = Demands::new(ledger.clone());
        next.clear_earlier();
        next.finish(Duration::from_secs(60));
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(&ledger).unwrap().count(), 0);
    }

    #[test]
    fn entries_of_two_emperors_are_never_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let trigger = Trigger::Unix {
            path: "/s".into(),
            mode: 0o600,
            uid: None,
            gid: None,
        };
        let name = Name::new("web").unwrap();
        let enter = || {
            let mut ledger = Ledger::open(directory.path().to_owned());
            ledger
                .enter(&name, &trigger, Maker::Tenant(1, 1))
                .unwrap()
                .unwrap()
        };
        let (first, second) = (enter(), enter());
        assert_ne!(first, second);
        first.strike();
        assert_eq!(Ledger::open(directory.path().to_owned()).earlier, [second]);
        let mut ledger = Ledger::open(directory.path().to_owned());
        assert_eq!(ledger.enter(&name, &trigger, Maker::Emperor).unwrap(), None);
    }
}
