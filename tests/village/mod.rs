//! A router between members that live in network namespaces of their own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it; failing is its way to report"
)]

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mini_emperor::config::Name;
use mini_emperor::config::definition::Bandwidth;
use mini_emperor::config::rule::Chain;
use mini_emperor::config::settings::{Engine, Offload};
use mini_emperor::host::link::{LinkPlan, configure, route_socket};
use mini_emperor::host::netns;
use mini_emperor::host::tun::{self, Offloads};
use mini_emperor::host::workers::{Device, DeviceLost, Report, Workers};
use mini_emperor::router::{Attachment, Fabric, GlobalPolicy, PortId, Traffic, Wakefulness};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::namespace::{alone, block_on, wait_until, within};

pub(crate) const ENGINES: [Engine; 2] = [Engine::Epoll, Engine::IoUring];
const WORKERS: usize = 2;
/// What has not come after so long does not come.
const HANGS: Duration = Duration::from_secs(30);
/// Bytes that a datagram socket holds at most.
const ROOM: usize = 4 << 20;

/// A router with its members, each in a network namespace of its own.
pub(crate) struct Village {
    pub(crate) fabric: Fabric,
    pub(crate) workers: Workers,
    pub(crate) reports: UnboundedReceiver<Report>,
    pub(crate) reporter: UnboundedSender<Report>,
    /// Ports that another worker has been given.
    pub(crate) moves: usize,
    lost: VecDeque<DeviceLost>,
    /// What the ports pretend to have done.
    pretended: HashMap<PortId, u64>,
}

pub(crate) struct Member {
    pub(crate) address: IpAddr,
    pub(crate) netns: OwnedFd,
    pub(crate) port: PortId,
}

impl Village {
    pub(crate) fn new(engine: Engine) -> Self {
        let gateways: [IpNet; 1] = ["10.107.0.1/24".parse().unwrap()];
        let mut fabric = Fabric::new(&gateways, GlobalPolicy::default(), WORKERS);
        let (sender, reports) = unbounded_channel();
        let workers = Workers::start(WORKERS, engine, fabric.tables(), &sender).unwrap();
        Self {
            fabric,
            workers,
            reports,
            reporter: sender,
            moves: 0,
            lost: VecDeque::new(),
            pretended: HashMap::new(),
        }
    }

    /// A member at `10.107.0.HOST`; `offloads` is what the router believes of its tun.
    pub(crate) fn settle(&mut self, host: u8, offloads: Option<Offloads>) -> Member {
        self.settle_as(host, offloads, Wakefulness::Awake)
    }

    /// The same for one that sleeps, without a device: its port.
    pub(crate) fn sleep(&mut self, host: u8) -> PortId {
        let port = self
            .fabric
            .attach_as(attachment(host), Wakefulness::Asleep)
            .unwrap();
        self.workers.publish(self.fabric.tables());
        self.wait_for_workers();
        port
    }

    pub(crate) fn settle_as(
        &mut self,
        host: u8,
        offloads: Option<Offloads>,
        wakefulness: Wakefulness,
    ) -> Member {
        let address: IpAddr = [10, 107, 0, host].into();
        let netns = alone(|| netns::current().unwrap());
        let (tun, socket) = block_on(netns::inside(netns.as_fd(), "member", || {
            Ok((tun::open("tun0", Offload::Auto, true)?, route_socket("member")?))
        }))
        .unwrap();
        let plan = LinkPlan {
            device: "tun0".to_owned(),
            addresses: vec![IpNet::new(address, 24).unwrap()],
            mtu: 1500,
            queue_length: 1000,
            gateways: vec!["10.107.0.1".parse().unwrap()],
            loopback: true,
        };
        block_on(async { configure(socket, &plan).await }).unwrap();
        let port = self.fabric.attach_as(attachment(host), wakefulness).unwrap();
        let offloads = offloads.unwrap_or(tun.offloads);
        let device = Device::new(port, tun.fd, offloads);
        self.workers.attach(self.fabric.tables(), device);
        self.wait_for_workers();
        Member { address, netns, port }
    }

    /// A port at `10.107.0.HOST` whose device is anything that can be written to.
    pub(crate) fn attach(&mut self, host: u8, device: OwnedFd) -> PortId {
        let port = self.fabric.attach(attachment(host)).unwrap();
        let device = Device::new(port, device, Offloads::ALL);
        self.workers.attach(self.fabric.tables(), device);
        self.wait_for_workers();
        port
    }

