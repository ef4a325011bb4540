//! A vassal's packet on its way out of the host and its answer on the way back, through forwarding and masquerade.
//!
//! ```text
//!   vassal's packets                the host's namespace                    the world
//!   (this test) ── emperor0 10.107.0.1/24 ── forward, masquerade ── wan0 192.0.2.1/24 ── (this test)
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

mod namespace;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use mini_emperor::config::settings::Offload;
use mini_emperor::host::forwarding;
use mini_emperor::host::link::{LinkPlan, configure, route_socket};
use mini_emperor::host::nat::{Nat, NatPlan};
use mini_emperor::host::tun::{self, Tun};
use namespace::{alone, block_on, wait_until};
use nix::errno::Errno;
use nix::unistd::{read, write};

/// Bytes of the virtio header before every frame; all zero = nothing left undone.
const HEADER: usize = 10;
/// A host in the world.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 9)),
];

/// The fake host: forwarding on, table installed, both tuns in our hands.
struct Host {
    uplink: Tun,
    wan: Tun,
}

fn host(interfaces: &[&str]) -> Host {
    let link = |device: &str, addresses: &[&str], gateways: &[&str]| {
        let tun = tun::open(device, Offload::Off, false).unwrap();
        let plan = LinkPlan {
            device: device.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            mtu: 1500,
            queue_length: 500,
            gateways: gateways.iter().map(|text| text.parse().unwrap()).collect(),
            loopback: true,
        };
        block_on(configure(route_socket("host").unwrap(), &plan)).unwrap();
        tun
    };
    forwarding::enable(true, true).unwrap();
    let uplink = link("emperor0", &["10.107.0.1/24", "fd00:107::1/64"], &[]);
    let wan = link(
        "wan0",
        &["192.0.2.1/24", "2001:db8::1/64"],
        &["192.0.2.254", "2001:db8::fe"],
    );
    Nat::install(NatPlan {
        table: "mini-emperor-emperor0".to_owned(),
        uplink: "emperor0".to_owned(),
        subnets: vec!["10.107.0.0/24".parse().unwrap(), "fd00:107::/64".parse().unwrap()],
        interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
    })
    .unwrap();
    Host { uplink, wan }
}

/// A UDP packet with its addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Udp {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Udp {
    fn answer(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }

    /// A frame with the virtio header, an empty payload and right checksums.
    fn frame(self) -> Vec<u8> {
        let mut udp = [
            self.from.1.to_be_bytes(),
            self.to.1.to_be_bytes(),
            8u16.to_be_bytes(),
            [0; 2],
        ]
        .concat();
        let addresses = [bytes(self.from.0), bytes(self.to.0)].concat();
        let sum = checksum(&[addresses.clone(), vec![0, 17, 0, 8], udp.clone()].concat());
        udp[6..].copy_from_slice(&sum);
        let ip = match self.from.0 {
            IpAddr::V4(_) => {
                let mut ip = [vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0], addresses].concat();
                let sum = checksum(&ip);
                ip[10..12].copy_from_slice(&sum);
                ip
            }
            IpAddr::V6(_) => [vec![0x60, 0, 0, 0, 0, 8, 17, 64], addresses].concat(),
        };
        [vec![0; HEADER], ip, udp].concat()
    }

    /// What a frame is, if it is UDP.
    fn parse(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(HEADER..)?;
        let four = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into();
        let sixteen = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into();
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        match (packet[0] >> 4, packet[6], packet[9]) {
            (4, _, 17) => Some(Self {
                from: (four(12), port(20)),
                to: (four(16), port(22)),
            }),
            (6, 17, _) => Some(Self {
                from: (sixteen(8), port(40)),
                to: (sixteen(24), port(42)),
            }),
            _ => None,
        }
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// RFC 1071, over an even number of bytes.
fn checksum(data: &[u8]) -> [u8; 2] {
    let words = data
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn send(tun: &Tun, packet: Udp) {
    let frame = packet.frame();
    assert_eq!(write(&tun.fd, &frame), Ok(frame.len()));
}

/// The next UDP packet that the kernel sends by `tun`.
fn receive(tun: &Tun) -> Udp {
    let mut found = None;
    wait_until("a UDP packet", || {
        let mut frame = vec![0; 2048];
        match read(&tun.fd, &mut frame) {
            Ok(length) => found = Udp::parse(&frame[..length]),
            Err(Errno::EAGAIN) => {}
            Err(errno) => panic!("reading the tun: {errno}"),
        }
        found.map(drop).ok_or("none")
    });
    found.unwrap()
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_vassals_packet_leaves_as_the_hosts_and_its_answer_comes_back() {
    alone(|| {
        let host = host(&[]);
        for (vassal, own, far) in [
            ("10.107.0.2", "192.0.2.1", FAR[0]),
            ("fd00:107::2", "2001:db8::1", FAR[1]),
        ] {
            let asked = Udp {
                from: (vassal.parse().unwrap(), 4000),
                to: (far, 53),
            };
            send(&host.uplink, asked);
            let left = receive(&host.wan);
            assert_eq!((left.from.0, left.to), (own.parse().unwrap(), asked.to));
            send(&host.wan, left.answer());
            assert_eq!(receive(&host.uplink), asked.answer());
        }
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn only_named_interfaces_masquerade() {
    alone(|| {
        let host = host(&["eth9"]);
        let asked = Udp {
            from: ("10.107.0.2".parse().unwrap(), 4000),
            to: (FAR[0], 53),
        };
        send(&host.uplink, asked);
        assert_eq!(receive(&host.wan), asked);
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn packets_to_vassals_and_to_the_host_itself_keep_their_source() {
    alone(|| {
        let host = host(&[]);
        let socket = UdpSocket::bind("10.107.0.1:4000").unwrap();
        socket.send_to(&[], "10.107.0.2:53").unwrap();
        assert_eq!(receive(&host.uplink).from, ("10.107.0.1".parse().unwrap(), 4000));
        // To its own gateway address, which goes by lo.
        let own = UdpSocket::bind("10.107.0.1:5000").unwrap();
        own.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        socket.send_to(b"x", "10.107.0.1:5000").unwrap();
        assert_eq!(
            own.recv_from(&mut [0; 4]).unwrap().1.to_string(),
            "10.107.0.1:4000"
        );
    });
}
