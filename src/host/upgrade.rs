//! Another binary in place of the running emperor: same pid, same children, same devices.
//!
//! ```text
//!   mini-emperor upgrade                        the emperor
//!     judges the settings, writes
//!     upgrade.json {binary}
//!     SIGUSR2 ───────────────────────────────▶  opens the binary, checks whose it is
//!                                               waits until no birth or hook is under way
//!                                               stands still, writes every record
//!                                               exec, with the lock and the tuns open
//!                                               adopts, as after a crash
//!     emperor.json is another ◀───────────────  ready
//! ```
//!
//! The tuns stay open over the exec, so packets wait in them instead of being lost. What an exec cannot carry
//! goes the way it goes after a crash. If the exec fails the emperor goes on as if nothing had been asked.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::config::Places;
use crate::sys;
use crate::sys::process::{exec_open_file, send_signal};

use super::descriptors;
use super::rootless::Station;
use super::state::{read_json, write_json};

/// Names the file that one image of the emperor leaves for the next.
const VARIABLE: &str = "MINI_EMPEROR_HANDOVER";

/// What `mini-emperor upgrade` asks for, and why it does not get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The new binary.
    pub binary: PathBuf,
    /// Why it was refused; absent while nothing is decided.
    pub refused: Option<String>,
}

impl Request {
    /// Where it lies.
    pub fn path(run: &Path) -> PathBuf {
        run.join("upgrade.json")
    }

    /// The pending one.
    pub fn read(run: &Path) -> Option<Self> {
        read_json(&Self::path(run))
    }

    /// Asks, or answers.
    pub fn write(&self, run: &Path) -> Result<(), super::HostError> {
        write_json(&Self::path(run), self)
    }

    /// Opens the binary. It must belong to root or to the emperor's own user, and nobody else may write to it:
    /// judged by the open file, which is what is executed.
    pub fn open(&self) -> Result<File, String> {
        let name = self.binary.display();
        let file = File::open(&self.binary).map_err(|error| format!("{name}: {error}"))?;
        let about = file.metadata().map_err(|error| format!("{name}: {error}"))?;
        if !about.is_file() || about.mode() & 0o111 == 0 {
            return Err(format!("{name} is no program"));
        }
        if ![0, Uid::effective().as_raw()].contains(&about.uid()) {
            return Err(format!(
                "{name} belongs to uid {}, neither to root nor to the emperor's user; chown it",
                about.uid()
            ));
        }
        if about.mode() & 0o022 != 0 {
            return Err(format!("others may write to {name}; chmod go-w it"));
        }
        Ok(file)
    }
}

/// Has the emperor look for a request.
///
/// # Errors
/// `ESRCH` if it has ended, `EPERM` if it is somebody else's.
pub fn ask(emperor: impl AsFd) -> Result<(), Errno> {
    send_signal(emperor, libc::SIGUSR2)
}

/// Which emperor is ready, for whoever waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its binary.
    pub binary: PathBuf,
    /// How many images of the program this process has been.
    pub image: u64,
}

impl Ready {
    /// Where it lies.
    pub fn path(run: &Path) -> PathBuf {
        run.join("emperor.json")
    }

    /// The one that is ready.
    pub fn read(run: &Path) -> Option<Self> {
        read_json(&Self::path(run))
    }

    /// Says that this process is.
    pub fn write(run: &Path, image: u64) -> Result<(), super::HostError> {
        let ready = Self {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary: std::env::current_exe().unwrap_or_default(),
            image,
        };
        write_json(&Self::path(run), &ready)
    }
}

/// What one image of the emperor leaves for the next, in a file; descriptors by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// Who may take it.
    pid: u32,
    /// How many images there have been.
    pub image: u64,
    /// Who the emperor is: after a user namespace was made the new image could not tell.
    pub station: Station,
    /// Where things lie, for the same reason.
    pub places: Places,
    /// The run directory.
    pub run_directory: PathBuf,
    lock: RawFd,
    uplink: RawFd,
    tuns: BTreeMap<u64, RawFd>,
    #[serde(default)]
    listeners: BTreeMap<String, RawFd>,
    #[serde(default)]
    nofile: Option<u64>,
}

/// The descriptors of a [`Handover`], owned.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The lock on the run directory.
    pub lock: Option<OwnedFd>,
    /// The uplink's tun.
    pub uplink: Option<OwnedFd>,
    /// The vassals' tuns by the number of the life.
    pub tuns: BTreeMap<u64, OwnedFd>,
    /// The sockets at which clients are waited for, by the vassal's name.
    pub listeners: BTreeMap<String, OwnedFd>,
}

