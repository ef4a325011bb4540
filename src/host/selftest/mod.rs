//! Whether offloads do on this kernel what they promise; asked before the first tun relies on them.
//!
//! ```text
//!   a namespace of its own, on a borrowed thread
//!
//!   frame ──▶ test0 ──▶ forwarded ──▶ test1 (all offloads)  ──▶ the same frame, whole
//!                                └──▶ test2 (no offloads)   ──▶ the pieces that we would cut
//! ```
//!
//! Kernels have shipped that corrupt or refuse super-frames of some shapes (equal tail, short tail, one segment only).
//! Each shape, of TCP and UDP over both families, goes both ways; what comes out is compared byte by byte, checksums
//! included, with what [`Pieces`] makes of what went in.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{read, write};
use tokio::sync::oneshot;

use crate::config::settings::Offload;
use crate::packet::{Frame, MAX_FRAME, Pieces};

use super::error::{Doing, HostError};
use super::forwarding;
use super::link::{self, LinkPlan};
use super::tun::{self, Offloads};

mod shapes;

use shapes::Shape;

/// A frame that has not come out by then never will: it is forwarded within the write.
const PATIENCE: Duration = Duration::from_millis(500);
/// Frames that a test link may hold: more than the pieces of the longest shape.
const QUEUE_LENGTH: u32 = 100;

/// What the test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Everything is as promised.
    Sound(Offloads),
    /// This shape did not come out as it should.
    Defect(String),
    /// The test could not be made, which says nothing about offloads.
    Untested(HostError),
}

/// Which offloads to use, when `wish` is what the operator wants.
///
/// # Errors
/// If they were demanded and this kernel breaks frames.
pub async fn decide(wish: Offload) -> Result<Offload, HostError> {
    if wish == Offload::Off {
        return Ok(wish);
    }
    match run().await {
        Finding::Sound(offloads) => tracing::debug!(%offloads, "offloads tested"),
        Finding::Untested(error) => tracing::warn!("{error}; they are used untested"),
        Finding::Defect(defect) if wish == Offload::On => {
            return Err(HostError::new(
                Doing::TestOffload,
                format!("this kernel ({defect})"),
                Errno::EPROTO,
            ));
        }
        Finding::Defect(defect) => {
            tracing::warn!(%defect, "this kernel breaks super-frames: offloads are off, and the router is slower");
            return Ok(Offload::Off);
        }
    }
    Ok(wish)
}

/// Asks the kernel; takes some milliseconds.
pub async fn run() -> Finding {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("selftest".to_owned())
        .spawn(move || drop(answer.send(test().unwrap_or_else(Finding::Untested))));
    if let Err(error) = thread {
        return Finding::Untested(HostError::from_io(Doing::TestOffload, "this kernel", &error));
    }
    let lost = || {
        Finding::Untested(HostError::new(
            Doing::TestOffload,
            "this kernel",
            Errno::ECANCELED,
        ))
    };
    answered.await.unwrap_or_else(|_| lost())
}

/// The links of the test.
struct Bench {
    input: OwnedFd,
    whole: OwnedFd,
    cut: OwnedFd,
    offloads: Offloads,
    /// Whether this kernel has IPv6.
    v6: bool,
}

/// All of it, on a thread that ends afterwards and takes the namespace with it.
fn test() -> Result<Finding, HostError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| HostError::new(Doing::TestOffload, "this kernel", errno))?;
    let bench = Bench::set_up()?;
    for shape in shapes::all(bench.offloads.uso, bench.v6) {
        if let Err(defect) = bench.try_out(&shape)? {
            return Ok(Finding::Defect(format!("{shape}: {defect}")));
        }
    }
    Ok(Finding::Sound(bench.offloads))
}

impl Bench {
    fn set_up() -> Result<Self, HostError> {
        let v6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
        forwarding::enable(true, v6)?;
        let input = tun::open("test0", Offload::Auto, false)?;
        let whole = tun::open("test1", Offload::Auto, false)?;
        let cut = tun::open("test2", Offload::Off, false)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| HostError::from_io(Doing::TestOffload, "this kernel", &e))?;
        for (device, addresses) in [
            ("test0", shapes::INPUT),
            ("test1", shapes::WHOLE),
            ("test2", shapes::CUT),
        ] {
            let plan = LinkPlan {
                device: device.to_owned(),
                addresses: addresses
                    .iter()
                    .filter_map(|text| text.parse::<IpNet>().ok())
                    .filter(|net| v6 || matches!(net, IpNet::V4(_)))
                    .collect(),
                mtu: 1500,
                queue_length: QUEUE_LENGTH,
                gateways: Vec::new(),
                loopback: false,
            };
            runtime.block_on(async { link::configure(link::route_socket(device)?, &plan).await })?;
            // A new namespace may have inherited another answer for its links than the one for all.
            forward(device)?;
        }
        Ok(Self {
            input: input.fd,
            whole: whole.fd,
            cut: cut.fd,
            offloads: whole.offloads,
            v6,
        })
    }

    /// The inner error is the kernel's fault, the outer one nobody's.
    fn try_out(&self, shape: &Shape) -> Result<Result<(), String>, HostError> {
        for (output, whole) in [(&self.whole, true), (&self.cut, false)] {
            let sent = shape.frame(whole);
            match write(&self.input, &sent) {
                Ok(_) => {}
                Err(errno @ (Errno::EINVAL | Errno::EIO | Errno::EPROTO | Errno::EOPNOTSUPP)) => {
                    return Ok(Err(format!("refused: {}", errno.desc())));
                }
                Err(errno) => return Err(HostError::new(Doing::TestOffload, "this kernel", errno)),
            }
            if let Err(defect) = arrives(output, &forwarded(&sent), whole) {
                return Ok(Err(defect));
            }
        }
        Ok(Ok(()))
    }
}

