//! What the kernel refused: doing what, on what, with which errno, and what the operator can do about it.

use std::fmt;

use nix::errno::Errno;

use super::init::{Report, Step};

/// The kernel refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// What was being done.
    pub doing: Doing,
    /// On what: a vassal, a device, a path.
    pub on: String,
    /// The kernel's answer.
    pub errno: Errno,
}

impl HostError {
    /// `doing` on `on` ended with `errno`.
    pub fn new(doing: Doing, on: impl Into<String>, errno: Errno) -> Self {
        Self {
            doing,
            on: on.into(),
            errno,
        }
    }

    /// The same from an `io::Error`; one without an errno counts as `EIO`.
    pub fn from_io(doing: Doing, on: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(
            doing,
            on,
            error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        )
    }
}

impl HostError {
    /// Whether we lack means, so that it says nothing about what was being worked on.
    pub fn is_shortage(&self) -> bool {
        matches!(
            self.errno,
            Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS
        )
    }

    /// The same, saying whose network it was.
    #[must_use]
    pub fn within(mut self, vassal: &str) -> Self {
        self.on = format!("{} of {vassal}", self.on);
        self
    }
}

impl std::error::Error for HostError {}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {} ({:?})",
            self.doing,
            self.on,
            self.errno.desc(),
            self.errno
        )?;
        match advice(self.doing, self.errno) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// What was being done when the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's phrase below says what it is")]
pub enum Doing {
    StandIn,
    Clone,
    CloneWithUser,
    ExecItself,
    MapVassal,
    OpenTunDevice,
    CreateTun,
    AttachTun,
    SetOffload,
    TestOffload,
    EnterNamespace,
    IdentifyNamespace,
    OpenNetlink,
    FindLink,
    LinkUp,
    SetMtu,
    SilenceIpv6,
    AddAddress,
    AddRoute,
    SetForwarding,
    InstallNat,
    RemoveNat,
    WatchNat,
    Open,
    OpenGate,
    OpenLog,
    GiveLog,
    OpenNotify,
    OpenChannel,
    AskReload,
    Probe,
    Confine,
    StartWorker,
    StartEngine,
    ListenForSignals,
    Lock,
    MakeDirectory,
    ReadState,
    WriteState,
    EnterUserNamespace,
    MapIds,
    SeparateTree,
    LimitMemory,
    LimitCpu,
    LimitPids,
    Listen,
    FindJournal,
    WriteLog,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StandIn => "starting the emperor beside",
            Self::Clone => "creating the namespaces of",
            Self::CloneWithUser => "creating the namespaces, with a user namespace, of",
            Self::ExecItself => "starting the emperor's own program for a new process:",
            Self::MapVassal => "giving users and groups to the user namespace of",
            Self::OpenTunDevice => "opening",
            Self::CreateTun => "creating the tun",
            Self::AttachTun => "attaching to the tun",
            Self::SetOffload => "setting the offloads of",
            Self::TestOffload => "testing the offloads of",
            Self::EnterNamespace => "entering the network namespace of",
            Self::IdentifyNamespace => "identifying the network namespace of",
            Self::OpenNetlink => "opening a netlink socket for",
            Self::FindLink => "finding the link",
            Self::LinkUp => "setting up the link",
            Self::SetMtu => "setting the MTU",
            Self::SilenceIpv6 => "switching off automatic IPv6 addresses on",
            Self::AddAddress => "adding the address",
            Self::AddRoute => "adding the route",
            Self::SetForwarding => "switching on forwarding in",
            Self::InstallNat => "installing the nftables table",
            Self::RemoveNat => "removing the nftables table",
            Self::WatchNat => "watching the nftables table",
            Self::Open => "opening",
            Self::OpenGate => "opening the gate of",
            Self::OpenLog => "opening the log of",
            Self::GiveLog => "giving the pipe of its log to",
            Self::OpenNotify => "opening the notify socket of",
            Self::OpenChannel => "opening the control socket of",
            Self::AskReload => "asking for a reload by",
            Self::Probe => "probing a port of",
            Self::Confine => "confining",
            Self::StartWorker => "starting a thread of",
            Self::StartEngine => "starting the router on",
            Self::ListenForSignals => "listening for signals to",
            Self::Lock => "locking",
            Self::MakeDirectory => "making the directory",
            Self::ReadState => "reading",
            Self::WriteState => "writing",
            Self::EnterUserNamespace => "making a user namespace for",
            Self::MapIds => "writing",
            Self::SeparateTree => "making a cgroup for",
            Self::LimitMemory => "limiting the memory of",
            Self::LimitCpu => "limiting the processor time of",
            Self::LimitPids => "limiting the number of processes of",
            Self::Listen => "listening on",
            Self::FindJournal => "reaching the journal at",
            Self::WriteLog => "writing to",
        })
    }
}

