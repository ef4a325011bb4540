//! Opens the tun that carries a port's packets, and says how much work frames may leave undone on it.
//!
//! A tun belongs to the network namespace of the thread that opens it; its fd works from everywhere. So a vassal's
//! tun is opened on a borrowed thread inside the vassal's namespace (`netns::inside`) and read by a router worker
//! outside. With offloads the kernel hands over super-frames of up to 64 KiB, each behind the 10 bytes of a virtio
//! header that says what is left to do: finish the checksum, cut into segments.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{c_int, c_uint};
use nix::net::if_::if_nametoindex;

use super::error::{Doing, HostError};
use crate::config::settings::Offload;
use crate::sys::tun as sys;

/// Length in bytes of the virtio header before every frame: `struct virtio_net_hdr` without `num_buffers`.
pub const HEADER_SIZE: c_int = 10;

/// Where the kernel hands out tuns.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// How long the tun of an emperor that has ended may be held.
const HELD: Duration = Duration::from_secs(10);

/// What a frame that was read from a tun may leave undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// The transport checksum may be unfinished.
    pub checksum: bool,
    /// A frame may be many TCP segments in one.
    pub tso: bool,
    /// A frame may be many UDP datagrams in one.
    pub uso: bool,
}

impl Offloads {
    /// Every frame is complete and at most the MTU long.
    pub const NONE: Self = Self {
        checksum: false,
        tso: false,
        uso: false,
    };
    /// What every kernel with virtio headers has.
    const TCP: Self = Self {
        checksum: true,
        tso: true,
        uso: false,
    };
    /// All of it (Linux 6.2).
    pub const ALL: Self = Self {
        checksum: true,
        tso: true,
        uso: true,
    };

    /// The same as TUNSETOFFLOAD counts it.
    fn bits(self) -> c_uint {
        [
            (self.checksum, sys::CHECKSUM),
            (self.tso, sys::TSO),
            (self.uso, sys::USO),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

impl std::fmt::Display for Offloads {
    /// `checksum,tso,uso`, or `off`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = [(self.checksum, "checksum"), (self.tso, "tso"), (self.uso, "uso")];
        let on: Vec<_> = words
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, word)| word)
            .collect();
        f.pad(&if on.is_empty() {
            "off".to_owned()
        } else {
            on.join(",")
        })
    }
}

/// An open tun: layer 3, a virtio header before every frame, little-endian, non-blocking, closed on exec.
#[derive(Debug)]
pub struct Tun {
    /// Reads and writes one frame a call.
    pub fd: OwnedFd,
    /// What the kernel agreed to.
    pub offloads: Offloads,
}

/// Makes the tun `device` in the calling thread's network namespace; with `persist` it outlives its fd.
///
/// # Errors
/// If an interface of that name exists (`EBUSY`: nobody's interface is taken), or the kernel refuses the tun
/// (`EPERM` without CAP_NET_ADMIN) or an offload that was demanded.
pub fn open(device: &str, offload: Offload, persist: bool) -> Result<Tun, HostError> {
    // The crate has no IFF_TUN_EXCL, so the name is looked up first: TUNSETIFF would attach to an idle tun.
    match if_nametoindex(device) {
        Ok(_) => Err(HostError::new(Doing::CreateTun, device, Errno::EBUSY)),
        Err(Errno::ENODEV) => {
            let fd = attach_or_create(Doing::CreateTun, device)?;
            furnish(Doing::CreateTun, device, fd, offload, persist)
        }
        Err(errno) => Err(HostError::new(Doing::CreateTun, device, errno)),
    }
}

/// Attaches to the persistent tun `device` with the number `index` in the calling thread's network namespace; it stays
/// persistent.
///
/// # Errors
/// If there is no such interface or it has another number (`ENODEV`), it is no tun (`EINVAL`), another program holds it
/// (`EBUSY`), or the kernel refuses an offload that was demanded.
pub fn adopt(device: &str, index: u32, offload: Offload) -> Result<Tun, HostError> {
    let failed = |errno| HostError::new(Doing::AttachTun, device, errno);
    let is_it = || match if_nametoindex(device).map_err(failed)? {
        found if found == index => Ok(()),
        _ => Err(failed(Errno::ENODEV)),
    };
    is_it()?;
    let fd = attach_or_create(Doing::AttachTun, device)?;
    // It may have gone in between, and TUNSETIFF makes what is not there. What was made goes with its descriptor.
    is_it()?;
    furnish(Doing::AttachTun, device, fd, offload, true)
}