/// Whether just what stands for `sent` comes out: one frame if `whole`, else its pieces.
fn arrives(output: &OwnedFd, sent: &[u8], whole: bool) -> Result<(), String> {
    let mut got = vec![0; MAX_FRAME];
    let mut expected = pieces(sent);
    expected.reverse();
    while !expected.is_empty() {
        let length = receive(output, &mut got, PATIENCE)?.ok_or("nothing came out")?;
        let frame = got.get(..length).unwrap_or_default();
        let came = if whole {
            pieces(frame)
        } else {
            vec![frame.to_vec()]
        };
        compare(came, &mut expected)?;
        if whole && !expected.is_empty() {
            return Err("it came out in several frames".to_owned());
        }
    }
    match receive(output, &mut got, Duration::ZERO)? {
        Some(_) => Err("more came out than went in".to_owned()),
        None => Ok(()),
    }
}

/// Forwards what comes in by `device`.
fn forward(device: &str) -> Result<(), HostError> {
    for family in ["ipv4", "ipv6"] {
        let setting = format!("/proc/sys/net/{family}/conf/{device}/forwarding");
        match std::fs::write(&setting, "1") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(HostError::from_io(Doing::SetForwarding, setting, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Takes what came from the end of what is expected.
fn compare(came: Vec<Vec<u8>>, expected: &mut Vec<Vec<u8>>) -> Result<(), String> {
    if came.is_empty() {
        return Err("what came out is no packet".to_owned());
    }
    for piece in came {
        let wanted = expected.pop().ok_or("more came out than went in")?;
        if same(&piece, &wanted) {
            continue;
        }
        let at = piece.iter().zip(&wanted).position(|(a, b)| a != b);
        let at = at.unwrap_or(piece.len().min(wanted.len()));
        return Err(format!(
            "a piece of {} bytes came out as {} bytes that differ from byte {at} on",
            wanted.len(),
            piece.len()
        ));
    }
    Ok(())
}

/// Equal but for the virtio header, which may say that a checksum has been verified.
fn same(piece: &[u8], wanted: &[u8]) -> bool {
    let packet = crate::packet::VNET_HEADER..;
    piece.get(packet.clone()) == wanted.get(packet)
}

/// The frame as it is after one hop.
fn forwarded(sent: &[u8]) -> Vec<u8> {
    let mut frame = sent.to_vec();
    if let Ok(mut judged) = Frame::parse(&mut frame) {
        judged.decrement_ttl();
    }
    frame
}

fn pieces(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut out = vec![0; MAX_FRAME];
    let mut all = Vec::new();
    if let Ok(mut pieces) = Pieces::of(frame) {
        while let Some(length) = pieces.next_into(&mut out) {
            all.push(out.get(..length).unwrap_or_default().to_vec());
        }
    }
    all
}

/// The next frame of a shape, if one comes in time; the kernel's own, such as neighbour discovery, are passed over.
fn receive(from: &OwnedFd, into: &mut [u8], patience: Duration) -> Result<Option<usize>, String> {
    loop {
        match read(from, into) {
            Ok(length) if shapes::is_ours(into.get(..length).unwrap_or_default()) => return Ok(Some(length)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut events = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
                match poll(&mut events, timeout) {
                    Ok(0) => return Ok(None),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.desc().to_owned()),
                }
            }
            Err(errno) => return Err(format!("cannot be read: {}", errno.desc())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_frame_and_differs_from_none_but_itself() {
        for shape in shapes::all(true, true) {
            let frame = shape.frame(false);
            let mut expected = pieces(&frame);
            assert!(!expected.is_empty(), "{shape}");
            expected.reverse();
            compare(pieces(&frame), &mut expected).unwrap();
            assert!(expected.is_empty(), "{shape}");
        }
    }

    #[test]
    fn a_flipped_bit_a_lost_piece_and_a_piece_too_many_are_found() {
        let shape = shapes::all(true, true).remove(0);
        let whole = pieces(&shape.frame(true));
        for at in 10..whole[0].len() {
            let mut came = whole.clone();
            came[0][at] ^= 1;
            let mut expected: Vec<_> = whole.iter().rev().cloned().collect();
            let defect = compare(came, &mut expected).unwrap_err();
            assert!(defect.contains(&format!("byte {at} on")), "{defect}");
        }
        let doubled = [whole.clone(), whole.clone()].concat();
        let mut expected: Vec<_> = whole.iter().rev().cloned().collect();
        assert!(compare(doubled, &mut expected).is_err());
        assert!(compare(Vec::new(), &mut whole.clone()).is_err());
    }
}
