//! Router threads between real tuns, on either engine.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test that cannot look has failed"
)]

#[path = "../namespace/mod.rs"]
mod namespace;
mod rota;
mod trouble;
#[path = "../village/mod.rs"]
mod village;

use mini_emperor::host::tun::Offloads;
use mini_emperor::host::workers::Report;
use mini_emperor::router::{PortId, Reason, Wakefulness};
use namespace::wait_until;
use village::{Done, ENGINES, Member, Village, some_bytes, transfer};

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn datagrams_arrive_in_their_order_and_are_counted() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b) = (village.settle(2, None), village.settle(3, None));
        let (from, to) = (a.udp(4000), b.udp(53));
        let (batch, count): (u32, u32) = (64, 20_032);
        for first in (0..count).step_by(64) {
            // A whole batch is under way at a time; the receiver answers it, so that no queue overflows.
            for number in first..first + batch {
                from.send_to(&number.to_be_bytes(), (b.address, 53)).unwrap();
            }
            for number in first..first + batch {
                let mut got = [0; 4];
                to.recv(&mut got).unwrap();
                assert_eq!(u32::from_be_bytes(got), number, "{engine:?}");
            }
            to.send_to(&[0], (a.address, 4000)).unwrap();
            from.recv(&mut [0; 1]).unwrap();
        }
        let acknowledgements = u64::from(count / 64);
        let wanted = (u64::from(count), u64::from(count) * 32, acknowledgements);
        // A frame is counted once it has been written, which is when it can be read.
        wait_until("all are counted", || {
            let (a, b) = (village.traffic(&a), village.traffic(&b));
            let sent = (a.transmit_packets, a.transmit_bytes, a.receive_packets);
            let received = (b.receive_packets, b.receive_bytes, b.transmit_packets);
            if sent == wanted && received == wanted {
                Ok(())
            } else {
                Err((sent, received))
            }
        });
        assert_eq!(
            village.traffic(&a).dropped.total() + village.traffic(&b).dropped.total(),
            0
        );
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_stream_crosses_as_super_frames_and_whole() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b) = (village.settle(2, None), village.settle(3, None));
        let sent = some_bytes(16 << 20);
        assert!(transfer(&a, &b, &sent) == sent, "{engine:?}: other bytes arrived");
        let traffic = village.traffic(&b);
        let mean = traffic.receive_bytes / traffic.receive_packets;
        assert!(mean > 1500, "{engine:?}: frames of {mean} bytes");
        assert_eq!(traffic.segmented_packets, 0, "{engine:?}");
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_stream_to_a_device_without_offloads_is_cut_and_arrives_whole() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let (a, b) = (village.settle(2, None), village.settle(3, Some(Offloads::NONE)));
        let sent = some_bytes(4 << 20);
        assert!(transfer(&a, &b, &sent) == sent, "{engine:?}: other bytes arrived");
        assert!(village.traffic(&b).segmented_packets > 10, "{engine:?}");
        // The way back is open to what is finished.
        assert!(transfer(&b, &a, &sent) == sent, "{engine:?}: other bytes arrived");
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn who_asks_for_nobody_is_told() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let a = village.settle(2, None);
        let socket = a.udp(4000);
        // ip(7): without it a datagram socket does not hear of an unreachable host.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv4RecvErr, &true).unwrap();
        socket.connect("10.107.0.77:9").unwrap();
        socket.send(b"anybody?").unwrap();
        let error = socket.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable, "{engine:?}");
        assert_eq!(village.traffic(&a).dropped.get(Reason::NoRoute), 1);
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_hundred_devices_are_read_at_once() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let hub = village.settle(250, None);
        let members: Vec<_> = (2..=101).map(|host| village.settle(host, None)).collect();
        let socket = hub.udp(53);
        for member in &members {
            member.udp(4000).send_to(&[1], (hub.address, 53)).unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < members.len() {
            seen.insert(socket.recv_from(&mut [0; 1]).unwrap().1);
        }
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn no_flood_starves_another_port_of_the_same_worker() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        // Ports are dealt out in turn; every second one belongs to the same worker.
        let members: Vec<_> = (2..=9).map(|host| village.settle(host, None)).collect();
        let sink = village.settle(100, None);
        let floods: Vec<_> = members.iter().step_by(2).collect();
        let done = Done::new();
        std::thread::scope(|scope| {
            for member in &floods {
                let socket = member.udp(4000);
                let done = &done;
                scope.spawn(move || {
                    while !done.is_set() {
                        let _ = socket.send_to(&[0; 100], (sink.address, 9));
                    }
                });
            }
            let end = done.at_the_end();
            // Threads begin one after the other, on a busy machine late.
            let begun = have_sent(&village, &floods, &[0; 4], 1);
            let sent = have_sent(&village, &floods, &begun, 2000);
            drop(end);
            let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            assert!(least * 20 > *most, "{engine:?}: {sent:?}");
        });
    }
}

