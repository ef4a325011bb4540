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
use std::thread::JoinHandle;

use caps::CapSet;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockname,
    getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::ledger::Entry;
use crate::config::definition::Trigger;
use crate::host::error::{Doing, HostError};
use crate::host::init;
use crate::sys::process::{become_on_this_thread, take_descriptor};

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

/// Listens as `trigger` says, and hands the outcome to `then`: an error if the kernel refuses, or somebody else listens
/// there. What comes back ends with its answer.
///
/// # Errors
/// If there is no thread to do it; then `then` is not called.
pub(super) fn open<T: Send + 'static>(
    trigger: &Trigger,
    maker: Maker,
    then: impl FnOnce(Result<Listener, HostError>) -> T + Send + 'static,
) -> Result<JoinHandle<T>, HostError> {
    let (on, trigger) = (place(trigger), trigger.clone());
    let place = on.clone();
    let opens = move || {
        let made = make(&trigger, maker);
        then(made.map_err(|errno| HostError::new(Doing::Listen, on, errno)))
    };
    std::thread::Builder::new()
        .name("listen".to_owned())
        .spawn(opens)
        .map_err(|error| HostError::from_io(Doing::Listen, place, &error))
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

    /// Whether it has made a file, or has none any more.
    pub(super) fn has_file(&self) -> bool {
        self.mark.is_some()
    }

    /// It is written down there.
    pub(super) fn entered(self, entry: Option<Entry>) -> Self {
        Self { entry, ..self }
    }

    /// Takes out where it is written down.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        self.entry.take()
    }

    /// Removes what lies at its path, if that is still this socket. What comes back ends when it is done.
    pub(super) fn close(self) -> Option<JoinHandle<()>> {
        let mark = self.mark?;
        as_maker(self.maker, move || mark.remove())
    }
}

/// Removes the socket of `trigger` that an emperor left which was killed. What comes back ends when it is done.
pub(super) fn clear(trigger: &Trigger, maker: Maker) -> Option<JoinHandle<()>> {
    let Trigger::Unix { path, .. } = trigger else {
        return None;
    };
    let path = path.clone();
    as_maker(maker, move || {
        if UnixAddr::new(&path).is_ok_and(|address| is_abandoned(&path, &address)) {
            // Gone is what was wanted.
            let _ = std::fs::remove_file(&path);
        }
    })
}

/// Does what only the maker of a socket may do to it. The emperor's own are done with when this returns: before it is
/// written down that there is no such socket any more. A tenant's way may lead anywhere, and nobody waits for it.
fn as_maker(maker: Maker, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    match maker {
        Maker::Emperor => {
            work();
            None
        }
        Maker::Tenant(..) => std::thread::Builder::new()
            .name("listen".to_owned())
            .spawn(move || {
                if become_maker(maker, None, None).is_ok() {
                    work();
                }
            })
            .ok(),
    }
}

fn make(trigger: &Trigger, maker: Maker) -> Result<Listener, Errno> {
    match trigger {
        Trigger::Unix { path, mode, uid, gid } => {
            become_maker(maker, *uid, *gid)?;
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

/// Gives this thread, which ends soon, its own umask and the maker's rights.
fn become_maker(maker: Maker, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_FS)?;
    umask(Mode::empty());
    match maker {
        Maker::Tenant(uid, gid) => become_on_this_thread(uid, gid),
        Maker::Emperor => {
            // Neither call tells of an error; a user namespace without that id makes the socket the emperor's.
            gid.map(|gid| setfsgid(Gid::from_raw(gid)));
            uid.map(|uid| setfsuid(Uid::from_raw(uid)));
            // Another fsuid than root's has taken the right to write anywhere.
            let permitted = caps::read(None, CapSet::Permitted).map_err(|_| Errno::EPERM)?;
            caps::set(None, CapSet::Effective, &permitted).map_err(|_| Errno::EPERM)
        }
    }
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