impl Handover {
    /// What this process left for itself before its exec; `None` if it has just been started.
    pub fn take() -> Option<(Self, Inherited)> {
        let path = PathBuf::from(std::env::var_os(VARIABLE)?);
        let handover: Self = read_json(&path)?;
        // A child that was given the whole environment is not meant.
        if handover.pid != std::process::id() {
            return None;
        }
        let _ = std::fs::remove_file(&path);
        // Before Linux 6.14 a program that is executed by descriptor is named by its number.
        let _ = nix::sys::prctl::set_name(c"mini-emperor");
        let own = |number: RawFd| {
            let fd = sys::adopt(number)?;
            set_inherited(fd.as_fd(), false).ok()?;
            Some(fd)
        };
        let inherited = Inherited {
            lock: own(handover.lock),
            uplink: own(handover.uplink),
            tuns: handover
                .tuns
                .iter()
                .filter_map(|(life, number)| Some((*life, own(*number)?)))
                .collect(),
            listeners: handover
                .listeners
                .iter()
                .filter_map(|(name, number)| Some((name.clone(), own(*number)?)))
                .collect(),
        };
        Some((handover, inherited))
    }

    /// What this process goes on as.
    pub fn image(&self) -> Image {
        Image {
            number: self.image,
            station: self.station,
            places: self.places.clone(),
            run_directory: Some(self.run_directory.clone()),
            nofile: self.nofile.or_else(descriptors::raise),
        }
    }
}

/// All that must be open in the next image.
pub struct Luggage<'a> {
    /// The lock on the run directory.
    pub lock: BorrowedFd<'a>,
    /// The uplink's tun.
    pub uplink: BorrowedFd<'a>,
    /// The vassals' tuns by the number of the life.
    pub tuns: BTreeMap<u64, BorrowedFd<'a>>,
    /// The sockets at which clients are waited for, by the vassal's name.
    pub listeners: BTreeMap<String, BorrowedFd<'a>>,
}

/// Who this image is.
#[derive(Debug, Clone)]
pub struct Image {
    /// How many there were before in this process.
    pub number: u64,
    /// Root, or root of a namespace of its own.
    pub station: Station,
    /// Where things lie.
    pub places: Places,
    /// The run directory of the images before, whatever the settings say now.
    pub run_directory: Option<PathBuf>,
    /// The soft limit of open descriptors that the first was given.
    pub nofile: Option<u64>,
}

/// Becomes `binary`, with the same arguments and environment. Returns only if that fails, and then with every
/// descriptor and signal as it was.
pub fn become_image(binary: &File, run: &Path, image: &Image, luggage: &Luggage<'_>) -> String {
    let path = run.join("handover.json");
    let handover = Handover {
        pid: std::process::id(),
        image: image.number + 1,
        station: image.station,
        places: image.places.clone(),
        run_directory: run.to_owned(),
        lock: luggage.lock.as_raw_fd(),
        uplink: luggage.uplink.as_raw_fd(),
        tuns: luggage
            .tuns
            .iter()
            .map(|(life, fd)| (*life, fd.as_raw_fd()))
            .collect(),
        listeners: luggage
            .listeners
            .iter()
            .map(|(name, fd)| (name.clone(), fd.as_raw_fd()))
            .collect(),
        nofile: image.nofile,
    };
    if let Err(error) = write_json(&path, &handover) {
        return error.to_string();
    }
    let fds: Vec<_> = [luggage.lock, luggage.uplink]
        .into_iter()
        .chain(luggage.tuns.values().copied())
        .chain(luggage.listeners.values().copied())
        .collect();
    let errno = match inherit(&fds, true) {
        // A signal that comes before the next image listens waits for it.
        Ok(()) => with_signals_blocked(|| exec_open_file(binary, &arguments(), &environment(&path))),
        Err(errno) => errno,
    };
    // Cannot fail for open descriptors; and vassals close all that they are not given.
    let _ = inherit(&fds, false);
    let _ = std::fs::remove_file(&path);
    format!("executing it: {} ({errno:?})", errno.desc())
}

fn inherit(fds: &[BorrowedFd<'_>], inherited: bool) -> Result<(), Errno> {
    fds.iter().try_for_each(|fd| set_inherited(*fd, inherited))
}

fn set_inherited(fd: BorrowedFd<'_>, inherited: bool) -> Result<(), Errno> {
    let flags = if inherited {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop)
}

/// The signals that an emperor obeys.
pub(super) fn obeyed() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGWINCH,
        Signal::SIGURG,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ]
    .into_iter()
    .collect()
}

fn with_signals_blocked(exec: impl FnOnce() -> Errno) -> Errno {
    if let Err(errno) = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&obeyed()), None) {
        return errno;
    }
    let errno = exec();
    let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&obeyed()), None);
    errno
}

/// Hears from here on what the last image blocked; to be called once this one listens.
pub fn unblock_signals() {
    // Refused only for a signal number that does not exist.
    let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&obeyed()), None);
}

fn arguments() -> Vec<CString> {
    std::env::args_os()
        .filter_map(|text| CString::new(text.into_vec()).ok())
        .collect()
}

fn environment(handover: &Path) -> Vec<CString> {
    let own = (VARIABLE.into(), handover.as_os_str().to_owned());
    std::env::vars_os()
        .filter(|(key, _)| key != VARIABLE)
        .chain([own])
        .filter_map(|(key, value)| {
            let mut text = key.into_vec();
            text.push(b'=');
            text.extend(value.into_vec());
            CString::new(text).ok()
        })
        .collect()
}
