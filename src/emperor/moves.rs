//! The moves that the table is made of: to start, to wait, to ask, to kill, to decide after a death.

use std::time::{Duration, Instant};

use crate::config::definition::{Definition, RestartPolicy};

use super::pacing::Pacing;
use super::run::Run;
use super::state::{EXILE, End, Fault, Life, Rest, State, Then};
use super::table::{Notice, Order};

/// A process gets at least this long from its clone to its command's first instruction: many may be
/// waiting for the kernel's locks before it.
pub const BIRTH: Duration = Duration::from_secs(60);
/// A tree that was killed and still exists is killed again after this.
pub const KILL_AGAIN: Duration = Duration::from_secs(5);
/// A vassal that asks for more time to stop gets at most this many times its timeout in all.
pub const STOP_EXTENSIONS: u32 = 10;

/// All that a transition may look at or count, beside the state itself.
pub struct Circumstances<'a> {
    /// The newest definition.
    pub definition: &'a Definition,
    /// The vassal's back-off.
    pub pacing: &'a mut Pacing,
    /// The number of the next life; taken by a start.
    pub next_life: &'a mut u64,
    /// Now.
    pub now: Instant,
    /// A random number, for jitter.
    pub chance: u64,
}

impl Circumstances<'_> {
    pub(super) fn start(&mut self, orders: &mut Vec<Order>) -> State {
        let life = Life(*self.next_life);
        *self.next_life += 1;
        self.pacing.is_no_more_refused();
        orders.push(Order::Spawn(life));
        State::Starting {
            life,
            until: self.now + self.birth_limit(),
        }
    }

    /// A vassal that should be alive: started, or waited for. Its back-off begins anew.
    pub(super) fn begin(&mut self, orders: &mut Vec<Order>) -> State {
        *self.pacing = Pacing::default();
        if self.definition.on_demand.is_some() {
            wait_for_client(orders)
        } else {
            self.start(orders)
        }
    }

    /// The operator's `pre_start` has its own time on top.
    pub(super) fn birth_limit(&self) -> Duration {
        let hook = self.definition.hooks.pre_start.as_ref();
        let hook = hook.map_or(Duration::ZERO, |hook| hook.timeout);
        self.definition.ready_timeout.max(BIRTH) + hook
    }

    /// Asks a command to end.
    pub(super) fn stop(&self, run: &Run, then: Then, orders: &mut Vec<Order>) -> State {
        orders.push(Order::Ask(run.life));
        let timeout = self.definition.stop.timeout;
        State::Stopping {
            life: run.life,
            born: Some(run.since),
            kill_at: self.now + timeout,
            latest: self.now + timeout.saturating_mul(STOP_EXTENSIONS),
            then,
        }
    }

    /// Ends a command for `fault`, politely or not.
    pub(super) fn fell(&self, run: &Run, fault: Fault, orders: &mut Vec<Order>) -> State {
        orders.push(Order::Say(Notice::Fault(fault)));
        let then = Then::Again(fault);
        match fault {
            // It may be waiting for something, and able to hear that it need not.
            Fault::NotReady(_) | Fault::Displaced => self.stop(run, then, orders),
            Fault::NotBorn(_)
            | Fault::Watchdog(_)
            | Fault::Trigger
            | Fault::Lingering(_)
            | Fault::DeviceLost => self.kill(run.life, Some(run.since), then, orders),
        }
    }

    pub(super) fn kill(
        &self,
        life: Life,
        born: Option<Instant>,
        then: Then,
        orders: &mut Vec<Order>,
    ) -> State {
        orders.push(Order::Kill(life));
        let kill_at = self.now + KILL_AGAIN;
        State::Stopping {
            life,
            born,
            kill_at,
            latest: kill_at,
            then,
        }
    }

    /// A life ended that nobody asked to end, or that the emperor ended for a fault.
    pub(super) fn after(&mut self, end: End, born: Option<Instant>, orders: &mut Vec<Order>) -> State {
        let restart = &self.definition.restart;
        if end == End::Exited(EXILE) {
            return State::Down {
                end,
                why: Rest::Exile,
            };
        }
        let again = match restart.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => end.is_failure(),
            RestartPolicy::Never => false,
        };
        let on_demand = self.definition.on_demand.is_some();
        if !again && on_demand && !end.is_failure() {
            return wait_for_client(orders);
        }
        if !again {
            return State::Down {
                end,
                why: Rest::Policy,
            };
        }
        let ran = born.map(|born| self.now.saturating_duration_since(born));
        let delay = self.pacing.after_a_death(restart, ran, self.now, self.chance);
        match (delay, restart.give_up) {
            (None, Some(give_up)) => State::Down {
                end,
                why: Rest::GaveUp {
                    deaths: give_up.deaths,
                    within: give_up.within,
                },
            },
            (Some(_), _) if on_demand && !end.is_failure() && self.pacing.is_calm() => {
                wait_for_client(orders)
            }
            (delay, _) => State::Waiting {
                until: self.now + delay.unwrap_or(restart.max_delay),
            },
        }
    }

    /// A vassal asked to be left down until somebody needs it.
    pub(super) fn rest(&mut self, end: End, orders: &mut Vec<Order>) -> State {
        if self.definition.on_demand.is_some() {
            wait_for_client(orders)
        } else {
            State::Down {
                end,
                why: Rest::Asked,
            }
        }
    }
}

pub(super) fn wait_for_client(orders: &mut Vec<Order>) -> State {
    orders.push(Order::Await);
    State::Idle
}
