//! Without root: a user, network and mount namespace of our own, in which we are root.
//!
//! Called while the process has one thread, because `unshare(CLONE_NEWUSER)` wants that. Vassals then reach
//! each other and the gateway, but nothing outside: the namespace has no other way out. If the user has
//! subordinate ids (`/etc/subuid`, `/etc/subgid`) and the `newuidmap` helper of the shadow tools is there,
//! they are mapped as well, so that vassals can have users of their own; else only the own id is.
//!
//! The namespace lives as long as a process in it. An emperor that comes after one that died enters the user
//! namespace of the vassals that are left, or it could not take them over; the network namespace of the dead
//! emperor, and with it the uplink, is gone.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};

use crate::config::namespaces::IdRange;
use crate::config::places::Places;
use crate::config::world::Identities;

use super::error::{Doing, HostError};

/// The first argument that makes this program the helper that asks for the id maps.
pub const MAP_VERB: &str = "__map-ids";

/// Who the emperor is and what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Station {
    /// Root of the host, or of a namespace that somebody else made.
    Root,
    /// Root of a user namespace that [`enter`] made.
    Own {
        /// Which ids it can give to vassals.
        identities: Identities,
    },
}

impl Station {
    /// Which ids a vassal can have.
    pub fn identities(self) -> Identities {
        match self {
            Self::Root => Identities::Any,
            Self::Own { identities } => identities,
        }
    }
}

/// Becomes root of an own user, network and mount namespace, unless this is root already. `left` is a process of
/// an earlier emperor, or its user namespace, which is entered.
pub fn enter(left: Option<&OwnedFd>) -> Result<Station, HostError> {
    tun_is_accessible()?;
    if Uid::effective().is_root() {
        return Ok(Station::Root);
    }
    let failed = |errno| HostError::new(Doing::EnterUserNamespace, "this process", errno);
    if let Some(left) = left {
        setns(left, CloneFlags::CLONE_NEWUSER).map_err(failed)?;
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(failed)?;
        let (uids, gids) = (mapped("/proc/self/uid_map"), mapped("/proc/self/gid_map"));
        become_its_root()?;
        return Ok(Station::Own {
            identities: match (uids, gids) {
                (1, _) | (_, 1) => Identities::OwnOnly,
                (uids, gids) => Identities::Mapped { uids, gids },
            },
        });
    }
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let helper = MapHelper::start();
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(flags).map_err(failed)?;
    let identities = match helper.and_then(MapHelper::finish) {
        Some((uids, gids)) => Identities::Mapped { uids, gids },
        None => {
            map_own_ids(uid, gid)?;
            Identities::OwnOnly
        }
    };
    become_its_root()?;
    Ok(Station::Own { identities })
}

/// The ids are 0 now; file capabilities and saved ids follow.
fn become_its_root() -> Result<(), HostError> {
    nix::unistd::setresgid(0.into(), 0.into(), 0.into())
        .and_then(|()| nix::unistd::setresuid(0.into(), 0.into(), 0.into()))
        .map_err(|errno| HostError::new(Doing::EnterUserNamespace, "this process", errno))
}

/// How many ids a map of user_namespaces(7) has.
fn mapped(map: &str) -> u32 {
    let text = std::fs::read_to_string(map).unwrap_or_default();
    let lengths = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
    lengths.fold(0, u32::saturating_add)
}

/// Which ids [`enter`] will probably be able to give, for whoever only checks.
pub fn likely_identities() -> Identities {
    let user = User::from_uid(Uid::effective()).ok().flatten();
    let count = |file| {
        user.as_ref()
            .and_then(|user| subordinate(file, &user.name, user.uid.as_raw()))
    };
    match (count("/etc/subuid"), count("/etc/subgid")) {
        (Some((_, uids)), Some((_, gids))) => Identities::Mapped {
            uids: uids + 1,
            gids: gids + 1,
        },
        (None, _) | (_, None) => Identities::OwnOnly,
    }
}

/// `/dev/net/tun` must be there and ours to open; said before anything else is tried.
fn tun_is_accessible() -> Result<(), HostError> {
    let path = "/dev/net/tun";
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map(drop)
        .map_err(|e| HostError::from_io(Doing::OpenTunDevice, path, &e))
}

