//! Frames that a hostile vassal may send, kept as files, each with the verdict that it must get.
//!
//! The files under `corpus/packets` seed fuzzers as well. `UPDATE_CORPUS=1 cargo test --test packet_corpus` writes
//! them from the descriptions below.

mod cases;
#[path = "../packets/mod.rs"]
mod packets;
#[path = "../world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use mini_emperor::packet::{Malformed, Packet};
use mini_emperor::router::{Complaint, Reason, Verdict};
use packets::Sample;
use world::World;

const A: &str = "10.107.0.2";
const B: &str = "10.107.0.3";
const NOBODY: &str = "10.107.0.77";
const A6: &str = "fd00:107::2";
const B6: &str = "fd00:107::3";
const NOBODY6: &str = "fd00:107::77";

/// What must become of a frame that `a` sends.
enum Fate {
    Bad(Malformed),
    Ends(Reason),
    Told(Complaint),
    ReachesB,
}
use Fate::{Bad, Ends, ReachesB, Told};

fn corpus_directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "corpus", "packets"]
        .iter()
        .collect()
}

fn udp() -> Sample {
    Sample::udp(A, B, 53, 16)
}

fn tcp() -> Sample {
    Sample::tcp(A, B, 80, 16)
}

fn udp6() -> Sample {
    Sample::udp(A6, B6, 53, 16)
}

fn tcp6() -> Sample {
    Sample::tcp(A6, B6, 80, 16)
}

fn super_tcp() -> Sample {
    Sample::super_tcp(A, B, 9000, 1400)
}

/// The frame of `sample` with bytes of the packet overwritten and the header checksum made right.
fn edited(sample: &Sample, edits: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = sample.frame();
    for (at, byte) in edits {
        frame[10 + at] = *byte;
    }
    let length = usize::from(frame[10] & 15) * 4;
    if frame[10] >> 4 == 4 && (20..=frame.len() - 10).contains(&length) {
        frame[20..22].fill(0);
        let sum = packets::checksum(&frame[10..10 + length]);
        frame[20..22].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The frame of `sample` with bytes of the virtio header overwritten.
fn with_vnet(sample: &Sample, edits: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = sample.frame();
    for (at, byte) in edits {
        frame[*at] = *byte;
    }
    frame
}

fn cut(sample: &Sample, length: usize) -> Vec<u8> {
    sample.frame()[..length].to_vec()
}

type Case = (&'static str, Vec<u8>, Fate);

fn cases() -> Vec<Case> {
    [
        cases::ip_cases(),
        cases::extension_cases(),
        cases::fragment_cases(),
        cases::transport_cases(),
        cases::vnet_cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_frame_of_the_corpus_gets_its_verdict() {
    let directory = corpus_directory();
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all(&directory).unwrap();
        for (title, frame, _) in cases() {
            fs::write(directory.join(title).with_extension("bin"), frame).unwrap();
        }
    }
    for (title, described, fate) in cases() {
        let file = directory.join(title).with_extension("bin");
        let frame = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(
            frame, described,
            "{title}: the file is not what the description says"
        );
        let mut world = World::open();
        let (tables, ports) = (world.fabric.tables(), world.ports.clone());
        let parsed = Packet::parse(&frame).map(|_| ());
        let verdict = world
            .router
            .forward(&tables, ports["a"], &mut frame.clone(), world.now);
        let (parse, expected) = match fate {
            Bad(cause) => (Err(cause), Verdict::Drop(Reason::Malformed)),
            Ends(reason) => (Ok(()), Verdict::Drop(reason)),
            Told(complaint) => (Ok(()), Verdict::Answer(complaint)),
            ReachesB => (Ok(()), Verdict::Forward(ports["b"])),
        };
        assert_eq!((parsed, verdict), (parse, expected), "{title}");
        // Whatever it is, asking for an answer does no harm.
        world.answer("a", &frame, Complaint::HostUnreachable);
    }
}

#[test]
fn the_corpus_holds_nothing_else() {
    let titles: BTreeSet<_> = cases()
        .into_iter()
        .map(|(title, ..)| format!("{title}.bin"))
        .collect();
    assert_eq!(titles.len(), cases().len(), "two frames of one name");
    let files: BTreeSet<_> = fs::read_dir(corpus_directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, titles);
}
