//! Ports that go from worker to worker, on either engine.

use std::net::{IpAddr, UdpSocket};

use mini_emperor::config::settings::Engine;

use super::namespace::wait_until;
use super::village::{Done, ENGINES, Village, some_bytes, transfer};

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn no_frame_overtakes_another_while_its_port_goes_from_worker_to_worker() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let members: Vec<_> = (2..=4).map(|host| village.settle(host, None)).collect();
        let [a, b, c] = &members[..] else { unreachable!() };
        let (from, to) = (a.udp(4000), b.udp(53));
        let (target, back) = ((b.address, 53), (a.address, 4000));
        let done = Done::new();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut number = 0_u32;
                while !done.is_set() {
                    for _ in 0..64 {
                        from.send_to(&number.to_be_bytes(), target).unwrap();
                        number += 1;
                    }
                    let answer = from.recv(&mut [0; 1]);
                    assert!(
                        answer.is_ok(),
                        "{engine:?}: {number} were sent and not answered: {answer:?}"
                    );
                }
                from.send_to(b"the end", target).unwrap();
                number
            });
            let receiver = scope.spawn(|| take_in_order(&to, back, engine));
            let end = done.at_the_end();
            // It shares a worker with one of the others, which has more to do than it, and is given to the other worker.
            for at in 0..100 {
                let busy = [b, c][usize::from(at % 2 == 0)].port;
                village.share_work(|port| u64::from(port == busy) * 9000 + u64::from(port == a.port) * 4000);
            }
            drop(end);
            let (sent, got) = (sender.join().ok(), receiver.join().ok());
            assert!(
                sent.is_some() && sent == got,
                "{engine:?}: sent {sent:?}, got {got:?}\n{:?}\n{}\n{:?}\n{}",
                village.traffic(a),
                a.counters(),
                village.traffic(b),
                b.counters()
            );
        });
        assert_eq!(village.moves, 100, "{engine:?}");
    }
}

/// Takes datagrams that are numbered, and answers each 64th, until there is one that says the end: how many came.
fn take_in_order(to: &UdpSocket, back: (IpAddr, u16), engine: Engine) -> u32 {
    let mut number = 0_u32;
    let mut got = [0; 7];
    loop {
        let length = to.recv(&mut got);
        match length.map(|length| &got[..length]) {
            Ok(b"the end") => return number,
            Ok(got) => assert_eq!(got, number.to_be_bytes(), "{engine:?}: not {number}"),
            Err(error) => panic!("{engine:?}: behind {number} comes nothing: {error}"),
        }
        number += 1;
        if number.is_multiple_of(64) {
            to.send_to(&[0], back).unwrap();
        }
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn two_busy_ports_of_one_worker_are_parted_as_long_as_both_are_there() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let members: Vec<_> = (2..=4).map(|host| village.settle(host, None)).collect();
        let [a, _, c] = &members[..] else { unreachable!() };
        let sent = some_bytes(16 << 20);
        assert!(transfer(a, c, &sent) == sent, "{engine:?}: other bytes arrived");
        // By what was really done: the stream and its acknowledgements come through one worker.
        wait_until("one of them is read by the other worker", || {
            let some = &sent[..1 << 20];
            assert!(transfer(a, c, some) == some, "{engine:?}: other bytes arrived");
            village.look_at_work();
            // A port on its way is read by nobody until the new reader has been told.
            while village.workers.is_moving() {
                village.hear();
            }
            if village.moves > 0 { Ok(()) } else { Err("no move") }
        });
        assert!(transfer(a, c, &sent) == sent, "{engine:?}: other bytes arrived");
    }
}

#[test]
#[ignore = "needs a network namespace: run integration/run"]
fn a_port_that_goes_or_workers_that_end_in_the_midst_of_a_move_leave_nobody_waiting() {
    for engine in ENGINES {
        let mut village = Village::new(engine);
        let members: Vec<_> = (2..=5).map(|host| village.settle(host, None)).collect();
        let [a, b, c, _] = &members[..] else {
            unreachable!()
        };
        let sent = some_bytes(1 << 20);
        for _ in 0..20 {
            // It shares a worker with the first and the third.
            let crowd = village.settle(6, None);
            village.begin_to_share(|port| {
                let busy = u64::from(port == a.port || port == c.port) * 9000;
                busy + u64::from(port == crowd.port) * 17_000
            });
            assert!(village.workers.is_moving(), "{engine:?}");
            village.fabric.detach(crowd.port).unwrap();
            village.workers.detach(village.fabric.tables(), crowd.port);
            assert!(!village.workers.is_moving(), "{engine:?}");
            assert!(transfer(c, a, &sent) == sent, "{engine:?}: other bytes arrived");
            village.begin_to_share(|port| u64::from(port == a.port || port == c.port) * 9000);
            assert!(village.workers.is_moving(), "{engine:?}");
            village.workers.stop();
            village.workers.resume(&village.reporter).unwrap();
            // What the old workers still had to say is no matter of the new ones.
            village.hear();
            assert!(transfer(a, c, &sent) == sent, "{engine:?}: other bytes arrived");
            assert!(transfer(b, a, &sent) == sent, "{engine:?}: other bytes arrived");
        }
    }
}
