//! Which worker reads which port.
//!
//! Ports are dealt out evenly when they come. Which of them will be busy nobody knows then, so two that are may share a
//! worker while another one sleeps; [`Rota::look`] sees that in what the ports have sent, and says which port should be
//! read by whom. Each move shortens the longest day, so no two undo each other while the work stays alike.

use std::collections::BTreeMap;

use crate::router::PortId;

/// Less work than this between two looks is nobody's burden: a few hundred frames.
const IDLE: u64 = 500;
/// A move must spare the busiest worker one part of this many of all work, or it is not worth its trouble.
const WORTH: u64 = 32;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Rota {
    shares: BTreeMap<PortId, Share>,
    workers: usize,
    /// The move that is under way: one at a time.
    moving: Option<Move>,
    moves: u64,
    /// The port whose last move its reader declined: others have their turn first.
    declined: Option<PortId>,
}

/// One port.
#[derive(Debug, Clone, Copy)]
struct Share {
    worker: usize,
    /// What it had done by the last look.
    done: u64,
}

/// A port that is to be read by another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) port: PortId,
    pub(super) from: usize,
    pub(super) to: usize,
    /// No other move has it.
    pub(super) number: u64,
}

impl Rota {
    /// Of this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            shares: BTreeMap::new(),
            workers: workers.max(1),
            moving: None,
            moves: 0,
            declined: None,
        }
    }

    /// A new port; it goes to the first of those who have the fewest.
    pub(super) fn admit(&mut self, port: PortId) -> usize {
        let mut ports = vec![0_usize; self.workers];
        for share in self.shares.values() {
            ports[share.worker] += 1;
        }
        let worker = (0..self.workers).min_by_key(|worker| ports[*worker]).unwrap_or(0);
        self.shares.insert(port, Share { worker, done: 0 });
        worker
    }

    /// Who reads it.
    pub(super) fn reader(&self, port: PortId) -> Option<usize> {
        self.shares.get(&port).map(|share| share.worker)
    }

    /// It is gone; says who has read it.
    pub(super) fn dismiss(&mut self, port: PortId) -> Option<usize> {
        self.moving.take_if(|moving| moving.port == port);
        self.shares.remove(&port).map(|share| share.worker)
    }

    /// Compares what each port has `done` since the last look, in any unit of work. The move that is worth while, if
    /// there is one, is under way from here on.
    pub(super) fn look(&mut self, done: impl Fn(PortId) -> u64) -> Option<Move> {
        let mut work = BTreeMap::new();
        let mut days = vec![0_u64; self.workers];
        for (port, share) in &mut self.shares {
            let now = done(*port);
            let lately = now.saturating_sub(share.done);
            share.done = now;
            days[share.worker] += lately;
            if lately > 0 {
                work.insert(*port, lately);
            }
        }
        let total: u64 = days.iter().sum();
        if self.moving.is_some() || total < IDLE {
            return None;
        }
        let declined = self.declined.take();
        let from = (0..self.workers).max_by_key(|worker| days[*worker])?;
        let to = (0..self.workers).min_by_key(|worker| days[*worker])?;
        let longest = |work: u64| (days[from] - work).max(days[to] + work);
        let (port, after) = work
            .iter()
            .filter(|(port, _)| self.reader(**port) == Some(from) && Some(**port) != declined)
            .map(|(port, work)| (*port, (longest(*work), *work)))
            .min_by_key(|(_, after)| *after)
            .map(|(port, (after, _))| (port, after))?;
        if days[from].saturating_sub(after) < total / WORTH {
            return None;
        }
        self.moves += 1;
        let number = self.moves;
        self.moving = Some(Move {
            port,
            from,
            to,
            number,
        });
        self.moving
    }

    /// The reader has let go of the port of this move, unless the move was given up since.
    pub(super) fn let_go(&mut self, number: u64) -> Option<Move> {
        let moving = self.moving.take_if(|moving| moving.number == number)?;
        self.shares.get_mut(&moving.port)?.worker = moving.to;
        Some(moving)
    }

    /// Whether a move is under way.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// The reader keeps the port of this move.
    pub(super) fn keep(&mut self, number: u64) {
        let moving = self.moving.take_if(|moving| moving.number == number);
        self.declined = moving.map(|moving| moving.port);
    }

    /// Whatever is under way does not happen.
    pub(super) fn give_up(&mut self) {
        self.moving = None;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn port(index: u32) -> PortId {
        PortId { index, generation: 0 }
    }

    /// A rota of so many workers and ports, and what the ports have done.
    fn rota(workers: usize, ports: u32) -> (Rota, RefCell<Vec<u64>>) {
        let mut rota = Rota::new(workers);
        for index in 0..ports {
            rota.admit(port(index));
        }
        (rota, RefCell::new(vec![0; ports as usize]))
    }

    /// Each port does so much more, then a look.
    fn after(rota: &mut Rota, done: &RefCell<Vec<u64>>, work: &[u64]) -> Option<Move> {
        for (done, work) in done.borrow_mut().iter_mut().zip(work) {
            *done += work;
        }
        rota.look(|port| done.borrow()[port.index as usize])
    }

    #[test]
    fn ports_are_dealt_out_evenly_also_when_some_have_gone() {
        let (mut rota, _) = rota(2, 4);
        let readers: Vec<_> = (0..4).map(|at| rota.reader(port(at)).unwrap()).collect();
        assert_eq!(readers, [0, 1, 0, 1]);
        assert_eq!(rota.dismiss(port(0)), Some(0));
        assert_eq!(rota.dismiss(port(2)), Some(0));
        assert_eq!((rota.admit(port(4)), rota.admit(port(5))), (0, 0));
        assert_eq!(rota.dismiss(port(0)), None);
    }

    #[test]
    fn two_busy_ports_of_one_worker_are_parted_and_stay_so() {
        let (mut rota, done) = rota(2, 4);
        let busy = [9000, 0, 4000, 0];
        let found = after(&mut rota, &done, &busy).unwrap();
        assert_eq!((found.port, found.from, found.to), (port(2), 0, 1));
        assert_eq!(after(&mut rota, &done, &busy), None, "one move at a time");
        assert_eq!(rota.reader(port(2)), Some(0), "it is not over");
        assert_eq!(rota.let_go(found.number), Some(found));
        assert_eq!(rota.let_go(found.number), None);
        assert_eq!(rota.reader(port(2)), Some(1));
        assert_eq!(after(&mut rota, &done, &busy), None);
    }

    #[test]
    fn one_busy_port_stays_where_it_is() {
        let (mut rota, done) = rota(2, 4);
        for _ in 0..3 {
            assert_eq!(after(&mut rota, &done, &[90_000, 0, 30, 40]), None);
        }
    }

    #[test]
    fn little_work_moves_nothing() {
        let (mut rota, done) = rota(2, 4);
        assert_eq!(after(&mut rota, &done, &[200, 0, 200, 0]), None);
    }

    #[test]
    fn after_one_that_its_reader_keeps_another_has_its_turn() {
        let (mut rota, done) = rota(2, 5);
        let busy = [9000, 0, 4000, 0, 3000];
        let kept = after(&mut rota, &done, &busy).unwrap();
        rota.keep(kept.number);
        let other = after(&mut rota, &done, &busy).unwrap();
        assert!(other.port != kept.port && rota.reader(other.port) == Some(0));
        rota.keep(other.number);
        assert_eq!(after(&mut rota, &done, &busy).unwrap().port, kept.port);
    }

    #[test]
    fn a_port_that_goes_takes_its_move_along() {
        let (mut rota, done) = rota(2, 4);
        let found = after(&mut rota, &done, &[9000, 0, 4000, 0]).unwrap();
        assert_eq!(rota.dismiss(found.port), Some(0));
        assert_eq!(rota.let_go(found.number), None);
        assert!(after(&mut rota, &done, &[9000, 0, 0, 0]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_work_it_comes_to_rest_near_an_even_share(
            workers in 1_usize..9,
            work in proptest::collection::vec(0_u64..9000, 1..12),
        ) {
            let ports = u32::try_from(work.len()).unwrap();
            let (mut rota, done) = rota(workers, ports);
            let mut moves = 0;
            while let Some(found) = after(&mut rota, &done, &work) {
                assert!(found.from != found.to && found.to < workers);
                rota.let_go(found.number).unwrap();
                moves += 1;
                assert!(moves < 100, "it never rests");
            }
            let mut days = vec![0; workers];
            for (at, work) in (0..).zip(&work) {
                days[rota.reader(port(at)).unwrap()] += work;
            }
            let (total, most) = (days.iter().sum::<u64>(), *days.iter().max().unwrap());
            let even = total / u64::try_from(workers).unwrap();
            let good = even + work.iter().max().unwrap() + total / WORTH;
            // Nobody moves ports that are hardly busy, but there may be a dozen of them.
            assert!(total < IDLE || most <= good.max(12 * total / WORTH) + 1, "{days:?}");
        }
    }
}
