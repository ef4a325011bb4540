//! Makes the sockets at which the emperor waits for a vassal's first client.
//!
//! A socket at a path is made by a borrowed thread that is, for the file system, already whom the socket is to belong
//! to: it appears with its owner and mode, and there is no moment at which it could be exchanged before a chown. Where
//! owners are tenants (`run_as_owner`), that thread is the tenant altogether, so the kernel asks whether he
//! may, however he arranges links and directories meanwhile.

use std::fs::symlink_metadata;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use caps::CapSet;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockname,
    getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::errands::{Errands, Outcome, Tenant};
use super::ledger::Entry;
use crate::config::definition::Trigger;
use crate::host::error::{Doing, HostError};
use crate::host::init;
use crate::sys::process::take_descriptor;

/// Who makes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// The emperor, for whom the definition names.
    Emperor,
    /// The tenant with these ids.
    Tenant(u32, u32),
}

/// A socket that listens.
pub(in crate::host) struct Listener {
    /// Also the vassal's.
    pub(super) fd: OwnedFd,
    mark: Option<Mark>,
    maker: Maker,
    entry: Option<Entry>,
}

/// The file that a socket made.
struct Mark {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens as `trigger` says, for the emperor, who waits for it.
///
/// # Errors
/// If the kernel refuses, or somebody else listens there.
pub(super) fn open(trigger: &Trigger) -> Result<Listener, HostError> {
    let failed = |errno| HostError::new(Doing::Listen, place(trigger), errno);
    let opened = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("listen".to_owned());
        let opens = thread.spawn_scoped(scope, || make(trigger, Maker::Emperor));
        // One that died has not answered.
        Ok(opens?.join().unwrap_or(Err(Errno::ECANCELED)))
    });
    opened
        .map_err(|error| HostError::from_io(Doing::Listen, place(trigger), &error))
        .and_then(|made| made.map_err(failed))
}

/// The same for a tenant, for whom nobody waits: the outcome is handed to `then`.
///
/// # Errors
/// If nobody can do it; then `then` is not called.
pub(super) fn open_for(
    tenant: Tenant,
    trigger: &Trigger,
    errands: &mut Errands,
    then: impl FnOnce(Result<Listener, HostError>) + Send + 'static,
) -> Result<Outcome, HostError> {
    let failed = |place| move |errno| HostError::new(Doing::Listen, place, errno);
    let (at, on, whole) = (path(trigger).to_owned(), place(trigger), trigger.clone());
    let opens = move |is_tenant: Result<(), Errno>| {
        let (uid, gid) = tenant;
        let made = is_tenant.and_then(|()| make(&whole, Maker::Tenant(uid, gid)));
        then(made.map_err(failed(on)));
    };
    errands.send(tenant, &at, opens).map_err(failed(place(trigger)))
}

/// The socket of `trigger` that the process of `pidfd` has from an earlier emperor, if it still has it where it got it.
pub(super) fn fetch(trigger: &Trigger, maker: Maker, pidfd: BorrowedFd<'_>) -> Option<Listener> {
    let given = [init::FIRST, 0].into_iter();
    let mut had = given.filter_map(|number| take_descriptor(pidfd, number).ok());
    had.find_map(|fd| Listener::of(fd, trigger, maker))
}

/// What a vassal has in its hands may be anything.
fn listens_at(fd: &OwnedFd, trigger: &Trigger) -> Result<bool, Errno> {
    let number = fd.as_raw_fd();
    if !getsockopt(fd, sockopt::AcceptConn)? || getsockopt(fd, sockopt::SockType)? != SockType::Stream {
        return Ok(false);
    }
    Ok(match trigger {
        Trigger::Unix { path, .. } => getsockname::<UnixAddr>(number)?.path() == Some(path),
        Trigger::Tcp(address) => {
            let own: SockaddrStorage = getsockname(number)?;
            let v4 = own
                .as_sockaddr_in()
                .map(|own| SocketAddr::from(std::net::SocketAddrV4::from(*own)));
            let v6 = own
                .as_sockaddr_in6()
                .map(|own| SocketAddr::from(std::net::SocketAddrV6::from(*own)));
            v4.or(v6) == Some(*address)
        }
        Trigger::Packet => false,
    })
}

