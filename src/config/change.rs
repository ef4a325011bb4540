//! What becomes of a running vassal when its definition is another one.

use super::definition::{Definition, Limits};

/// What a new definition asks of the vassal that runs under the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They mean the same.
    Nothing,
    /// Only keys differ that take effect while it runs.
    Live,
    /// It must be stopped and started.
    Restart,
}

impl Change {
    /// Compares two definitions of one vassal; the file's place does not matter.
    pub fn between(old: &Definition, new: &Definition) -> Self {
        if old == new {
            return Self::Nothing;
        }
        // What may differ without a restart is copied over; whatever still differs needs one.
        let mut live = old.clone();
        live.path.clone_from(&new.path);
        live.restart = new.restart.clone();
        live.stop = new.stop;
        live.reload = new.reload;
        live.ready = new.ready;
        live.ready_timeout = new.ready_timeout;
        live.watchdog = new.watchdog;
        live.hooks = new.hooks.clone();
        live.log = new.log.clone();
        live.network.firewall_out = new.network.firewall_out.clone();
        live.network.firewall_in = new.network.firewall_in.clone();
        live.network.bandwidth = new.network.bandwidth;
        // Limits of a process are its own from its first instruction on; those of the whole tree are not.
        live.limits = Limits {
            nofile: old.limits.nofile,
            core: old.limits.core,
            ..new.limits
        };
        // A socket can be given to a new process only.
        let speechless = new.has_channel() && !old.has_channel();
        if live == *new && !speechless {
            Self::Live
        } else {
            Self::Restart
        }
    }
}