    /// Waits until every worker has done what it was told before. A turn that is under way may have begun before that;
    /// the one after it has not.
    fn wait_for_workers(&self) {
        let before = self.workers.pulse().turns();
        wait_until("all workers have turned twice", || {
            self.workers.poke();
            let turns = self.workers.pulse().turns();
            let all = turns.iter().zip(&before).all(|(now, before)| *now >= before + 2);
            if all { Ok(()) } else { Err(turns) }
        });
    }

    /// The next device that was reported as lost, if one has been.
    pub(crate) fn lost(&mut self) -> Option<DeviceLost> {
        self.hear();
        self.lost.pop_front()
    }

    /// Does what the daemon does with the reports of the workers.
    pub(crate) fn hear(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Lost(lost) => self.lost.push_back(lost),
                Report::Wanted(_) => {}
                Report::Released(release) => {
                    self.moves += 1;
                    self.workers.released(release);
                }
                Report::Kept(release) => self.workers.kept(release),
            }
        }
    }

    /// Shares the work of the workers by what was counted.
    pub(crate) fn look_at_work(&mut self) {
        let now = Instant::now();
        self.workers.stirred(now);
        let due = self.workers.deadline().unwrap();
        self.workers.balance(due, Device::work);
    }

    /// Shares the work of the workers as if each port had done so much `more`.
    pub(crate) fn begin_to_share(&mut self, more: impl Fn(PortId) -> u64) {
        self.workers.stirred(Instant::now());
        let due = self.workers.deadline().unwrap();
        let pretended = std::cell::RefCell::new(std::mem::take(&mut self.pretended));
        self.workers.balance(due, |device| {
            let mut pretended = pretended.borrow_mut();
            let work = pretended.entry(device.port).or_default();
            *work += more(device.port);
            *work
        });
        self.pretended = pretended.into_inner();
    }

    /// The same, until a port has been given to another worker.
    pub(crate) fn share_work(&mut self, more: impl Fn(PortId) -> u64) {
        let before = self.moves;
        self.begin_to_share(more);
        wait_until("a port is read by another worker", || {
            self.hear();
            if self.moves > before {
                Ok(())
            } else {
                Err("nothing moved")
            }
        });
    }

    pub(crate) fn traffic(&self, member: &Member) -> Traffic {
        self.fabric.traffic(member.port).unwrap()
    }
}

fn attachment(host: u8) -> Attachment {
    Attachment {
        name: Name::new(&format!("m{host}")).unwrap(),
        addresses: vec![[10, 107, 0, host].into()],
        mtu: 1500,
        out: Chain::default(),
        in_: Chain::default(),
        bandwidth: Bandwidth::default(),
    }
}

impl Member {
    pub(crate) fn udp(&self, port: u16) -> UdpSocket {
        let socket = within(&self.netns, || {
            UdpSocket::bind(SocketAddr::new(self.address, port)).unwrap()
        });
        socket.set_read_timeout(Some(HANGS)).unwrap();
        // However little this machine gives a socket: a test sends so much at once that it has room.
        setsockopt(&socket, RcvBufForce, &ROOM).unwrap();
        socket
    }

    pub(crate) fn links(&self) -> String {
        self.network("dev")
    }

    /// What the member's kernel has counted: of its links, of what it made of the packets, of what its sockets hold and
    /// have lost.
    pub(crate) fn counters(&self) -> String {
        ["dev", "snmp", "udp"].map(|name| self.network(name)).join("\n")
    }

    fn network(&self, name: &str) -> String {
        within(&self.netns, || {
            std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap()
        })
    }
}

/// Tells other threads that they are done, also when the one that holds it fails; they would be waited for.
pub(crate) struct Done(AtomicBool);

impl Done {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Set when what comes back is dropped.
    pub(crate) fn at_the_end(&self) -> impl Drop + use<'_> {
        struct Setter<'a>(&'a AtomicBool);
        impl Drop for Setter<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Setter(&self.0)
    }
}

/// Sends `bytes` over TCP from one to the other and gives what arrived.
pub(crate) fn transfer(from: &Member, to: &Member, bytes: &[u8]) -> Vec<u8> {
    let listener = within(&to.netns, || {
        TcpListener::bind(SocketAddr::new(to.address, 80)).unwrap()
    });
    let target = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = within(&from.netns, || TcpStream::connect(target).unwrap());
        stream.write_all(bytes).unwrap();
        drop(stream);
        reader.join().unwrap()
    })
}

pub(crate) fn some_bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * at % 251).unwrap())
        .collect()
}
