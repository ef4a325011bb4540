//! What the design takes for granted about the kernel, each fact alone: if one of these fails, look here first.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "system calls without a library; a test that cannot look has failed"
)]

#[path = "../namespace/mod.rs"]
mod namespace;
mod processes;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mini_emperor::config::settings::Offload;
use mini_emperor::host::link::{LinkPlan, configure, route_socket};
use mini_emperor::host::netns;
use mini_emperor::host::tun::{self, Offloads, Tun};
use namespace::{alone, block_on, wait_until, within};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use rtnetlink::LinkUnspec;

/// Bytes of the virtio header before every frame.
const HEADER: usize = 10;
/// The longest frame with its header.
const FRAME: usize = HEADER + 65536;
/// `VIRTIO_NET_HDR_GSO_NONE`.
const GSO_NONE: u8 = 0;

/// A namespace with one configured tun.
struct Place {
    ns: OwnedFd,
    tun: Tun,
}

fn link(addresses: &[&str]) -> LinkPlan {
    LinkPlan {
        device: "tun0".to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        mtu: 1500,
        queue_length: 500,
        gateways: Vec::new(),
        loopback: true,
    }
}

/// Makes a namespace whose tun has `addresses`.
fn place(addresses: &'static [&'static str], persist: bool) -> Place {
    alone(move || {
        let tun = tun::open("tun0", Offload::Auto, persist).unwrap();
        block_on(configure(route_socket("test").unwrap(), &link(addresses))).unwrap();
        Place {
            ns: netns::current().unwrap(),
            tun,
        }
    })
}

/// The next frame with its header, if one is queued.
fn next_frame(tun: &Tun) -> Option<Vec<u8>> {
    let mut frame = vec![0; FRAME];
    match read(&tun.fd, &mut frame) {
        Ok(length) => {
            frame.truncate(length);
            Some(frame)
        }
        Err(Errno::EAGAIN) => None,
        Err(errno) => panic!("reading the tun: {errno}"),
    }
}

/// Waits for a frame.
fn frame(tun: &Tun) -> Vec<u8> {
    let mut found = None;
    wait_until("a frame", || {
        found = next_frame(tun);
        if found.is_some() { Ok(()) } else { Err("nothing") }
    });
    found.unwrap()
}

