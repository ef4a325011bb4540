//! Whether a running vassal on demand is used.

use std::time::{Duration, Instant};

use crate::config::Name;
use crate::emperor::state::Life;
use crate::emperor::{Event, Word};
use crate::host::daemon::Daemon;

use super::arrivals::Eye;
use super::{Demands, usage};

/// How often in an idle time it is looked whether a vassal is used…
const LOOKS: u32 = 8;
/// …but not more often than this…
const SHORTEST: Duration = Duration::from_millis(250);
/// …and not more seldom.
const LONGEST: Duration = Duration::from_secs(30);
/// Whether a running vassal is used.
pub(super) struct Watch {
    life: Life,
    idle: Duration,
    used: Instant,
    pub(super) next: Instant,
    packets: u64,
    /// Looks out for the next client.
    eye: Option<Eye>,
}

impl Daemon {
    /// A vassal is ready; from here on it is watched whether it is used.
    pub(in crate::host) fn watch_usage(&mut self, name: &Name, life: Life) {
        let Some(vassal) = self.emperor.vassals().get(name) else {
            return;
        };
        let Some(idle) = vassal
            .definition
            .on_demand
            .as_ref()
            .and_then(|demand| demand.idle)
        else {
            return;
        };
        if self
            .demands
            .watches
            .get(name)
            .is_some_and(|watch| watch.life == life)
        {
            return;
        }
        let now = Instant::now();
        let watch = Watch {
            life,
            idle,
            used: now,
            next: now,
            packets: 0,
            eye: None,
        };
        self.demands.unwatch(name);
        self.demands.watches.insert(name.clone(), watch);
        self.look_at_usage(name, now);
    }

    /// Looks whether a vassal was used since the last look, and has it stopped if it was not for long enough.
    pub(super) fn look_at_usage(&mut self, name: &Name, now: Instant) {
        let traffic = self.traffic_of(name);
        let packets = traffic.receive_packets + traffic.transmit_packets;
        let Demands {
            watches,
            posts,
            arrivals,
            ..
        } = &mut self.demands;
        let Some(watch) = watches.get_mut(name) else {
            return;
        };
        let came = watch.eye.take_if(|eye| arrivals.has_seen(eye)).is_some();
        if came || packets != watch.packets {
            (watch.used, watch.packets) = (now, packets);
        }
        let mut unused = now.saturating_duration_since(watch.used) >= watch.idle;
        if let Some(post) = posts.get_mut(name) {
            // The list of connections may be long, so it is read only when all else says unused.
            if unused && usage::is_connected(&post.trigger) {
                (watch.used, unused) = (now, false);
            }
            let eye = watch.eye.take().map_or_else(|| arrivals.look_out(post), Ok);
            match eye {
                Ok(eye) => watch.eye = Some(eye),
                Err(error) => {
                    // Better a vassal that stays than one that is stopped while it is used.
                    tracing::debug!(%name, %error, "it cannot be seen whether clients come");
                    (watch.used, unused) = (now, false);
                }
            }
        }
        let pause = (watch.idle / LOOKS).clamp(SHORTEST, LONGEST);
        watch.next = (now + pause).min((watch.used + watch.idle).max(now + SHORTEST));
        if unused {
            let (life, idle) = (watch.life, watch.idle);
            self.is_unused(name, life, idle);
        }
    }

    fn is_unused(&mut self, name: &Name, life: Life, idle: Duration) {
        let (whose, word) = (name.clone(), Word::Unused);
        self.tell(Event::Says {
            name: whose,
            life,
            word,
        });
        let vassal = self.emperor.vassals().get(name);
        // One that reloads, for instance, is not stopped, and looked at again.
        if vassal.is_some_and(|vassal| vassal.state.run().is_none()) {
            tracing::info!(%name, ?idle, "nobody uses the vassal; it is stopped");
            self.demands.unwatch(name);
        }
    }

    /// The process of a vassal is over, and with it what was watched.
    pub(in crate::host) fn forget_usage(&mut self, name: &Name) {
        self.demands.unwatch(name);
    }
}

impl Demands {
    /// It is not looked any more whether a vassal is used.
    pub(super) fn unwatch(&mut self, name: &Name) {
        if let Some(eye) = self.watches.remove(name).and_then(|watch| watch.eye) {
            self.arrivals.close(eye);
        }
    }
}