/// Tries until the tun is not held any more: an emperor that has ended lets go of its lock before it lets go of its
/// tuns, because the kernel takes an `io_uring` apart when it has the time.
///
/// # Errors
/// What `attach` returns; `EBUSY` only after ten seconds.
pub async fn when_free<T, F: Future<Output = Result<T, HostError>>>(
    attach: impl Fn() -> F,
) -> Result<T, HostError> {
    let end = Instant::now() + HELD;
    loop {
        match attach().await {
            Err(error) if error.errno == Errno::EBUSY && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            result => return result,
        }
    }
}

/// The kernel's number of the interface `device` in the calling thread's network namespace.
///
/// # Errors
/// `ENODEV` if there is none.
pub fn index(device: &str) -> Result<u32, HostError> {
    if_nametoindex(device).map_err(|errno| HostError::new(Doing::FindLink, device, errno))
}

/// Lets the interface of `tun` outlive its last descriptor, or ends that.
///
/// # Errors
/// If it is attached to no interface any more.
pub fn set_persistent(tun: impl AsFd, persist: bool) -> Result<(), HostError> {
    sys::set_persist(tun.as_fd(), persist)
        .map_err(|errno| HostError::new(Doing::AttachTun, "an open tun", errno))
}

/// Goes on with an open tun of the emperor that this process was before its exec.
///
/// # Errors
/// If it is attached to no interface any more, or the kernel refuses an offload that was demanded.
pub fn inherit(fd: OwnedFd, offload: Offload) -> Result<Tun, HostError> {
    let failed = |errno| HostError::new(Doing::AttachTun, "an open tun", errno);
    prepare(fd.as_fd(), true).map_err(failed)?;
    let offloads = agree(fd.as_fd(), offload).map_err(failed)?;
    Ok(Tun { fd, offloads })
}

/// TUNSETIFF.
fn attach_or_create(doing: Doing, device: &str) -> Result<OwnedFd, HostError> {
    // Tells a missing or closed device file from a refused interface; the open itself changes nothing.
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(CLONE_DEVICE)
        .map_err(|error| HostError::from_io(Doing::OpenTunDevice, CLONE_DEVICE, &error))?;
    let mut wish = tun::Configuration::default();
    wish.tun_name(device)
        .layer(tun::Layer::L3)
        .platform_config(|linux| {
            linux.ensure_root_privileges(false).vnet_hdr(true);
        });
    tun::create(&wish).map(sys::into_fd).map_err(|error| {
        let errno = std::io::Error::from(error)
            .raw_os_error()
            .map_or(Errno::EINVAL, Errno::from_raw);
        HostError::new(doing, device, errno)
    })
}

/// What must follow; sets everything, because a persistent device remembers its last owner's wishes.
fn furnish(
    doing: Doing,
    device: &str,
    fd: OwnedFd,
    offload: Offload,
    persist: bool,
) -> Result<Tun, HostError> {
    prepare(fd.as_fd(), persist).map_err(|errno| HostError::new(doing, device, errno))?;
    let offloads =
        agree(fd.as_fd(), offload).map_err(|errno| HostError::new(Doing::SetOffload, device, errno))?;
    Ok(Tun { fd, offloads })
}

/// Non-blocking, header of ten little-endian bytes, persistence.
fn prepare(tun: BorrowedFd<'_>, persist: bool) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(tun, FcntlArg::F_GETFL)?);
    fcntl(tun, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    sys::set_header_size(tun, HEADER_SIZE)?;
    sys::set_little_endian(tun)?;
    sys::set_persist(tun, persist)
}

/// The most that `offload` allows and the kernel takes.
fn agree(tun: BorrowedFd<'_>, offload: Offload) -> Result<Offloads, Errno> {
    let wishes: &[Offloads] = match offload {
        Offload::Auto => &[Offloads::ALL, Offloads::TCP, Offloads::NONE],
        Offload::On => &[Offloads::ALL],
        Offload::Off => &[Offloads::NONE],
    };
    let mut refused = Errno::EINVAL;
    for wish in wishes {
        match sys::set_offload(tun, wish.bits()) {
            Ok(()) => return Ok(*wish),
            Err(Errno::EINVAL) => refused = Errno::EINVAL,
            Err(errno) => return Err(errno),
        }
    }
    Err(refused)
}