/// The path of its socket, if it has one.
fn path(trigger: &Trigger) -> &Path {
    match trigger {
        Trigger::Unix { path, .. } => path,
        Trigger::Tcp(_) | Trigger::Packet => Path::new(""),
    }
}

/// Where `trigger` listens, in words.
pub(super) fn place(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Unix { path, .. } => path.display().to_string(),
        Trigger::Tcp(address) => address.to_string(),
        Trigger::Packet => "its addresses".to_owned(),
    }
}

impl Listener {
    /// Takes an open descriptor for the socket of `trigger`, if it is that.
    pub(super) fn of(fd: OwnedFd, trigger: &Trigger, maker: Maker) -> Option<Self> {
        listens_at(&fd, trigger)
            .unwrap_or(false)
            .then(|| Self::new(fd, mark(trigger), maker))
    }

    fn new(fd: OwnedFd, mark: Option<Mark>, maker: Maker) -> Self {
        Self {
            fd,
            mark,
            maker,
            entry: None,
        }
    }

    /// Who has made it.
    pub(super) fn maker(&self) -> Maker {
        self.maker
    }

    /// It is written down there.
    pub(super) fn entered(self, entry: Option<Entry>) -> Self {
        Self { entry, ..self }
    }

    /// Takes out where it is written down.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        self.entry.take()
    }

    /// Removes what lies at its path, if that is still this socket.
    pub(super) fn close(self, errands: &mut Errands) -> Removal {
        let Some(mark) = self.mark else {
            return Removal::Done;
        };
        let at = mark.path.clone();
        as_maker(self.maker, &at, errands, move || mark.remove())
    }
}

/// Removes the socket of `trigger` that an emperor left which was killed.
pub(super) fn clear(trigger: &Trigger, maker: Maker, errands: &mut Errands) -> Removal {
    let Trigger::Unix { path, .. } = trigger else {
        return Removal::Done;
    };
    let at = path.clone();
    as_maker(maker, path, errands, move || {
        if UnixAddr::new(&at).is_ok_and(|address| is_abandoned(&at, &address)) {
            // Gone is what was wanted.
            let _ = std::fs::remove_file(&at);
        }
    })
}

/// What becomes of a socket that is to be taken away.
pub(super) enum Removal {
    /// It is.
    Done,
    /// It is being taken away.
    Begun(Outcome),
    /// Nobody can, which the operator has been told.
    Refused,
}

/// Does what only the maker of a socket may do to it. The emperor's own are done with when this returns: before it is
/// written down that there is no such socket any more. A tenant's way may lead anywhere, and nobody waits for it.
fn as_maker(maker: Maker, at: &Path, errands: &mut Errands, work: impl FnOnce() + Send + 'static) -> Removal {
    let refused = |errno: Errno| {
        let (at, why) = (at.display(), errno.desc());
        tracing::error!(%at, "a socket cannot be taken away now: {why}; the next emperor tries again");
        Removal::Refused
    };
    match maker {
        Maker::Emperor => {
            work();
            Removal::Done
        }
        Maker::Tenant(uid, gid) => {
            let work = move |is_tenant: Result<(), Errno>| {
                if is_tenant.is_ok() {
                    work()
                }
            };
            errands
                .send((uid, gid), at, work)
                .map_or_else(refused, Removal::Begun)
        }
    }
}