/// What the operator can do about `errno` while `doing`.
#[allow(
    clippy::too_many_lines,
    reason = "one table: where to look for a piece of advice"
)]
fn advice(doing: Doing, errno: Errno) -> Option<&'static str> {
    match (doing, errno) {
        (Doing::Clone, Errno::EPERM) => Some("run as root, or allow unprivileged user namespaces"),
        (Doing::Clone, Errno::ENOSPC) => Some("raise user.max_net_namespaces and its siblings"),
        (Doing::CloneWithUser, Errno::ENOSPC | Errno::EUSERS) => Some(
            "raise user.max_user_namespaces (0 = there are to be none), user.max_net_namespaces and their siblings, or take user from its namespaces",
        ),
        (Doing::CloneWithUser, Errno::EPERM) => Some(
            "in a chroot, or under a policy against user namespaces, there are none (user_namespaces(7)); take user from its namespaces",
        ),
        (Doing::CloneWithUser, Errno::EINVAL) => {
            Some("this kernel has no user namespaces (CONFIG_USER_NS); take user from its namespaces")
        }
        (Doing::ExecItself, Errno::EACCES) => Some(
            "in a user namespace of its own the process is neither the file's owner nor of its group, nor may it pass over its mode: let others execute it (chmod o+x), or take user from its namespaces",
        ),
        (Doing::GiveLog, Errno::EINVAL) => Some(
            "the user namespace in which the emperor runs has no such id (/proc/self/uid_map and gid_map): have the definition, or `defaults` of the settings, name another `user` and `group`, or map more ids there",
        ),
        (Doing::MapVassal, Errno::EPERM) => Some(
            "the emperor cannot give what it has not itself (/proc/self/uid_map and gid_map): name another user, or take his subordinate ids out of /etc/subuid and /etc/subgid",
        ),
        (Doing::MapVassal, Errno::EINVAL) => Some(
            "its user or one of its groups lies among the subordinate ids of /etc/subuid or /etc/subgid, or there are too many groups",
        ),
        (Doing::OpenTunDevice, Errno::EACCES | Errno::EPERM) => {
            Some("make /dev/net/tun accessible (chmod 0666 /dev/net/tun is the usual setting)")
        }
        (Doing::OpenTunDevice, Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => {
            Some("load the tun module (modprobe tun)")
        }
        (Doing::CreateTun, Errno::EBUSY | Errno::EINVAL) => {
            Some("another program holds an interface of that name; choose another device name")
        }
        (Doing::CreateTun, Errno::EPERM) => Some("run as root, or inside a user and network namespace"),
        (Doing::AttachTun, Errno::EBUSY) => {
            Some("another program is attached to it; is another emperor running?")
        }
        (Doing::AddAddress, Errno::EACCES | Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP) => {
            Some("IPv6 is switched off here (net.ipv6.conf.*.disable_ipv6 or the kernel's ipv6.disable)")
        }
        (Doing::AddRoute, Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
            Some("the gateway must lie in the subnet of one of the link's addresses")
        }
        (Doing::SetOffload, Errno::EINVAL) => {
            Some("this kernel lacks an offload; set router.offload to auto")
        }
        (Doing::TestOffload, Errno::EPROTO) => {
            Some("super-frames do not survive on this kernel; set router.offload to auto or off")
        }
        (Doing::InstallNat | Doing::WatchNat, Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT) => {
            Some("this kernel has no nftables; set nat.masquerade to false")
        }
        (Doing::InstallNat | Doing::WatchNat, Errno::ENOENT) => Some(
            "this kernel lacks the modules nft_chain_nat or nft_masq; load them or set nat.masquerade to false",
        ),
        (Doing::SetForwarding, Errno::EROFS | Errno::EACCES | Errno::EPERM) => {
            Some("switch it on outside this container, or set nat.ip_forward to false")
        }
        (Doing::StartEngine, _) => Some(
            "this kernel has or allows no such io_uring (Linux 6.7, kernel.io_uring_disabled, seccomp); set router.engine to auto or epoll",
        ),
        (Doing::Lock, Errno::EAGAIN) => {
            Some("another emperor runs there; give this one its own run_directory")
        }
        (Doing::EnterUserNamespace, Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS) => Some(
            "run as root, or allow unprivileged user namespaces (user.max_user_namespaces, and on some systems kernel.apparmor_restrict_unprivileged_userns=0 or kernel.unprivileged_userns_clone=1)",
        ),
        (Doing::MapIds, Errno::EPERM | Errno::EACCES) => Some(
            "run as root, or let this program create user namespaces (on Ubuntu: an AppArmor profile with `userns,`)",
        ),
        (
            Doing::OpenLog | Doing::WriteLog | Doing::WriteState | Doing::MakeDirectory,
            Errno::ENOSPC | Errno::EDQUOT,
        ) => Some("make room there"),
        (Doing::OpenLog, Errno::ETIMEDOUT) => {
            Some("its disk does not answer within 5 s, or another program holds a lease of the file")
        }
        (Doing::AskReload, Errno::ECONNREFUSED) => {
            Some("its program has closed it: set reload to a signal, or to restart")
        }
        (Doing::AskReload, Errno::EAGAIN) => {
            Some("its program does not read it: set reload to a signal, or to restart")
        }
        (Doing::FindJournal, _) => Some("no systemd-journald runs here; set log.to to file"),
        (Doing::Listen, Errno::EADDRINUSE) => {
            Some("another program listens there, or what lies there is no socket that nobody uses")
        }
        (Doing::Listen, Errno::ENOENT) => Some("the directory must exist"),
        (Doing::Listen, Errno::EACCES) => Some("it is made by the file's owner, who may not write there"),
        (Doing::Listen, Errno::EBUSY) => {
            Some("too many sockets of this owner are waiting for directories that do not answer")
        }
        (Doing::Listen, Errno::EADDRNOTAVAIL) => Some("the host has no such address"),
        (Doing::SeparateTree, _) => Some(
            "without a pid namespace a vassal's tree can only be killed by a cgroup of version 2; add pid to its namespaces",
        ),
        (Doing::LimitMemory, Errno::ENOENT) => Some(
            "this kernel has no `memory` controller for the emperor's cgroup (cgroup_disable=memory, or it is not delegated: Delegate=yes)",
        ),
        (Doing::LimitCpu, Errno::ENOENT) => Some(
            "this kernel has no `cpu` controller for the emperor's cgroup (it is not built in, or not delegated: Delegate=yes)",
        ),
        (Doing::LimitPids, Errno::ENOENT) => Some(
            "this kernel has no `pids` controller for the emperor's cgroup (it is not built in, or not delegated: Delegate=yes)",
        ),
        (Doing::LimitMemory, Errno::EBUSY) => {
            Some("it uses more than that and the kernel cannot take it back")
        }
        (Doing::LimitCpu | Doing::LimitPids, Errno::EBUSY) => Some(
            "the emperor's cgroup has processes that cannot be moved out of it; with systemd, DelegateSubgroup=mini-emperor-supervisor",
        ),
        (
            Doing::LimitMemory | Doing::LimitCpu | Doing::LimitPids,
            Errno::EACCES | Errno::EPERM | Errno::EROFS,
        ) => Some(
            "run as root, or in a cgroup of version 2 that is delegated to this user (systemd-run --user --scope -p Delegate=yes)",
        ),
        (Doing::LimitMemory | Doing::LimitCpu | Doing::LimitPids, Errno::EAGAIN) => {
            Some("it starts processes faster than they can be moved")
        }
        (
            Doing::Clone
            | Doing::CloneWithUser
            | Doing::EnterNamespace
            | Doing::OpenLog
            | Doing::Listen
            | Doing::StartWorker,
            Errno::EAGAIN,
        ) => Some(
            "no more processes are allowed here: raise the emperor's limit (LimitNPROC= or TasksMax= of its unit, pids.max of its cgroup)",
        ),
        (_, Errno::EMFILE) => {
            Some("raise the emperor's limit of open files (LimitNOFILE= of its unit, ulimit -n)")
        }
        (_, Errno::ENFILE) => Some("the whole system has too many open files: raise fs.file-max"),
        _ => None,
    }
}

