//! One life: from the clone to the reaped exit status, as one task.
//!
//! ```text
//!   clone -> tun, link (borrowed thread, netlink) -> Prepared: the daemon attaches the router's port
//!         -> gate opened with the plan -> Born | Stillborn -> the end, reaped -> Ended
//! ```
//!
//! Whatever fails on the way kills the process, reaps it and ends in one `Ended(Stillborn(sentence))`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use nix::libc;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::config::Definition;
use crate::config::settings::Offload;
use crate::emperor::state::{End, Life};
use crate::sys::process::send_signal;
use crate::sys::readiness::readable;

use super::body::Body;
use super::channel;
use super::ears::{Ears, Sockets};
use super::error::{HostError, step_sentence};
use super::hooks::{Call, Facts, Line, Moment};
use super::init::{self, Plan};
use super::life::{Handle, Herald, News, Traces};
use super::link::{self, LinkPlan};
use super::logs::Opening;
use super::netns;
use super::notify::{self, Speakers};
use super::process::Process;
use super::spawn::{self, Cradle, Newborn};
use super::tree::Tree;
use super::tun::{self, Tun};
use super::userns;

/// Packets that may wait in a vassal's tun. The kernel's 500 overflows under a burst of super-frames.
pub const QUEUE_LENGTH: u32 = 1000;
/// Births at one time; more would only wait for each other's locks in the kernel.
pub const BIRTHS_AT_ONCE: usize = 16;

/// What is needed to give birth.
pub struct Birth {
    /// Whose.
    pub definition: Arc<Definition>,
    /// Which process.
    pub life: Life,
    /// Bound to it.
    pub addresses: Vec<IpNet>,
    /// How its tun is opened.
    pub offload: Offload,
    /// Standard output and error.
    pub output: OwnedFd,
    /// This program.
    pub cradle: Arc<Cradle>,
    /// The daemon's hold on it.
    pub handle: Arc<Handle>,
    /// Where its news go.
    pub herald: Herald,
    /// Limits births at one time.
    pub turn: Arc<Semaphore>,
    /// Where its `pre_start` queues and writes, if it has one.
    pub hook: Option<(Line, OwnedFd)>,
    /// The socket that the emperor listened on for it, if it is started on demand.
    pub listener: Option<OwnedFd>,
    /// Where the cgroup of its tree will be; absent = its pid namespace holds it together.
    pub tree: Option<PathBuf>,
}

impl Birth {
    /// Lives the life to its end, once its output is opened.
    pub async fn live(self, output: Opening) {
        let herald = self.herald.clone();
        let (name, life) = (self.definition.name.clone(), self.life);
        let tell = move |news| {
            // The daemon is gone only at the very end, when nobody listens any more.
            let _ = herald.send((name.clone(), life, news));
        };
        let born = match output.complete().await {
            Ok(()) => Box::pin(self.be_born(&tell)).await,
            Err(error) => Err(error.to_string()),
        };
        match born {
            Ok(body) => {
                tell(News::Born { pid: body.pid });
                tell(News::Ended(body.end(None, &tell).await));
            }
            Err(why) => tell(News::Ended(End::Stillborn(why))),
        }
    }

    /// All up to the command's first instruction; an error means that nothing is left.
    async fn be_born(self, tell: &impl Fn(News)) -> Result<Body, String> {
        let turn = self.turn.clone();
        let turn = turn.acquire().await.map_err(|_| "the emperor ends".to_owned())?;
        if self.handle.is_doomed() {
            return Err("no longer wanted".to_owned());
        }
        let newborn = self
            .cradle
            .clone_vassal(&self.definition, self.output.as_fd())
            .map_err(|error| error.to_string())?;
        let mut body = Body {
            name: self.definition.name.clone(),
            pid: newborn.pid,
            pidfd: newborn.pidfd.clone(),
            tree: None,
            ears: None,
            handle: self.handle.clone(),
        };
        let _ = self.handle.pidfd.set(newborn.pidfd.clone());
        let cradle = self.cradle.clone();
        let outcome = self.raise(newborn, &mut body, turn, tell).await;
        if let Ok(None) = outcome {
            return Ok(body);
        }
        // ESRCH: it has ended by itself.
        let _ = send_signal(&body.pidfd, libc::SIGKILL);
        let end = body.end(None, tell).await;
        Err(match outcome {
            Ok(report) => report.as_ref().map(step_sentence).unwrap_or_default(),
            // What was to be done to it failed because there was nothing left of it.
            Err(why) => cradle.failed(&end).map_or(why, |error| error.to_string()),
        })
    }