/// Makes it, on a thread that ends soon or is the tenant.
fn make(trigger: &Trigger, maker: Maker) -> Result<Listener, Errno> {
    match trigger {
        Trigger::Unix { path, mode, uid, gid } => {
            if maker == Maker::Emperor {
                make_for(*uid, *gid)?;
            }
            let fd = unix(path, Mode::from_bits_truncate(*mode))?;
            Ok(Listener::new(fd, mark(trigger), maker))
        }
        Trigger::Tcp(address) => Ok(Listener::new(tcp(*address)?, None, maker)),
        Trigger::Packet => Err(Errno::EINVAL),
    }
}

/// The file that the socket of `trigger` has made.
fn mark(trigger: &Trigger) -> Option<Mark> {
    let Trigger::Unix { path, .. } = trigger else {
        return None;
    };
    let status = symlink_metadata(path).ok()?;
    Some(Mark {
        path: path.clone(),
        device: status.dev(),
        inode: status.ino(),
    })
}

/// Gives this thread, which ends soon, its own umask, and the ids that what it makes is to have.
fn make_for(uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_FS)?;
    umask(Mode::empty());
    // Neither call tells of an error; a user namespace without that id makes the socket the emperor's.
    gid.map(|gid| setfsgid(Gid::from_raw(gid)));
    uid.map(|uid| setfsuid(Uid::from_raw(uid)));
    // Another fsuid than root's has taken the right to write anywhere.
    let permitted = caps::read(None, CapSet::Permitted).map_err(|_| Errno::EPERM)?;
    caps::set(None, CapSet::Effective, &permitted).map_err(|_| Errno::EPERM)
}

fn unix(path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
    let fd = stream()?;
    // What the file that `bind` makes will have (unix_bind_bsd of net/unix/af_unix.c).
    fchmod(&fd, mode)?;
    let address = UnixAddr::new(path)?;
    let bound = match bind(fd.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) if is_abandoned(path, &address) => {
            std::fs::remove_file(path).map_err(|error| errno_of(&error))?;
            bind(fd.as_raw_fd(), &address)
        }
        bound => bound,
    };
    bound?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd)
}

/// Whether `path` is a socket that nobody listens on any more.
fn is_abandoned(path: &Path, address: &UnixAddr) -> bool {
    let is_socket = symlink_metadata(path).is_ok_and(|status| status.file_type().is_socket());
    // One whose queue is full is not waited for.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(probe) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else {
        return false;
    };
    is_socket && connect(probe.as_raw_fd(), address) == Err(Errno::ECONNREFUSED)
}

fn stream() -> Result<OwnedFd, Errno> {
    socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

fn tcp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let listener = TcpListener::bind(address).map_err(|error| errno_of(&error))?;
    Ok(listener.into())
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl Mark {
    fn remove(&self) {
        let same = |status: std::fs::Metadata| status.dev() == self.device && status.ino() == self.inode;
        if symlink_metadata(&self.path).is_ok_and(same) {
            // Gone is what was wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_socket_is_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let at = |path: &Path| Trigger::Unix {
            path: path.to_owned(),
            mode: 0o600,
            uid: None,
            gid: None,
        };
        let ours = unix(&path, Mode::S_IRUSR).unwrap();
        assert_eq!(listens_at(&ours, &at(&path)), Ok(true));
        assert_eq!(listens_at(&ours, &at(&directory.path().join("t"))), Ok(false));
        assert_eq!(
            listens_at(&stream().unwrap(), &at(&path)),
            Ok(false),
            "it does not listen"
        );
        let port = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = TcpListener::from(port.try_clone().unwrap()).local_addr().unwrap();
        assert_eq!(listens_at(&port, &Trigger::Tcp(address)), Ok(true));
        assert_eq!(
            listens_at(&port, &Trigger::Tcp("127.0.0.1:1".parse().unwrap())),
            Ok(false)
        );
        assert_ne!(listens_at(&port, &at(&path)), Ok(true), "of another family");
        assert!(
            listens_at(&std::fs::File::open("/").unwrap().into(), &at(&path)).is_err(),
            "no socket"
        );
    }
}
