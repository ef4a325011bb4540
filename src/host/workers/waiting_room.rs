//! Where frames for a vassal that sleeps wait until it is awake: a few for each, and not for ever.
//!
//! Each worker has its own, so the frames of one flow, which come through one worker, leave in the order in which they
//! came, before any that comes later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::packet::{Flow, Packet, opens_connection};
use crate::router::{MAX_FRAME, PortId};

/// Frames that wait for one vassal.
const SEATS: usize = 16;
/// Their bytes: one frame of the longest kind fits.
const BYTES: usize = MAX_FRAME;
/// Bytes of all frames that wait.
const ALL_BYTES: usize = 4 << 20;
/// Nobody waits longer than this for a frame: its sender has sent another.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    queues: BTreeMap<PortId, Queue>,
    bytes: usize,
}

/// The frames for one vassal, in their order.
#[derive(Debug)]
pub(super) struct Queue {
    /// For whom they are.
    pub(super) to: PortId,
    /// When the first came, and the vassal was called.
    pub(super) since: Instant,
    /// Sender and frame.
    pub(super) guests: Vec<(PortId, Box<[u8]>)>,
    bytes: usize,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admission {
    /// It waits.
    pub(super) seated: bool,
    /// It is the first: its vassal is to be woken.
    pub(super) first: bool,
    /// So many that had waited too long were thrown out for it.
    pub(super) late: usize,
}

impl WaitingRoom {
    /// Takes in a `frame` of the port `from`, which came at `now`, for the vassal of the port `to`.
    pub(super) fn admit(&mut self, from: PortId, to: PortId, frame: &[u8], now: Instant) -> Admission {
        let mut late = 0;
        if let Some(old) = self.queues.get(&to)
            && now.saturating_duration_since(old.since) > LATE
        {
            late = old.guests.len();
            self.remove(to);
        }
        let first = !self.queues.contains_key(&to);
        let room = ALL_BYTES.saturating_sub(self.bytes);
        let queue = self.queues.entry(to).or_insert_with(|| Queue {
            to,
            since: now,
            guests: Vec::new(),
            bytes: 0,
        });
        let seated = queue.guests.len() < SEATS && frame.len() <= BYTES.saturating_sub(queue.bytes).min(room);
        if seated {
            queue.guests.push((from, frame.into()));
            queue.bytes += frame.len();
            self.bytes += frame.len();
        }
        Admission { seated, first, late }
    }

    /// Whether a frame for a vassal that is about to be ready must wait: it opens a connection, or belongs to a frame
    /// that waits and must not overtake it.
    pub(super) fn keeps(&self, to: PortId, frame: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(frame) else {
            return false;
        };
        let flow = Flow::of(&packet, frame);
        let belongs = |guest: &[u8]| Packet::parse(guest).is_ok_and(|other| Flow::of(&other, guest) == flow);
        let mut queue = self.queues.get(&to).into_iter().flat_map(|queue| &queue.guests);
        opens_connection(&packet, frame) || queue.any(|(_, guest)| belongs(guest))
    }

    /// Whether frames of the port `from` wait.
    pub(super) fn has_frames_of(&self, from: PortId) -> bool {
        let mut guests = self.queues.values().flat_map(|queue| &queue.guests);
        guests.any(|(sender, _)| *sender == from)
    }

    /// Lets out everybody whose vassal is not `waited` for any more.
    pub(super) fn let_out(&mut self, waited: impl Fn(PortId) -> bool) -> Vec<Queue> {
        let awake: Vec<_> = self.queues.keys().copied().filter(|to| !waited(*to)).collect();
        awake.into_iter().filter_map(|to| self.remove(to)).collect()
    }

    fn remove(&mut self, to: PortId) -> Option<Queue> {
        let queue = self.queues.remove(&to)?;
        self.bytes -= queue.bytes;
        Some(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(index: u32) -> PortId {
        PortId { index, generation: 0 }
    }

    fn admitted(room: &mut WaitingRoom, to: u32, bytes: usize, now: Instant) -> (bool, bool, usize) {
        let Admission { seated, first, late } = room.admit(port(0), port(to), &vec![7; bytes], now);
        (seated, first, late)
    }

    #[test]
    fn only_so_many_wait_for_one_and_only_the_first_calls() {
        let (mut room, now) = (WaitingRoom::default(), Instant::now());
        assert_eq!(admitted(&mut room, 1, 100, now), (true, true, 0));
        for _ in 1..SEATS {
            assert_eq!(admitted(&mut room, 1, 100, now), (true, false, 0));
        }
        assert_eq!(admitted(&mut room, 1, 100, now), (false, false, 0));
        assert_eq!(admitted(&mut room, 2, MAX_FRAME, now), (true, true, 0));
        assert_eq!(
            admitted(&mut room, 2, 1, now),
            (false, false, 0),
            "its bytes are spent"
        );
        let out = room.let_out(|to| to == port(2));
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].guests.len(), SEATS);
        assert_eq!(admitted(&mut room, 1, 100, now), (true, true, 0), "a new call");
    }

    #[test]
    fn the_room_of_all_is_bounded_and_given_back() {
        let (mut room, now) = (WaitingRoom::default(), Instant::now());
        let most = u32::try_from(ALL_BYTES / MAX_FRAME).unwrap();
        for to in 0..most {
            assert_eq!(admitted(&mut room, to, MAX_FRAME, now), (true, true, 0));
        }
        assert_eq!(admitted(&mut room, most, MAX_FRAME, now), (false, true, 0));
        assert_eq!(room.let_out(|_| false).len(), usize::try_from(most).unwrap() + 1);
        assert_eq!(room.bytes, 0);
    }

    #[test]
    fn who_has_waited_too_long_makes_room_and_the_call_is_repeated() {
        let (mut room, now) = (WaitingRoom::default(), Instant::now());
        admitted(&mut room, 1, 100, now);
        admitted(&mut room, 1, 100, now + LATE);
        assert!(room.has_frames_of(port(0)) && !room.has_frames_of(port(1)));
        let later = now + LATE + Duration::from_millis(1);
        assert_eq!(admitted(&mut room, 1, 100, later), (true, true, 2));
        assert_eq!(room.bytes, 100);
    }
}
