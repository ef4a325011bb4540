//! A vassal's user namespace: its maps, what it cannot do for itself any more, and what lies above it.
//!
//! ```text
//!   clone3(NEWUSER | NEWNET | …)  the kernel gives the child every capability in its namespaces, and no id
//!   exec of the init stage        keeps them as ambient ones: whoever is not root loses them in an exec, and nobody
//!                                 is root before there is a map ([`crate::sys::clone`])
//!   [`settle`]                    the emperor writes the maps while the child waits at its gate
//!   init stage                    becomes root of it, keeps the capabilities that the definition names, execs
//! ```
//!
//! All in one clone, so that every other namespace belongs to this one and the capabilities count there: the vassal
//! may be given its network, its mounts, its host name, and nothing of the host. The emperor stands above it
//! and does from outside what it does for every vassal: it enters the network namespace, writes limits, takes
//! descriptors. Until it becomes root of its namespace the init stage is the emperor's user, without any capability
//! outside.
//!
//! The emperor may write every id that it has itself; newuidmap(1) is for those who may not, and it asks the same
//! files for what is subordinate. Where it is root of a namespace of its own ([`super::rootless`]) the files speak
//! of other numbers than it has, so only the vassal's own ids are mapped then. Where its groups are fixed for good
//! (`setgroups` denied) they are so in every namespace below, too.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::resource::Resource;

use crate::config::Definition;
use crate::config::namespaces::{Extent, UserNamespace};
use crate::sys::process::{parent_namespace, raise_hard_limit};

use super::error::{Doing, HostError};

/// Writes the maps of a vassal's process that waits at its gate, if it is in a user namespace of its own, and raises what it
/// cannot raise from there.
///
/// # Errors
/// If the kernel refuses an id: the emperor has it not itself (`EPERM`), or it stands twice in a map (`EINVAL`).
pub fn settle(pid: u32, definition: &Definition) -> Result<(), HostError> {
    let Some(user) = definition.namespaces.user else {
        return Ok(());
    };
    let identity = definition.identity.as_ref();
    let write = |file: &str, map: Vec<Extent>| {
        let lines: String = map.iter().map(|extent| format!("{extent}\n")).collect();
        // In one write: the kernel takes a map once and whole.
        std::fs::write(format!("/proc/{pid}/{file}"), lines)
            .map_err(|e| HostError::from_io(Doing::MapVassal, definition.name.as_str(), &e))
    };
    write("gid_map", user.gid_map(identity))?;
    write("uid_map", user.uid_map(identity))?;
    let limits = &definition.limits;
    let wished = [
        (Resource::RLIMIT_NOFILE, limits.nofile.map(u64::from)),
        (Resource::RLIMIT_CORE, limits.core),
    ];
    for (resource, least) in wished {
        // EPERM: we cannot either, and the init stage says so.
        match least.map_or(Ok(()), |least| raise_hard_limit(pid, resource, least)) {
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(HostError::new(Doing::MapVassal, definition.name.as_str(), errno)),
        }
    }
    Ok(())
}

/// User, group and other groups that the init stage becomes, by the numbers that it knows; `None` = it stays who it is.
pub fn identity(definition: &Definition) -> Option<(u32, u32, Vec<u32>)> {
    let who = definition.identity.as_ref()?;
    Some(match definition.namespaces.user {
        Some(_) => UserNamespace::identity(who),
        None => (who.uid, who.gid, who.groups.clone()),
    })
}

/// The user namespace in which that of the process `pid` was made, open.
///
/// # Errors
/// `EPERM` if it is none that we may see.
pub fn above(pid: u32) -> Result<OwnedFd, HostError> {
    let path = format!("/proc/{pid}/ns/user");
    let own = File::open(&path).map_err(|e| HostError::from_io(Doing::Open, &path, &e))?;
    parent_namespace(own).map_err(|errno| HostError::new(Doing::Open, path, errno))
}
