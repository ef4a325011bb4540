//! A command that runs: whether it is ready, and whether it still gives signs of life.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::definition::{Definition, Ready, Reload};

use super::moves::STOP_EXTENSIONS;
use super::state::{Fault, Life};

/// A command that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The process.
    pub life: Life,
    /// Its main process, as the emperor's pid namespace numbers it.
    pub pid: u32,
    /// When its first instruction ran.
    pub since: Instant,
    /// How far it is.
    pub phase: Phase,
    /// A sign of life is due in every such interval; absent = none is expected.
    pub every: Option<Duration>,
    /// When the next sign of life is overdue; only while the phase is [`Phase::Ready`].
    pub sign_until: Option<Instant>,
    /// When it was last asked to reload.
    pub asked: Option<Instant>,
    /// It ran while there was no emperor, who would have heard it.
    pub unheard: bool,
}

/// How far a command that runs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet ready.
    Rising {
        /// When it has taken too long.
        until: Instant,
        /// It is to reload as soon as it is ready: what it reads now may be the old.
        reload: bool,
    },
    /// Ready.
    Ready,
    /// It reads its configuration anew.
    Reloading {
        /// When it has taken too long.
        until: Instant,
    },
    /// It says that it ends by itself.
    Leaving {
        /// When it has taken too long.
        until: Instant,
        /// However often it asks for more time: not later than this.
        latest: Instant,
    },
}

/// What the next emperor must know of a command that runs; nothing else tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// How far it is.
    pub stage: Stage,
    /// In which intervals it was told to give signs of life, or said that it does.
    pub every: Option<Duration>,
}

/// A [`Phase`] without its moments: each is given its whole time anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not yet ready.
    Rising {
        /// It is to reload as soon as it is ready.
        reload: bool,
    },
    /// Ready.
    Ready,
    /// It reads its configuration anew.
    Reloading,
    /// It says that it ends by itself.
    Leaving,
}

impl Past {
    /// Whether it was ready.
    pub fn was_ready(self) -> bool {
        match self.stage {
            Stage::Rising { .. } => false,
            Stage::Ready | Stage::Reloading | Stage::Leaving => true,
        }
    }

    /// Of a command about which only this is known.
    pub fn presumed(ready: bool, definition: &Definition) -> Self {
        let stage = if ready || definition.ready == Ready::Exec {
            Stage::Ready
        } else {
            Stage::Rising { reload: false }
        };
        let every = definition.watchdog;
        Self { stage, every }
    }
}

impl Phase {
    /// It has just said that it ends.
    pub(super) fn leaving(now: Instant, definition: &Definition) -> Self {
        let limit = definition.stop.timeout;
        Self::Leaving {
            until: now + limit,
            latest: now + limit.saturating_mul(STOP_EXTENSIONS),
        }
    }
}

/// What a command says about itself, by `sd_notify` or by the emperor's control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It is ready, for the first time or again.
    Ready,
    /// It reads its configuration anew, since this moment if it says so.
    Reloading(Option<Instant>),
    /// It ends by itself.
    Leaving,
    /// A sign of life.
    Alive,
    /// A sign of life is due in every such interval from here on; absent = never.
    Every(Option<Duration>),
    /// It needs this much longer for what it does.
    Extend(Duration),
    /// This is its main process.
    MainPid(u32),
    /// It wants to be stopped.
    Rest,
    /// No client needs it any more.
    Unused,
    /// It is at fault, by its own word or by what the host saw.
    Fault(Fault),
}

impl Run {
    /// A command whose first instruction has just run.
    pub(super) fn new(life: Life, pid: u32, now: Instant, definition: &Definition) -> Self {
        let mut run = Self {
            life,
            pid,
            since: now,
            phase: Phase::Rising {
                until: now + definition.ready_timeout,
                reload: false,
            },
            every: definition.watchdog,
            sign_until: None,
            asked: None,
            unheard: false,
        };
        if definition.ready == Ready::Exec {
            run.become_ready(now);
        }
        run
    }

    /// A command that ran under an earlier emperor.
    pub fn adopted(
        life: Life,
        pid: u32,
        since: Instant,
        past: Past,
        now: Instant,
        definition: &Definition,
    ) -> Self {
        let mut run = Self::new(life, pid, now, definition);
        (run.since, run.every, run.unheard) = (since, past.every, true);
        let until = now + definition.ready_timeout;
        match past.stage {
            Stage::Rising { reload } => run.enter(Phase::Rising { until, reload }),
            Stage::Ready => run.become_ready(now),
            Stage::Reloading => run.enter(Phase::Reloading { until }),
            Stage::Leaving => run.enter(Phase::leaving(now, definition)),
        }
        run
    }

    /// What [`adopted`](Self::adopted) makes another of.
    pub fn past(&self) -> Past {
        let stage = match self.phase {
            Phase::Rising { reload, .. } => Stage::Rising { reload },
            Phase::Ready => Stage::Ready,
            Phase::Reloading { .. } => Stage::Reloading,
            Phase::Leaving { .. } => Stage::Leaving,
        };
        let every = self.every;
        Past { stage, every }
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether it is, or was and does something else now.
    pub fn was_ready(&self) -> bool {
        self.past().was_ready()
    }

    /// When something is due, if it says nothing before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Ready => None,
            Phase::Rising { until, .. } | Phase::Reloading { until } | Phase::Leaving { until, .. } => {
                Some(until)
            }
        };
        [phase, self.sign_until].into_iter().flatten().min()
    }

    pub(super) fn become_ready(&mut self, now: Instant) {
        self.phase = Phase::Ready;
        self.sign_until = self.every.map(|every| now + every);
    }

    /// Signs of life are not expected from a command that does something else than its work.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.sign_until = None;
    }

    /// Asks it to reload; it has as long as a start has.
    pub(super) fn reload(&mut self, now: Instant, definition: &Definition) {
        self.asked = Some(now);
        // The original's vassals say when they are ready again; of a signal nobody knows.
        if definition.reload == Reload::Emperor {
            let until = now + definition.ready_timeout;
            self.enter(Phase::Reloading { until });
        }
    }
}
