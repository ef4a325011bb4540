//! A router with named ports for tests: one packet in, a verdict and every change of every counter out.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code; each test takes what it needs"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use mini_emperor::config::definition::{Bandwidth, Name};
use mini_emperor::config::rule::{Action, Chain, Endpoint, Protocol, Rule};
use mini_emperor::router::{
    ANSWER, Attachment, Complaint, Fabric, GlobalPolicy, PortId, Reason, Router, Verdict, Wakefulness,
};

use crate::packets::{self, Sample, ip};

pub const GATEWAYS: [&str; 2] = ["10.107.0.1/24", "fd00:107::1/64"];

/// Counters by `PORT COUNTER`.
type Counts = BTreeMap<String, u64>;

pub struct World {
    pub fabric: Fabric,
    pub router: Router,
    pub ports: BTreeMap<String, PortId>,
    pub now: Instant,
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl World {
    /// A gateway of both families and an uplink of MTU 1500, called `host`.
    pub fn new(policy: GlobalPolicy) -> Self {
        let mut fabric = Fabric::new(&GATEWAYS.map(|text| text.parse().unwrap()), policy, 2);
        let uplink = fabric.attach_uplink(1500);
        Self {
            fabric,
            router: Router::new(1),
            ports: BTreeMap::from([("host".to_owned(), uplink)]),
            now: Instant::now(),
        }
    }

    /// The open world of most tests: `a` is 10.107.0.2 and fd00:107::2, `b` is .3 and ::3.
    pub fn open() -> Self {
        let mut world = Self::new(GlobalPolicy::default());
        world.attach("a", &["10.107.0.2", "fd00:107::2"]);
        world.attach("b", &["10.107.0.3", "fd00:107::3"]);
        world
    }

    pub fn attach(&mut self, who: &str, addresses: &[&str]) -> PortId {
        self.attach_with(who, addresses, 1500, Chain::default(), Chain::default())
    }

    pub fn attach_with(&mut self, who: &str, addresses: &[&str], mtu: u16, out: Chain, in_: Chain) -> PortId {
        let addresses = addresses.iter().map(|text| ip(text)).collect();
        let port = self
            .fabric
            .attach(Attachment {
                name: name(who),
                addresses,
                mtu,
                out,
                in_,
                bandwidth: Bandwidth::default(),
            })
            .unwrap();
        self.ports.insert(who.to_owned(), port);
        port
    }

    /// A vassal that is yet to be started.
    pub fn attach_sleeper(&mut self, who: &str, addresses: &[&str], in_: Chain) -> PortId {
        let sleeper = Attachment {
            name: name(who),
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            mtu: 1500,
            out: Chain::default(),
            in_,
            bandwidth: Bandwidth::default(),
        };
        let port = self.fabric.attach_as(sleeper, Wakefulness::Asleep);
        self.ports.insert(who.to_owned(), port.unwrap());
        self.ports[who]
    }

    /// It waits for a vassal that sleeps, and nothing is counted.
    #[track_caller]
    pub fn wakes(&mut self, from: &str, to: &str, sample: &Sample) {
        self.expect(from, sample, Verdict::Wake(self.ports[to]), &[]);
    }

    pub fn detach(&mut self, who: &str) -> PortId {
        let port = self.ports.remove(who).unwrap();
        assert!(self.fabric.detach(port).is_some());
        port
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (who, port) in &self.ports {
            let json = serde_json::to_value(self.fabric.traffic(*port).unwrap()).unwrap();
            for (counter, value) in json.as_object().unwrap() {
                match value.as_object() {
                    Some(reasons) => counts.extend(
                        reasons
                            .iter()
                            .map(|(reason, n)| (format!("{who} {reason}"), n.as_u64().unwrap())),
                    ),
                    None => drop(counts.insert(format!("{who} {counter}"), value.as_u64().unwrap())),
                }
            }
        }
        counts
    }

    /// Judges a frame as the engine does, and gives the verdict and what has changed in all counters.
    fn judge(&mut self, from: &str, frame: &mut [u8]) -> (Verdict, Counts) {
        let (tables, before) = (self.fabric.tables(), self.counts());
        let from = self.ports[from];
        let verdict = self.router.forward(&tables, from, frame, self.now);
        if let Verdict::Forward(to) = verdict {
            self.router.delivered(&tables, from, to, frame.len() - 10);
        }
        let mut after = self.counts();
        after.retain(|key, count| {
            *count -= before[key];
            *count != 0
        });
        (verdict, after)
    }

    #[track_caller]
    fn expect(&mut self, from: &str, sample: &Sample, verdict: Verdict, counts: &[(String, u64)]) -> Vec<u8> {
        let mut frame = sample.frame();
        let (actual, changed) = self.judge(from, &mut frame);
        let expected: Counts = counts.iter().cloned().collect();
        assert_eq!(
            actual, verdict,
            "{from}: {sample:?}\ncounters changed: {changed:?}"
        );
        let odd: Vec<_> = expected
            .iter()
            .filter(|&(key, n)| changed.get(key) != Some(n))
            .collect();
        let extra: Vec<_> = changed
            .iter()
            .filter(|&(key, n)| expected.get(key) != Some(n))
            .collect();
        assert!(
            odd.is_empty() && extra.is_empty(),
            "missing: {odd:?}\nunexpected: {extra:?}\n{sample:?}"
        );
        assert!(
            packets::header_is_right(&frame),
            "the header checksum is wrong afterwards: {sample:?}"
        );
        frame
    }

    /// It is delivered, and nothing but that is counted. Gives the frame as it is delivered.
    #[track_caller]
    pub fn passes(&mut self, from: &str, to: &str, sample: &Sample) -> Vec<u8> {
        let bytes = sample.length();
        let counts = [
            (format!("{from} transmit_packets"), 1),
            (format!("{from} transmit_bytes"), bytes),
            (format!("{to} receive_packets"), 1),
            (format!("{to} receive_bytes"), bytes),
        ];
        let frame = self.expect(from, sample, Verdict::Forward(self.ports[to]), &counts);
        let mut unchanged = sample.clone();
        if from != "host" && to != "host" {
            unchanged.ttl -= 1;
        }
        assert_eq!(
            frame,
            unchanged.frame(),
            "only the time to live may change, and only between vassals"
        );
        frame
    }

    /// It ends in silence, at the expense of `charged`, and nothing else is counted.
    #[track_caller]
    pub fn ends(&mut self, from: &str, sample: &Sample, charged: &str, reason: Reason) {
        let frame = self.expect(
            from,
            sample,
            Verdict::Drop(reason),
            &[(format!("{charged} {reason}"), 1)],
        );
        assert_eq!(frame, sample.frame(), "a packet that ends is not changed");
    }

    /// It ends, its sender is told, and nothing else is counted. Gives the answer.
    #[track_caller]
    pub fn is_told(
        &mut self,
        from: &str,
        sample: &Sample,
        charged: &str,
        reason: Reason,
        complaint: Complaint,
    ) -> Vec<u8> {
        let verdict = Verdict::Answer(complaint);
        let frame = self.expect(from, sample, verdict, &[(format!("{charged} {reason}"), 1)]);
        assert_eq!(frame, sample.frame(), "a packet that ends is not changed");
        let answer = self.answer(from, &frame, complaint).expect("an answer");
        check_answer(&answer, &frame, complaint);
        answer
    }

    pub fn answer(&mut self, from: &str, frame: &[u8], complaint: Complaint) -> Option<Vec<u8>> {
        let tables = self.fabric.tables();
        let mut out = [0xa5; ANSWER];
        let length = self
            .router
            .answer(&tables, self.ports[from], frame, complaint, self.now, &mut out)?;
        assert!(
            out[length..].iter().all(|byte| *byte == 0xa5),
            "nothing is written behind the answer"
        );
        Some(out[..length].to_vec())
    }
}

/// Type and code of `complaint`, and the word behind the checksum.
fn codes(complaint: Complaint, v4: bool) -> (u8, u8, u32) {
    match (complaint, v4) {
        (Complaint::HostUnreachable, true) => (3, 1, 0),
        (Complaint::HostUnreachable, false) => (1, 3, 0),
        (Complaint::Prohibited, true) => (3, 13, 0),
        (Complaint::Prohibited, false) => (1, 1, 0),
        (Complaint::TimeExceeded, true) => (11, 0, 0),
        (Complaint::TimeExceeded, false) => (3, 0, 0),
        (Complaint::TooBig { mtu }, true) => (3, 4, u32::from(mtu)),
        (Complaint::TooBig { mtu }, false) => (2, 0, u32::from(mtu)),
    }
}

/// Reads an answer from the RFCs' point of view.
#[track_caller]
pub fn check_answer(answer: &[u8], original: &[u8], complaint: Complaint) {
    let (vnet, packet) = answer.split_at(10);
    let original = &original[10..];
    assert_eq!(vnet, [0; 10], "a plain frame");
    let v4 = packet[0] >> 4 == 4;
    let (header, longest) = if v4 { (20, 576) } else { (40, 1280) };
    let (kind, code, word) = codes(complaint, v4);
    let icmp = &packet[header..];
    assert_eq!((icmp[0], icmp[1]), (kind, code));
    assert_eq!(u32::from_be_bytes([icmp[4], icmp[5], icmp[6], icmp[7]]), word);
    let quoted = original.len().min(longest - header - 8);
    assert_eq!(
        &icmp[8..],
        &original[..quoted],
        "as much of the original as fits, unchanged"
    );
    assert!(packets::header_is_right(answer));
    if v4 {
        assert_eq!(packet[0], 0x45);
        assert_eq!(
            usize::from(u16::from_be_bytes([packet[2], packet[3]])),
            packet.len()
        );
        assert_eq!((packet[8], packet[9]), (64, 1));
        assert_eq!(packet[16..20], original[12..16], "to its sender");
        assert_eq!(packets::checksum(icmp), 0);
    } else {
        assert_eq!(packet[..4], [0x60, 0, 0, 0]);
        assert_eq!(
            usize::from(u16::from_be_bytes([packet[4], packet[5]])),
            icmp.len()
        );
        assert_eq!((packet[6], packet[7]), (58, 64));
        assert_eq!(packet[24..40], original[8..24], "to its sender");
        let pseudo = packets::pseudo_header(source_of(answer), destination_of(answer), 58, icmp.len());
        assert_eq!(packets::checksum(&[&pseudo[..], icmp].concat()), 0);
    }
}

pub fn source_of(frame: &[u8]) -> IpAddr {
    address_at(frame, 12, 8)
}

pub fn destination_of(frame: &[u8]) -> IpAddr {
    address_at(frame, 16, 24)
}

fn address_at(frame: &[u8], v4: usize, v6: usize) -> IpAddr {
    let packet = &frame[10..];
    if packet[0] >> 4 == 4 {
        IpAddr::from(*packet[v4..].first_chunk::<4>().unwrap())
    } else {
        IpAddr::from(*packet[v6..].first_chunk::<16>().unwrap())
    }
}

/// Reads `ACTION SRC DST [PROTO [PORTS]]`, or a lone `ACTION`, in the words of a definition.
pub fn rule(text: &str) -> Rule {
    let mut words = text.split_whitespace();
    let action = match words.next() {
        Some("allow") => Action::Allow,
        Some("deny") => Action::Deny,
        Some("reject") => Action::Reject,
        other => panic!("no action: {other:?}"),
    };
    let mut side = || match words.next() {
        None | Some("any" | "0.0.0.0") => Endpoint::Any,
        Some(word) if word.starts_with('@') => Endpoint::Vassal(name(&word[1..])),
        Some(word) if word.contains('/') => Endpoint::Net(word.parse().unwrap()),
        Some(word) => Endpoint::Net(ip(word).into()),
    };
    let (source, destination) = (side(), side());
    let protocol = words.next().map(|word| match word {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        number => Protocol::Number(number.parse().unwrap()),
    });
    let ports = words.next().map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        first.parse().unwrap()..=last.parse().unwrap()
    });
    Rule {
        action,
        source,
        destination,
        protocol,
        ports,
    }
}

pub fn chain(rules: &[&str], default: Action) -> Chain {
    Chain {
        rules: rules.iter().map(|text| rule(text)).collect(),
        default,
    }
}

pub fn rules(rules: &[&str]) -> Chain {
    chain(rules, Action::Allow)
}
