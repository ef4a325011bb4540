//! The second part of the table: what a running command says, hears and misses, in each of its phases.

use crate::config::definition::{Ready, Reload};

use super::moves::Circumstances;
use super::run::{Phase, Run, Word};
use super::state::{Fault, State, Then};
use super::table::{Notice, Order};

/// An earlier emperor's process becomes the vassal's.
pub(super) fn adopt(run: Run, orders: &mut Vec<Order>, at: &Circumstances<'_>) -> State {
    if !run.was_ready()
        && let Ready::Tcp(_) = at.definition.ready
    {
        orders.push(Order::Probe(run.life));
    }
    State::Running(run)
}

/// Live keys of the definition changed.
///
/// A command was told at its start how often to give signs of life, and can only be held to that: a watchdog
/// that is new or shorter holds from its next start on.
pub(super) fn follow(mut run: Run, at: &Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    run.every = match (run.every, at.definition.watchdog) {
        (Some(told), Some(wanted)) => Some(told.max(wanted)),
        (None, _) | (_, None) => None,
    };
    match (run.phase, at.definition.ready) {
        (Phase::Ready, Ready::Exec | Ready::Notify | Ready::Emperor | Ready::Tcp(_)) => {
            run.become_ready(at.now)
        }
        (Phase::Rising { .. }, Ready::Exec) => return heed(run, Word::Ready, at, orders),
        (Phase::Rising { reload, .. }, ready @ (Ready::Notify | Ready::Emperor | Ready::Tcp(_))) => {
            let until = run.since + at.definition.ready_timeout;
            run.phase = Phase::Rising { until, reload };
            if let Ready::Tcp(_) = ready {
                orders.push(Order::Probe(run.life));
            }
        }
        (
            Phase::Reloading { .. } | Phase::Leaving { .. },
            Ready::Exec | Ready::Notify | Ready::Emperor | Ready::Tcp(_),
        ) => {}
    }
    State::Running(run)
}

/// What a running command says.
#[allow(clippy::too_many_lines, reason = "one table on one screen is the point")]
pub(super) fn heed(mut run: Run, word: Word, at: &Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    match (run.phase, word) {
        // Readiness.
        (Phase::Rising { reload: again, .. }, Word::Ready) => {
            run.become_ready(at.now);
            orders.push(Order::Say(Notice::Ready));
            if again {
                return reload(run, at, orders);
            }
        }
        (Phase::Reloading { .. }, Word::Ready) => {
            run.become_ready(at.now);
            orders.push(Order::Say(Notice::Ready));
        }
        (Phase::Ready | Phase::Leaving { .. }, Word::Ready) => {}

        // A reload that began before it was last asked to is not the answer to that.
        (Phase::Ready | Phase::Reloading { .. }, Word::Reloading(since)) => {
            if since.zip(run.asked).is_none_or(|(since, asked)| since >= asked) {
                let until = at.now + at.definition.ready_timeout;
                run.enter(Phase::Reloading { until });
            }
        }
        (Phase::Rising { .. } | Phase::Leaving { .. }, Word::Reloading(_)) => {}

        (Phase::Rising { .. } | Phase::Ready | Phase::Reloading { .. }, Word::Leaving) => {
            orders.push(Order::Say(Notice::Leaving));
            run.enter(Phase::leaving(at.now, at.definition));
        }
        (Phase::Leaving { .. }, Word::Leaving) => {}

        // Signs of life.
        (Phase::Ready, Word::Alive) => {
            run.every = run.every.or(at.definition.watchdog);
            run.become_ready(at.now);
        }
        (Phase::Rising { .. } | Phase::Reloading { .. } | Phase::Leaving { .. }, Word::Alive) => {}
        (Phase::Ready, Word::Every(every)) => {
            run.every = every;
            run.become_ready(at.now);
        }
        (Phase::Rising { .. } | Phase::Reloading { .. } | Phase::Leaving { .. }, Word::Every(every)) => {
            run.every = every;
        }

        // More time.
        (Phase::Rising { until, reload }, Word::Extend(more)) => {
            let until = until.max(at.now + more);
            run.phase = Phase::Rising { until, reload };
        }
        (Phase::Reloading { until }, Word::Extend(more)) => {
            let until = until.max(at.now + more);
            run.phase = Phase::Reloading { until };
        }
        (Phase::Leaving { until, latest }, Word::Extend(more)) => {
            let until = until.max(at.now + more).min(latest);
            run.phase = Phase::Leaving { until, latest };
        }
        (Phase::Ready, Word::Extend(_)) => {}

        // Whatever its phase.
        (
            Phase::Rising { .. } | Phase::Ready | Phase::Reloading { .. } | Phase::Leaving { .. },
            Word::MainPid(pid),
        ) => run.pid = pid,
        (
            Phase::Rising { .. } | Phase::Ready | Phase::Reloading { .. } | Phase::Leaving { .. },
            Word::Fault(fault),
        ) => return at.fell(&run, fault, orders),
        (
            Phase::Rising { .. } | Phase::Ready | Phase::Reloading { .. } | Phase::Leaving { .. },
            Word::Rest,
        ) => return at.stop(&run, Then::Rest, orders),
        (Phase::Ready, Word::Unused) => {
            if at.definition.on_demand.is_some() {
                return at.stop(&run, Then::Rest, orders);
            }
        }
        // It was needed when it began what it does now.
        (Phase::Rising { .. } | Phase::Reloading { .. } | Phase::Leaving { .. }, Word::Unused) => {}
    }
    State::Running(run)
}

