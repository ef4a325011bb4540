//! The ioctls of a tun that no library offers.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};

/// Request numbers of `linux/if_tun.h`; nix makes each an unsafe function.
mod request {
    #![allow(missing_docs, unreachable_pub, reason = "made by nix's macros")]
    use nix::libc::c_int;

    nix::ioctl_write_int!(set_persist, b'T', 203);
    nix::ioctl_write_int!(set_offload, b'T', 208);
    nix::ioctl_write_ptr!(set_header_size, b'T', 216, c_int);
    nix::ioctl_write_ptr!(set_little_endian, b'T', 220, c_int);
}

/// Checksums may be left to the receiver.
pub const CHECKSUM: c_uint = libc::TUN_F_CSUM;
/// TCP segments may cross as one super-frame (needs [`CHECKSUM`]).
pub const TSO: c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
/// UDP datagrams of one flow may cross as one super-frame (needs [`CHECKSUM`], Linux 6.2).
pub const USO: c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Takes the fd out of a device that the `tun` crate has made.
pub fn into_fd(device: tun::Device) -> OwnedFd {
    let fd = device.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the only ownership of this open fd.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets which of [`CHECKSUM`], [`TSO`] and [`USO`] the reader of `tun` takes; 0 = none.
///
/// # Errors
/// `EINVAL` if this kernel lacks one of them.
pub fn set_offload(tun: BorrowedFd<'_>, offload: c_uint) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    unsafe { request::set_offload(tun.as_raw_fd(), offload.into()) }.map(drop)
}

/// Sets the length in bytes of the header that precedes every frame.
///
/// # Errors
/// `EINVAL` below the 10 bytes of `struct virtio_net_hdr`.
pub fn set_header_size(tun: BorrowedFd<'_>, bytes: c_int) -> Result<(), Errno> {
    // SAFETY: `bytes` outlives the call and TUNSETVNETHDRSZ only reads it.
    unsafe { request::set_header_size(tun.as_raw_fd(), &raw const bytes) }.map(drop)
}

/// Makes the fields of that header little-endian on every machine.
///
/// # Errors
/// `EBADFD` if `tun` is attached to no interface.
pub fn set_little_endian(tun: BorrowedFd<'_>) -> Result<(), Errno> {
    let on: c_int = 1;
    // SAFETY: `on` outlives the call and TUNSETVNETLE only reads it.
    unsafe { request::set_little_endian(tun.as_raw_fd(), &raw const on) }.map(drop)
}

/// Lets the interface outlive the last fd, or ends that.
///
/// # Errors
/// `EBADFD` if `tun` is attached to no interface.
pub fn set_persist(tun: BorrowedFd<'_>, persist: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETPERSIST takes its argument by value and touches no memory of ours.
    unsafe { request::set_persist(tun.as_raw_fd(), u64::from(persist)) }.map(drop)
}