    /// Network, port, gate; what the init stage reports, if it failed.
    async fn raise(
        mut self,
        newborn: Newborn,
        body: &mut Body,
        turn: SemaphorePermit<'_>,
        tell: &impl Fn(News),
    ) -> Result<Option<init::Report>, String> {
        let pid = newborn.pid;
        if let Some(path) = &self.tree {
            let tree = Tree::plant(path, &self.definition.name, pid).map_err(|error| error.to_string())?;
            body.tree = Some(tree);
        }
        self.limit(pid)
            .and_then(|()| userns::settle(pid, &self.definition))
            .map_err(|error| error.to_string())?;
        let (tun, (netns, index), sockets, theirs) = self
            .give_network(&newborn)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(channel) = &sockets.channel {
            let _ = self.handle.channel.set(channel.clone());
        }
        body.ears = Ears::new(sockets, Speakers::of(pid, netns)).map_err(|error| error.to_string())?;
        let process = Process::of(pid).ok_or("its process has ended")?;
        let (answer, attached) = oneshot::channel();
        tell(News::Prepared {
            tun,
            traces: Traces {
                process,
                netns,
                index,
            },
            answer,
        });
        attached.await.map_err(|_| "the emperor ends".to_owned())??;
        // What may take long now is the operator's hook and its own disk, and nobody else's turn waits for those.
        drop(turn);
        self.call_pre_start(&body.pidfd, pid).await?;
        let descriptors: Vec<_> = self.listener.iter().chain(&theirs).map(AsFd::as_fd).collect();
        let report = newborn
            .open_gate(&plan(&self.definition, self.cradle.nofile), &descriptors)
            .map_err(|error| error.to_string())?;
        let report = Arc::new(report);
        // Readable or closed: either way the outcome is known.
        let watched = readable(report.clone()).map_err(|error| error.to_string())?;
        drop(watched.readable().await.map_err(|error| error.to_string())?);
        Ok(spawn::outcome(&report))
    }

    /// Puts a process that waits at its gate where its limits hold.
    fn limit(&self, pid: u32) -> Result<(), HostError> {
        let Definition { name, limits, .. } = &*self.definition;
        let cages = self.handle.cages();
        cages.raise(limits, name)?;
        cages.take(pid, name)
    }

    /// Runs the `pre_start` hook, for as long as there is somebody to start.
    async fn call_pre_start(&mut self, pidfd: &Arc<OwnedFd>, pid: u32) -> Result<(), String> {
        let (Some(hook), Some((line, output))) = (&self.definition.hooks.pre_start, self.hook.take()) else {
            return Ok(());
        };
        let facts = Facts {
            definition: &self.definition,
            addresses: &self.addresses,
            pid: Some(pid),
            end: None,
        };
        let call = Call::new(Moment::PreStart, hook, &facts, output, line);
        call.only_while(Some(pidfd.clone())).run().await
    }

    async fn give_network(
        &self,
        newborn: &Newborn,
    ) -> Result<(Tun, (u64, u32), Sockets, Option<OwnedFd>), HostError> {
        let name = self.definition.name.as_str();
        let network = &self.definition.network;
        let (device, offload, on) = (network.device.clone(), self.offload, name.to_owned());
        let definition = self.definition.clone();
        let (tun, socket, numbers, sockets) = netns::inside(newborn.pidfd.as_fd(), name, move || {
            // Persistent: it goes with its namespace, in one sweep with all the others, and not one by one.
            let tun = tun::open(&device, offload, true)?;
            let numbers = (netns::inode(netns::current()?)?, tun::index(&device)?);
            Ok((
                tun,
                link::route_socket(&on)?,
                numbers,
                Sockets::open(&definition)?,
            ))
        })
        .await?;
        let plan = LinkPlan {
            device: network.device.clone(),
            addresses: self.addresses.clone(),
            mtu: network.mtu,
            queue_length: QUEUE_LENGTH,
            gateways: network.gateways.clone(),
            loopback: true,
        };
        link::configure(socket, &plan)
            .await
            .map_err(|error| error.within(name))?;
        let (sockets, theirs) = sockets;
        Ok((tun, numbers, sockets, theirs))
    }
}

fn plan(definition: &Definition, given: Option<u64>) -> Plan {
    let namespaces = definition.namespaces;
    Plan {
        command: definition.command.clone(),
        environment: environment(definition),
        directory: definition.directory.clone(),
        hostname: definition.hostname.clone(),
        mounts: namespaces.mount,
        proc: namespaces.pid && namespaces.mount,
        identity: userns::identity(definition),
        listens: definition.listens(),
        nofile: definition.limits.nofile,
        nofile_given: given,
        core: definition.limits.core,
        capabilities: definition
            .capabilities
            .iter()
            .map(|capability| capability.0)
            .collect(),
        no_new_privileges: definition.no_new_privileges,
    }
}

/// A login's usual variables, then the definition's own over them.
fn environment(definition: &Definition) -> Vec<(String, String)> {
    let mut variables = std::collections::BTreeMap::from([("PATH".to_owned(), init::PATH.to_owned())]);
    if let Some(who) = &definition.identity {
        variables.insert("USER".to_owned(), who.user.clone());
        variables.insert("LOGNAME".to_owned(), who.user.clone());
        variables.insert("HOME".to_owned(), who.home.display().to_string());
    }
    variables.extend(definition.env.clone());
    if definition.listens() {
        // sd_listen_fds(3); the init stage knows the process id.
        variables.remove("LISTEN_PID");
        variables.insert("LISTEN_FDS".to_owned(), "1".to_owned());
        variables.insert("LISTEN_FDNAMES".to_owned(), definition.name.to_string());
    }
    // How it speaks to the emperor is not the definition's to say.
    if definition.has_notify() {
        variables.insert("NOTIFY_SOCKET".to_owned(), notify::ADDRESS.to_owned());
        if let Some(every) = definition.watchdog {
            variables.insert("WATCHDOG_USEC".to_owned(), every.as_micros().to_string());
        }
    }
    if definition.has_channel() {
        let number = channel::number(definition).to_string();
        variables.insert(channel::VARIABLE.to_owned(), number);
    }
    variables.into_iter().collect()
}
