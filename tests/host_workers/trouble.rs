//! Devices that fail the router threads, on either engine.

use std::os::fd::{AsFd, OwnedFd};

use super::namespace::{block_on, wait_until, within};
use super::village::{ENGINES, Member, Village, some_bytes, transfer};
use mini_emperor::config::settings::Offload;
use mini_emperor::host::netns;
use mini_emperor::host::tun;
use mini_emperor::router::Reason;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_device_that_is_deleted_from_inside_is_reported_and_ends_nothing_else() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b, c) = (
            village.settle(2, None),
            village.settle(3, None),
            village.settle(4, None),
        );
        within(&a.netns, || {
            block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                let index = nix::net::if_::if_nametoindex("tun0").unwrap();
                handle.link().del(index).execute().await.unwrap();
            });
        });
        let mut told = None;
        wait_until("the loss is reported", || {
            told = village.lost();
            told.map(drop).ok_or("nothing")
        });
        assert_eq!(told.unwrap().port, a.port, "{engine:?}");
        let sent = some_bytes(1 << 20);
        assert!(transfer(&b, &c, &sent) == sent, "{engine:?}");
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_device_that_is_detached_is_let_go_and_its_slot_works_for_the_next() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let b = village.settle(3, None);
        for _ in 0..20 {
            let a = village.settle(2, None);
            let sent = some_bytes(100_000);
            assert!(transfer(&a, &b, &sent) == sent, "{engine:?}");
            village.fabric.detach(a.port).unwrap();
            village.workers.detach(village.fabric.tables(), a.port);
            // As soon as no worker holds it, somebody else can.
            wait_until("the tun is let go", || {
                block_on(netns::inside(a.netns.as_fd(), "member", || {
                    tun::adopt("tun0", tun::index("tun0")?, Offload::Auto)
                }))
                .map(drop)
            });
            assert!(a.links().contains("tun0"));
        }
        assert!(village.lost().is_none(), "{engine:?}: a loss was reported");
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn what_cannot_be_written_is_counted_and_given_to_nobody_else() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let members: Vec<_> = (2..=4).map(|host| village.settle(host, None)).collect();
        let [a, b, c] = &members[..] else { unreachable!() };
        set_link(b, false);
        let (from, to) = (a.udp(4000), c.udp(53));
        let rounds: u32 = 200;
        for round in 0..rounds {
            // Ninety-six in a row fail, more than the kernel reports at once; then come good ones in the same buffers.
            for _ in 0..96 {
                from.send_to(b"lost", (b.address, 53)).unwrap();
            }
            for number in 0..32 {
                from.send_to(&(round * 32 + number).to_be_bytes(), (c.address, 53))
                    .unwrap();
            }
            for number in 0..32 {
                let mut got = [0; 4];
                to.recv(&mut got).unwrap();
                assert_eq!(u32::from_be_bytes(got), round * 32 + number, "{engine:?}");
            }
        }
        let (good, bad) = (u64::from(rounds) * 32, u64::from(rounds) * 96);
        wait_until("all are counted", || {
            let seen = (
                village.traffic(a).transmit_packets,
                village.traffic(c).receive_packets,
                village.traffic(b).dropped.get(Reason::QueueFull),
            );
            if seen == (good, good, bad) {
                Ok(())
            } else {
                Err(seen)
            }
        });
        assert_eq!(village.traffic(c).dropped.total(), 0, "{engine:?}");
        set_link(b, true);
        let sent = some_bytes(1 << 20);
        assert!(transfer(a, b, &sent) == sent, "{engine:?}");
    }
}

/// Sets the member's tun up or down.
fn set_link(member: &Member, up: bool) {
    within(&member.netns, || {
        block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let index = nix::net::if_::if_nametoindex("tun0").unwrap();
            let link = rtnetlink::LinkUnspec::new_with_index(index);
            let message = if up { link.up() } else { link.down() }.build();
            handle.link().set(message).execute().await.unwrap();
        });
    });
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn what_a_device_refuses_right_after_a_stream_is_cut_at_once() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b) = (village.settle(2, None), village.settle(3, None));
        let refuser = village.attach(4, who_refuses());
        let sent = some_bytes(4 << 20);
        assert!(transfer(&a, &b, &sent) == sent, "{engine:?}");
        assert_eq!(village.traffic(&b).segmented_packets, 0, "{engine:?}");
        let socket = a.udp(4000);
        setsockopt(&socket, UdpGsoSegment, &1000).unwrap();
        socket.send_to(&some_bytes(3000), ("10.107.0.4", 9)).unwrap();
        // Nothing else comes that could wake a worker.
        wait_until("the frame is cut, and its pieces are refused", || {
            let dropped = village.fabric.traffic(refuser).unwrap().dropped;
            match dropped.get(Reason::QueueFull) {
                1 => Ok(()),
                other => Err(other),
            }
        });
        // Whose frames were refused once, theirs are cut from then on.
        assert!(transfer(&a, &b, &sent) == sent, "{engine:?}: other bytes arrived");
        assert!(village.traffic(&b).segmented_packets > 10, "{engine:?}");
        let before = village.traffic(&a).segmented_packets;
        assert!(transfer(&b, &a, &sent) == sent, "{engine:?}: other bytes arrived");
        assert_eq!(village.traffic(&a).segmented_packets, before, "{engine:?}");
    }
}

/// Nothing can be written to it: `EINVAL`.
fn who_refuses() -> OwnedFd {
    let file = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap();
    file.as_fd().try_clone_to_owned().unwrap()
}