/// What the init stage could not do, as a sentence.
pub fn step_sentence(report: &Report) -> String {
    let errno = Errno::from_raw(report.errno);
    let doing = match report.step {
        Step::Session => "starting a session",
        Step::DetachMounts => "separating the mounts from the host's",
        Step::MountProc => "mounting its own /proc",
        Step::MountSys => "mounting its own /sys",
        Step::Hostname => "setting the host name",
        Step::Capabilities => "dropping capabilities",
        Step::OpenFiles => "limiting open descriptors to",
        Step::CoreSize => "limiting core files to",
        Step::Identity => "becoming",
        Step::NoNewPrivileges => "setting no_new_privs",
        Step::Directory => "changing to the directory",
        Step::Signals => "resetting signals",
        Step::Descriptors => "handing over descriptors",
        Step::Exec => "executing",
    };
    let advice = match (report.step, errno) {
        (Step::MountProc | Step::MountSys, Errno::EPERM) => {
            "; where parts of it are hidden (in most containers) it cannot be mounted anew: take pid and mount from its namespaces"
        }
        (Step::Identity, Errno::EINVAL) => "; that id is not mapped in this user namespace",
        (Step::Identity, Errno::EPERM) => {
            "; without root, users need subordinate ids (/etc/subuid, /etc/subgid)"
        }
        (Step::OpenFiles | Step::CoreSize, Errno::EPERM) => {
            "; it is more than the emperor's own hard limit, or than fs.nr_open"
        }
        (Step::Directory | Step::Exec, Errno::EACCES) => {
            "; its user may not go there: look at the directories above it"
        }
        (Step::Exec, Errno::ENOENT) => {
            "; there is no such program, or the interpreter that its first line names is missing"
        }
        (Step::Exec, Errno::ENOEXEC) => {
            "; it is neither a program of this machine nor a script with a #! line"
        }
        (Step::Directory, Errno::ENOENT) => "; make it, or change `directory`",
        _ => "",
    };
    let on = if report.on.is_empty() {
        String::new()
    } else {
        format!(" {}", report.on)
    };
    format!("{doing}{on}: {} ({errno:?}){advice}", errno.desc())
}
