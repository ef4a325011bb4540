//! The status in the log: one line a vassal, with every counter.

use std::fmt::Write;

use super::daemon::Daemon;
use super::dialogue::Spoken;
use crate::config::Problem;
use crate::emperor::{Run, Trouble};
use crate::router::Traffic;

impl Daemon {
    /// Logs one line for each vassal, one for the uplink, and every open problem.
    pub(super) fn log_status(&self) {
        for (name, vassal) in self.emperor.vassals() {
            let run = vassal.state.run();
            let pid = run.map_or(0, |run| run.pid);
            let ready = run.is_some_and(Run::is_ready);
            let (state, restarts) = (vassal.state.word(), vassal.restarts);
            let traffic = counters(&self.traffic_of(name));
            let dropped = self.logs.dropped(name);
            let spoken = vassal.state.life().and_then(|life| self.lives.get(&life));
            let spoken = spoken
                .map(|alive| says(&alive.spoken) + &starved(alive.handle.cages().killed()))
                .unwrap_or_default();
            let last_end = vassal.last_end.as_ref();
            let last_end = last_end.map(ToString::to_string).unwrap_or_default();
            let why = vassal.state.rest().map(ToString::to_string).unwrap_or_default();
            tracing::info!(
                "status name={name} state={state} ready={ready} pid={pid} restarts={restarts} {traffic} log.dropped={dropped}{spoken} last_end={last_end:?} why={why:?}{}",
                troubles(vassal.troubles.open()),
            );
        }
        let device = &self.settings.router.device;
        tracing::info!(
            "status uplink={device} engine={} offload={} vassals={} {}",
            self.workers.engine(),
            self.uplink.offload(),
            self.fabric.vassals(),
            counters(&self.uplink_traffic())
        );
        for problem in self.problems.values().flatten() {
            tracing::info!("problem {problem}");
        }
        for vassal in self.emperor.vassals().values() {
            for trouble in vassal.troubles.open() {
                let problem = Problem::of_file(vassal.definition.path.clone(), trouble.why.clone());
                tracing::info!("problem {problem}");
            }
        }
    }
}

/// What could not be done for a vassal.
fn troubles(open: &[Trouble]) -> String {
    let mut text = String::new();
    for Trouble { why, .. } in open {
        let _ = write!(text, " trouble={why:?}");
    }
    text
}

/// How many of its processes were killed for want of memory.
fn starved(processes: u64) -> String {
    match processes {
        0 => String::new(),
        _ => format!(" out_of_memory={processes}"),
    }
}

/// What a vassal said of itself; whatever characters it used, the line stays one.
fn says(spoken: &Spoken) -> String {
    let mut text = String::new();
    for (word, said) in [("accepting", spoken.accepting), ("loyal", spoken.loyal)] {
        if said {
            let _ = write!(text, " {word}=true");
        }
    }
    if let Some(errno) = spoken.errno {
        let _ = write!(text, " errno={errno}");
    }
    if let Some(status) = &spoken.status {
        let _ = write!(text, " says={status:?}");
    }
    text
}

fn counters(traffic: &Traffic) -> String {
    let mut text = format!(
        "receive_packets={} receive_bytes={} transmit_packets={} transmit_bytes={} segmented_packets={}",
        traffic.receive_packets,
        traffic.receive_bytes,
        traffic.transmit_packets,
        traffic.transmit_bytes,
        traffic.segmented_packets,
    );
    for (reason, packets) in traffic.dropped.iter() {
        let _ = write!(text, " dropped.{}={packets}", reason.name());
    }
    text
}