/// The operator wants it to read its configuration anew.
pub(super) fn reload(mut run: Run, at: &Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    match (run.phase, at.definition.reload) {
        (Phase::Rising { .. } | Phase::Ready | Phase::Reloading { .. }, Reload::Restart) => {
            return at.stop(&run, Then::Start, orders);
        }
        // A command that is not ready may have no handler yet, and would die of the signal.
        (Phase::Rising { until, .. }, Reload::Signal(_) | Reload::Emperor) => {
            run.phase = Phase::Rising { until, reload: true };
        }
        (Phase::Ready | Phase::Reloading { .. }, Reload::Signal(_) | Reload::Emperor) => {
            orders.push(Order::Reload(run.life));
            run.reload(at.now, at.definition);
        }
        (Phase::Leaving { .. }, Reload::Restart | Reload::Signal(_) | Reload::Emperor) => {}
    }
    State::Running(run)
}

/// A running command let a moment pass.
pub(super) fn overdue(mut run: Run, at: &Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    if run.deadline().is_none_or(|due| at.now < due) {
        return State::Running(run);
    }
    match run.phase {
        Phase::Rising { .. } => late(run, at, orders),
        Phase::Ready => at.fell(&run, Fault::Watchdog(run.every.unwrap_or_default()), orders),
        Phase::Reloading { .. } => {
            orders.push(Order::Say(Notice::ReloadLate(at.definition.ready_timeout)));
            run.become_ready(at.now);
            State::Running(run)
        }
        Phase::Leaving { .. } => at.fell(&run, Fault::Lingering(at.definition.stop.timeout), orders),
    }
}

/// A command did not get ready in time, as far as is known.
fn late(run: Run, at: &Circumstances<'_>, orders: &mut Vec<Order>) -> State {
    let limit = at.definition.ready_timeout;
    match at.definition.ready {
        // It says so once, and may have said it to nobody.
        Ready::Notify | Ready::Emperor if run.unheard => {
            orders.push(Order::Say(Notice::Unheard(limit)));
            heed(run, Word::Ready, at, orders)
        }
        Ready::Exec | Ready::Tcp(_) | Ready::Notify | Ready::Emperor => {
            at.fell(&run, Fault::NotReady(limit), orders)
        }
    }
}
