//! What a hook knows of its vassal.

use ipnet::IpNet;

use super::Moment;
use crate::config::Definition;
use crate::emperor::state::End;
use crate::host::init::PATH;

/// What a hook is told about its vassal.
pub struct Facts<'a> {
    /// The newest definition.
    pub definition: &'a Definition,
    /// Bound to it.
    pub addresses: &'a [IpNet],
    /// Of the command (before its first instruction: of what becomes the command); absent when it has ended.
    pub pid: Option<u32>,
    /// How it ended.
    pub end: Option<&'a End>,
}

/// What a hook finds in its environment, and nothing else.
pub(super) fn environment(moment: Moment, facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let definition = facts.definition;
    let addresses: Vec<_> = facts.addresses.iter().map(|net| net.addr().to_string()).collect();
    let mut all = vec![
        ("PATH", PATH.to_owned()),
        ("MINI_EMPEROR_HOOK", moment.word().to_owned()),
        ("MINI_EMPEROR_VASSAL", definition.name.to_string()),
        ("MINI_EMPEROR_DEFINITION", definition.path.display().to_string()),
        ("MINI_EMPEROR_ADDRESS", addresses.join(" ")),
        ("MINI_EMPEROR_DEVICE", definition.network.device.clone()),
    ];
    if let Some(who) = &definition.identity {
        all.push(("MINI_EMPEROR_UID", who.uid.to_string()));
        all.push(("MINI_EMPEROR_GID", who.gid.to_string()));
    }
    if let Some(pid) = facts.pid {
        all.push(("MINI_EMPEROR_PID", pid.to_string()));
        all.push(("MINI_EMPEROR_NETNS", format!("/proc/{pid}/ns/net")));
    }
    if let Some(end) = facts.end {
        all.push(("MINI_EMPEROR_END", end.to_string()));
        match end {
            End::Exited(code) => all.push(("MINI_EMPEROR_END_CODE", code.to_string())),
            End::Killed(signal) => all.push(("MINI_EMPEROR_END_SIGNAL", signal.to_string())),
            End::OutOfMemory => all.push(("MINI_EMPEROR_END_SIGNAL", nix::libc::SIGKILL.to_string())),
            End::Stillborn(_) | End::Felled(_) | End::Unknown => {}
        }
    }
    all
}