/// The names of the interfaces in this thread's namespace, as one text.
fn interfaces() -> String {
    fs::read_to_string("/proc/thread-self/net/dev").unwrap()
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_tun_fd_works_from_outside_its_namespace() {
    let place = place(&["10.9.0.1/24"], false);
    let socket = within(&place.ns, || UdpSocket::bind("10.9.0.1:4000").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"hello", "10.9.0.2:5000").unwrap();
    let mut sent = frame(&place.tun);
    assert!(!interfaces().contains("tun0:"), "this thread must be elsewhere");
    // Swapping both addresses and both ports leaves every checksum right.
    let packet = &mut sent[HEADER..];
    for (one, other, length) in [(12, 16, 4), (20, 22, 2)] {
        for byte in 0..length {
            packet.swap(one + byte, other + byte);
        }
    }
    assert_eq!(write(&place.tun.fd, &sent), Ok(sent.len()));
    let mut heard = [0; 16];
    let (length, from) = socket.recv_from(&mut heard).unwrap();
    assert_eq!(
        (&heard[..length], from.to_string().as_str()),
        (&b"hello"[..], "10.9.0.2:5000")
    );
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_persistent_tun_keeps_addresses_and_routes_without_a_holder() {
    let Place { ns, tun } = place(&["10.9.0.1/24", "fd00:9::1/64"], true);
    drop(tun);
    let tun = within(&ns, || {
        let routes = fs::read_to_string("/proc/thread-self/net/route").unwrap();
        // 10.9.0.0 as a little-endian machine prints it.
        assert!(
            routes.contains("tun0\t0009") || routes.contains("tun0\t0000090A"),
            "{routes}"
        );
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        assert!(
            addresses.contains("fd000009000000000000000000000001"),
            "{addresses}"
        );
        tun::adopt("tun0", tun::index("tun0").unwrap(), Offload::Auto).unwrap()
    });
    // Traffic goes on: the address is still there to be bound, and the packet comes out of the new fd.
    let socket = within(&ns, || UdpSocket::bind("10.9.0.1:4000").unwrap());
    socket.send_to(b"hello", "10.9.0.2:5000").unwrap();
    assert_eq!(frame(&tun)[HEADER + 16..HEADER + 20], [10, 9, 0, 2]);
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn closing_a_tun_that_is_not_persistent_removes_it() {
    alone(|| {
        let tun = tun::open("tun0", Offload::Auto, false).unwrap();
        assert!(interfaces().contains("tun0:"));
        drop(tun);
        wait_until("tun0 to go", || match interfaces() {
            names if names.contains("tun0:") => Err(names),
            _ => Ok(()),
        });
    });
}

nix::ioctl_none!(
    /// TUNGETDEVNETNS of linux/if_tun.h.
    tun_namespace,
    b'T',
    227
);

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_tun_fd_keeps_the_namespace_of_a_dead_process() {
    let mut maker = Command::new("unshare")
        .args(["--net", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let own = netns::inode(netns::current().unwrap()).unwrap();
    let path = format!("/proc/{}/ns/net", maker.id());
    let mut ns = File::open(&path).unwrap();
    wait_until("unshare", || {
        ns = File::open(&path).unwrap();
        if netns::inode(&ns).unwrap() == own {
            Err("still ours")
        } else {
            Ok(())
        }
    });
    let inode = netns::inode(&ns).unwrap();
    let (tun, socket) = within(&ns.into(), || {
        (
            tun::open("tun0", Offload::Auto, false).unwrap(),
            route_socket("test").unwrap(),
        )
    });
    drop(maker.stdin.take());
    maker.wait().unwrap();
    // SAFETY: TUNGETDEVNETNS has no argument; it answers with a new fd.
    let fd = unsafe { tun_namespace(tun.fd.as_raw_fd()) }.unwrap();
    // SAFETY: the kernel has just made this fd for us and nobody else knows it.
    let ns = unsafe { OwnedFd::from_raw_fd(fd) };
    assert_eq!(netns::inode(&ns).unwrap(), inode);
    block_on(async { configure(socket, &link(&["10.9.0.1/24"])).await }).unwrap();
}

/// Copies every frame from each tun to the other until `stop`; returns the lengths and GSO types that were seen.
fn relay(left: &Tun, right: &Tun, stop: &AtomicBool) -> Vec<(usize, u8)> {
    let mut seen = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [
            PollFd::new(left.fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(right.fd.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut ready, PollTimeout::from(20u8)).unwrap();
        for (from, to) in [(left, right), (right, left)] {
            while let Some(frame) = next_frame(from) {
                seen.push((frame.len() - HEADER, frame[1]));
                assert_eq!(write(&to.fd, &frame), Ok(frame.len()));
            }
        }
    }
    seen
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_super_frame_crosses_from_tun_to_tun_by_read_and_write() {
    const AMOUNT: usize = 4 << 20;
    let (left, right) = (place(&["10.9.0.1/24"], false), place(&["10.9.0.2/24"], false));
    assert_eq!(
        (left.tun.offloads, right.tun.offloads),
        (Offloads::ALL, Offloads::ALL)
    );
    let listener = within(&right.ns, || TcpListener::bind("10.9.0.2:4000").unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = Arc::clone(&stop);
    let Place { ns, tun } = left;
    let relaying = std::thread::spawn(move || relay(&tun, &right.tun, &stopper));
    let sending = std::thread::spawn(move || {
        let mut stream = within(&ns, || TcpStream::connect("10.9.0.2:4000").unwrap());
        stream.write_all(&pattern(AMOUNT)).unwrap();
    });
    listener.set_nonblocking(true).unwrap();
    let mut accepted = Err(std::io::ErrorKind::WouldBlock.into());
    wait_until("a connection", || {
        accepted = listener.accept();
        accepted.as_ref().map(drop).map_err(std::io::Error::kind)
    });
    let mut stream = accepted.unwrap().0;
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    let seen = relaying.join().unwrap();
    assert!(received == pattern(AMOUNT), "the bytes changed on the way");
    let whole = seen
        .iter()
        .filter(|(length, gso)| *length > 1500 && *gso != GSO_NONE)
        .count();
    assert!(whole > 10, "{whole} super-frames among {} frames", seen.len());
}

/// Bytes without a short period.
fn pattern(amount: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(amount)
        .collect()
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn all_offloads_with_udp_segmentation_are_accepted() {
    let offloads = alone(|| tun::open("tun0", Offload::On, false).unwrap().offloads);
    assert_eq!(offloads, Offloads::ALL);
}

/// What of IPv6's own chatter was seen on a link.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chatter {
    router_solicitation: bool,
    multicast_report: bool,
    other: usize,
}

impl Chatter {
    /// Reads what is queued; types of RFC 4861 and RFC 3810, the latter behind a hop-by-hop header.
    fn listen(&mut self, tun: &Tun) {
        while let Some(frame) = next_frame(tun) {
            match (
                frame.get(HEADER + 6),
                frame.get(HEADER + 40),
                frame.get(HEADER + 48),
            ) {
                (Some(58), Some(133), _) => self.router_solicitation = true,
                (Some(0), _, Some(143)) => self.multicast_report = true,
                _ => self.other += 1,
            }
        }
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_link_without_generated_addresses_starts_silent() {
    alone(|| {
        let silent = tun::open("tun0", Offload::Auto, false).unwrap();
        block_on(configure(
            route_socket("test").unwrap(),
            &link(&["10.9.0.1/24", "fd00:9::1/64"]),
        ))
        .unwrap();
        // Up later, and left as the kernel has it: when this one has said everything, the other would have too.
        let noisy = tun::open("tun1", Offload::Auto, false).unwrap();
        block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            handle
                .link()
                .set(LinkUnspec::new_with_name("tun1").up().build())
                .execute()
                .await
                .unwrap();
        });
        let mut heard = Chatter::default();
        wait_until("a solicitation from tun1", || {
            heard.listen(&noisy);
            if heard.router_solicitation {
                Ok(())
            } else {
                Err(format!("{heard:?}"))
            }
        });
        let mut heard = Chatter::default();
        heard.listen(&silent);
        assert_eq!(heard, Chatter::default());
        // It is silent, not dead: the first packet is the vassal's own.
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        socket.send_to(b"hello", "[fd00:9::2]:5000").unwrap();
        let first = frame(&silent);
        assert_eq!((first[HEADER] >> 4, first[HEADER + 6]), (6, 17));
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_frame_of_no_ip_version_is_refused_and_harms_nothing() {
    let place = place(&["10.9.0.1/24"], false);
    let mut bad = [0u8; HEADER + 20];
    for nibble in [0x00, 0x50, 0xf0] {
        bad[HEADER] = nibble;
        assert_eq!(
            write(&place.tun.fd, &bad),
            Err(Errno::EINVAL),
            "version nibble {nibble:#x}"
        );
    }
    let socket = within(&place.ns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    socket.send_to(b"hello", "10.9.0.2:5000").unwrap();
    assert_eq!(frame(&place.tun)[HEADER] >> 4, 4);
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn offloads_keep_every_shape_of_super_frame_and_we_cut_as_the_kernel_does() {
    let finding = namespace::block_on(mini_emperor::host::selftest::run());
    assert!(
        matches!(finding, mini_emperor::host::selftest::Finding::Sound(_)),
        "{finding:?}"
    );
}