/// user_namespaces(7): one line each, and setgroups denied before a group map without privilege.
fn map_own_ids(uid: Uid, gid: Gid) -> Result<(), HostError> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(|e| HostError::from_io(Doing::MapIds, path, &e))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// A copy of this program outside the new namespace, from where `newuidmap` must be called.
struct MapHelper {
    child: std::process::Child,
    uids: u32,
    gids: u32,
}

impl MapHelper {
    /// Starts it, if the user has subordinate ids.
    fn start() -> Option<Self> {
        let user = User::from_uid(Uid::effective()).ok().flatten()?;
        let uids = subordinate("/etc/subuid", &user.name, user.uid.as_raw())?;
        let gids = subordinate("/etc/subgid", &user.name, user.uid.as_raw())?;
        let range = |(first, count): (u32, u32)| format!("{first} {count}");
        let child = Command::new("/proc/self/exe")
            .args([MAP_VERB, &std::process::id().to_string()])
            .args([
                user.uid.to_string(),
                user.gid.to_string(),
                range(uids),
                range(gids),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self {
            child,
            uids: uids.1,
            gids: gids.1,
        })
    }

    /// Lets it go on, now that the namespace is there: how many ids were mapped beside our own.
    fn finish(mut self) -> Option<(u32, u32)> {
        drop(self.child.stdin.take());
        self.child
            .wait()
            .ok()?
            .success()
            .then_some((self.uids + 1, self.gids + 1))
    }
}

/// The ids that a user may give to others: users, then groups. subuid(5), subgid(5)
pub(super) fn subordinates(name: &str, id: u32) -> (Option<IdRange>, Option<IdRange>) {
    let range = |(first, count)| IdRange { first, count };
    let of = |file| {
        subordinate(file, name, id)
            .map(range)
            .filter(|range| range.count > 0)
    };
    (of("/etc/subuid"), of("/etc/subgid"))
}

/// The first range of subordinate ids of a user, as (first, count). subuid(5)
fn subordinate(file: &str, name: &str, id: u32) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        (owner == name || owner == id.to_string()).then_some((first, count))
    })
}

/// The helper: waits for the namespace, then has `newuidmap` and `newgidmap` write the maps.
pub fn map_helper(arguments: &[String]) -> ExitCode {
    let [pid, uid, gid, uids, gids] = arguments else {
        return ExitCode::from(2);
    };
    let mut nothing = Vec::new();
    if std::io::stdin().read_to_end(&mut nothing).is_err() {
        return ExitCode::FAILURE;
    }
    let map = |program: &str, own: &str, range: &str| {
        Command::new(program)
            .args([pid.as_str(), "0", own, "1", "1"])
            .args(range.split(' '))
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    // Groups first: a process whose users are mapped and whose groups are not would be half of a root.
    let done = map("newgidmap", gid, gids) && map("newuidmap", uid, uids);
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Where things lie: root's places, or the user's.
pub fn places(root: bool) -> Places {
    if root {
        return Places {
            settings: "/etc/mini-emperor/emperor.yaml".into(),
            vassals: "/etc/mini-emperor/vassals".into(),
            run_directory: "/run/mini-emperor".into(),
            state_directory: "/var/lib/mini-emperor".into(),
            log_directory: "/var/log/mini-emperor".into(),
        };
    }
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
    let base = |variable: &str, below_home: &str| {
        let set = std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        set.unwrap_or_else(|| home.join(below_home)).join("mini-emperor")
    };
    let state = base("XDG_STATE_HOME", ".local/state");
    Places {
        settings: base("XDG_CONFIG_HOME", ".config").join("emperor.yaml"),
        vassals: base("XDG_CONFIG_HOME", ".config").join("vassals"),
        run_directory: runtime_directory(),
        log_directory: state.join("log"),
        state_directory: state,
    }
}

/// `$XDG_RUNTIME_DIR`, or a directory of the user's own under `/tmp`.
fn runtime_directory() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|path| path.is_absolute() && writable(path)) {
        Some(path) => path.join("mini-emperor"),
        None => PathBuf::from(format!("/tmp/mini-emperor-{}", Uid::effective())),
    }
}

fn writable(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|m| m.is_dir() && m.permissions().mode() & 0o200 != 0)
        && nix::unistd::access(directory, nix::unistd::AccessFlags::W_OK).is_ok()
}