/// Waits until each of the members has sent so many more packets than it had `before`: how many more.
fn have_sent(village: &Village, members: &[&Member], before: &[u64], more: u64) -> Vec<u64> {
    let mut sent = Vec::new();
    wait_until("each has sent many", || {
        let now = members
            .iter()
            .map(|member| village.traffic(member).transmit_packets);
        sent = now.zip(before).map(|(now, before)| now - before).collect();
        if sent.iter().all(|sent| *sent >= more) {
            Ok(())
        } else {
            Err(sent.clone())
        }
    });
    sent
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn what_came_for_one_that_slept_arrives_first_and_in_its_order() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let a = village.settle(2, None);
        let sleeper = village.sleep(3);
        let from = a.udp(4000);
        for number in 0..20_u32 {
            from.send_to(&number.to_be_bytes(), "10.107.0.3:53").unwrap();
        }
        is_called_once(&mut village, sleeper);
        village.fabric.detach(sleeper).unwrap();
        let b = village.settle_as(3, None, Wakefulness::Rising);
        let to = b.udp(53);
        // It belongs to those that wait, and must not overtake them; another sender's goes on.
        from.send_to(&99_u32.to_be_bytes(), (b.address, 53)).unwrap();
        let other = a.udp(4001);
        other.send_to(b"else", (b.address, 53)).unwrap();
        let received = || {
            let mut got = [0; 4];
            to.recv(&mut got).unwrap();
            got
        };
        assert_eq!(&received(), b"else", "{engine:?}");
        village.fabric.wake(b.port);
        village.workers.publish(village.fabric.tables());
        for number in 0..16_u32 {
            assert_eq!(received(), number.to_be_bytes(), "{engine:?}");
        }
        // The one that had no room is gone.
        from.send_to(&100_u32.to_be_bytes(), (b.address, 53)).unwrap();
        assert_eq!(received(), 100_u32.to_be_bytes(), "{engine:?}");
        // A frame is counted once it has been written, which is when it can be read.
        wait_until("all are counted", || {
            let traffic = village.traffic(&b);
            match (traffic.receive_packets, traffic.dropped.get(Reason::QueueFull)) {
                (18, 1) => Ok(()),
                other => Err(other),
            }
        });
        let sent = some_bytes(1 << 18);
        assert!(transfer(&a, &b, &sent) == sent, "{engine:?}");
    }
}

/// Of twenty packets sixteen have room.
fn is_called_once(village: &mut Village, sleeper: PortId) {
    let mut told = None;
    wait_until("the sleeper is called", || {
        told = village.reports.try_recv().ok();
        told.map(drop).ok_or("nothing")
    });
    assert!(
        matches!(told, Some(Report::Wanted(port)) if port == sleeper),
        "{told:?}"
    );
    wait_until("what has no room is counted", || {
        let traffic = village.fabric.traffic(sleeper).unwrap();
        match traffic.dropped.get(Reason::QueueFull) {
            4 => Ok(()),
            other => Err(other),
        }
    });
    assert!(village.reports.try_recv().is_err(), "it was called again");
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn beside_a_flood_a_round_trip_is_no_matter_of_seconds() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        // Ports are dealt out in turn; every second one belongs to the same worker.
        let members: Vec<_> = (2..=8).map(|host| village.settle(host, None)).collect();
        let [flooder, _, asker, _, answerer, _, sink] = &members[..] else {
            unreachable!()
        };
        let (ask, answer) = (asker.udp(4000), answerer.udp(53));
        for socket in [&ask, &answer] {
            socket
                .set_read_timeout(Some(std::time::Duration::from_secs(1)))
                .unwrap();
        }
        let flood = flooder.udp(4000);
        let done = Done::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.is_set() {
                    let _ = flood.send_to(&[0; 64], (sink.address, 9));
                }
            });
            let end = done.at_the_end();
            wait_until("the flood has begun", || {
                let sent = village.traffic(flooder).transmit_packets;
                if sent > 5000 { Ok(()) } else { Err(sent) }
            });
            let answered = (0..300_u32).take_while(|number| {
                ask.send_to(&number.to_be_bytes(), (answerer.address, 53))
                    .unwrap();
                let there = answer.recv(&mut [0; 4]);
                there.is_ok() && {
                    answer.send_to(&[1], (asker.address, 4000)).unwrap();
                    ask.recv(&mut [0; 1]).is_ok()
                }
            });
            let answered = answered.count();
            drop(end);
            assert_eq!(answered, 300, "{engine:?}");
        });
    }
}
