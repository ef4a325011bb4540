//! What one vassal's file means, once it has been judged.
//!
//! Plain data. Everything optional in the file has been decided here: an `Option` survives only where
//! absence itself means something.
//!
//! It is also written as it is into the record of a running vassal, so that a later emperor, of a later version
//! too, knows what the process was started with. So a field that is added later needs a `serde(default)` that
//! says what held before there was such a field.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::namespaces::Namespaces;
use super::rule::Chain;

/// Where a program without `/` is looked up if the vassal's `env` has no `PATH`; the init stage sets it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name of a vassal: the stem of its file's name.
///
/// 1 to 63 bytes of ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit, so that it
/// can stand in file names, log prefixes, metrics labels and firewall rules (`@name`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks `text` and takes it as a name; `None` if it breaks the rule above.
    pub fn new(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let first = text.bytes().next()?;
        (text.len() <= 63 && first.is_ascii_alphanumeric() && text.bytes().all(good))
            .then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("no vassal can have that name")
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One vassal, judged: what to run, as whom, where, and on which network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The stem of the file's name.
    pub name: Name,
    /// The file it came from.
    pub path: PathBuf,
    /// argv; never empty. `command[0]` is an absolute path, or a name looked up in the vassal's `PATH`.
    pub command: Vec<String>,
    /// The whole environment of the command beside `PATH`, `HOME`, `USER`, … that the init stage sets.
    pub env: BTreeMap<String, String>,
    /// Working directory; absolute.
    pub directory: PathBuf,
    /// Host name inside the UTS namespace; absent = the host's own.
    pub hostname: Option<String>,
    /// Whom the command runs as; absent = the emperor's own user (only when the emperor is not root).
    pub identity: Option<Identity>,
    /// Capabilities that the command keeps (ambient), as bit numbers of `capabilities(7)`; usually none.
    pub capabilities: Vec<Capability>,
    /// `PR_SET_NO_NEW_PRIVS` before exec.
    pub no_new_privileges: bool,
    /// Namespaces beside the network namespace, which every vassal has.
    pub namespaces: Namespaces,
    /// What it may use of the machine.
    #[serde(default)]
    pub limits: Limits,
    /// Its interface, addresses and firewall.
    pub network: Network,
    /// When it is started again after it ended.
    pub restart: Restart,
    /// How it is asked to end.
    pub stop: Stop,
    /// How it is asked to read its configuration anew.
    pub reload: Reload,
    /// How it is known to be ready.
    pub ready: Ready,
    /// A command that is not ready after this is at fault; a reload gets as long.
    pub ready_timeout: Duration,
    /// A sign of life is due in every such interval; absent = none is.
    pub watchdog: Option<Duration>,
    /// Started by its first client; absent = at once.
    pub on_demand: Option<OnDemand>,
    /// What the emperor runs when something happens to it.
    #[serde(default)]
    pub hooks: Hooks,
    /// Where its standard output and error go.
    pub log: Log,
}

/// Numbers that the kernel knows a user by, resolved when the definition was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The user's name, for `USER` and `LOGNAME`; a number as text if it has none.
    pub user: String,
    /// Home directory, for `HOME`.
    pub home: PathBuf,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, exactly these.
    pub groups: Vec<u32>,
}

/// One capability of `capabilities(7)`: its bit number, 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Capability(pub u8);

/// A vassal's place in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Which addresses are bound to it.
    pub address: Addresses,
    /// Name of the tun inside the namespace; 1 to 15 bytes.
    pub device: String,
    /// Next hops of the default routes, at most one of each family; empty = no default route.
    pub gateways: Vec<IpAddr>,
    /// MTU in bytes, 576 (1280 with IPv6) to 65535.
    pub mtu: u16,
    /// Packets that leave the vassal.
    pub firewall_out: Chain,
    /// Packets that enter the vassal.
    pub firewall_in: Chain,
    /// How much may leave and enter it.
    #[serde(default)]
    pub bandwidth: Bandwidth,
}

/// How much may leave and enter a vassal; an absent direction has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// What leaves it.
    pub out: Option<Rate>,
    /// What enters it.
    pub in_: Option<Rate>,
}

/// Bytes of IP packets in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Bytes in a second; never 0.
    pub bytes: u64,
    /// Bytes that may be saved up and sent at once; never 0.
    pub burst: u64,
}

/// What a vassal may use of the machine; what is absent has no limit but the host's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory that all its processes have together.
    pub memory: Option<u64>,
    /// Processor time, in thousandths of a core.
    pub cpu: Option<u32>,
    /// Processes and threads at one time.
    pub pids: Option<u32>,
    /// Open descriptors of each process.
    pub nofile: Option<u32>,
    /// Bytes of a core file.
    pub core: Option<u64>,
}

/// The addresses of a vassal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addresses {
    /// One free address of each of the router's subnets, the same for the same name.
    Auto,
    /// Exactly these: at most one of each family, each with the length of its prefix.
    Fixed(Vec<IpNet>),
}

/// When a vassal is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// The first delay; doubles with each death in a row.
    pub delay: Duration,
    /// The delay never grows beyond this.
    pub max_delay: Duration,
    /// When it is not started again at all; absent = never.
    pub give_up: Option<GiveUp>,
}

/// How many deaths are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveUp {
    /// This many…
    pub deaths: u32,
    /// …within this time.
    pub within: Duration,
}

/// After which ends a vassal is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// After every end.
    Always,
    /// After an exit code other than 0, or a signal.
    OnFailure,
    /// Never; it stays down until its file changes.
    Never,
}

/// How a vassal is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What the command is told.
    pub signal: Farewell,
    /// After this the whole tree is killed.
    pub timeout: Duration,
}

/// What starts a vassal that is started on demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// A connection to a socket at this path.
    Unix {
        /// Absolute.
        path: PathBuf,
        /// Permissions.
        mode: u32,
        /// Owner; absent = the emperor.
        uid: Option<u32>,
        /// Group; absent = the emperor's.
        gid: Option<u32>,
    },
    /// A connection to this address of the host.
    Tcp(SocketAddr),
    /// A packet to one of its addresses that its firewall lets in.
    Packet,
}

/// What the emperor runs, as itself, when something happens to a vassal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// Before the command's first instruction; a failure is a failed start.
    pub pre_start: Option<Hook>,
    /// When the command runs.
    pub post_start: Option<Hook>,
    /// Before it is asked to end.
    pub pre_stop: Option<Hook>,
    /// When it has ended.
    pub post_stop: Option<Hook>,
}

/// A program that the emperor runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// argv; never empty.
    pub command: Vec<String>,
    /// After this it is killed, and has failed.
    pub timeout: Duration,
}

/// What a command is told when it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Farewell {
    /// This signal, by number.
    Signal(i32),
    /// The byte of uWSGI's emperor protocol for a graceful end.
    Emperor,
}

/// How a command is asked to read its configuration anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reload {
    /// It is stopped and started.
    Restart,
    /// By this signal.
    Signal(i32),
    /// By the byte of uWSGI's emperor protocol.
    Emperor,
}

/// How a command is known to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// As soon as it runs.
    Exec,
    /// It says so by `sd_notify(3)`.
    Notify,
    /// It says so by uWSGI's emperor protocol.
    Emperor,
    /// It accepts connections to this TCP port.
    Tcp(u16),
}

/// When a vassal is started by its first client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemand {
    /// What a client does.
    pub trigger: Trigger,
    /// Without a client for this long, it is stopped again; absent = never.
    pub idle: Option<Duration>,
}

/// Where a vassal's standard output and error go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The destination.
    pub to: LogTarget,
    /// A file that has reached this many bytes is rotated.
    pub max_size: u64,
    /// How many rotated files are kept.
    pub keep: u32,
}

/// The destination of a vassal's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// `NAME.log` in the log directory; also the terminal, if the emperor has one.
    File,
    /// The emperor's standard error, each line behind the vassal's name.
    Inherit,
    /// The system's journal.
    Journal,
    /// Nowhere.
    None,
}

impl Definition {
    /// Whether the command gets a socket that listens.
    pub fn listens(&self) -> bool {
        let trigger = self.on_demand.as_ref().map(|demand| &demand.trigger);
        trigger.is_some_and(|trigger| *trigger != Trigger::Packet)
    }

    /// Whether the command gets the control socket of uWSGI's emperor protocol.
    pub fn has_channel(&self) -> bool {
        self.ready == Ready::Emperor
            || self.reload == Reload::Emperor
            || self.stop.signal == Farewell::Emperor
    }

    /// Whether the command gets the socket of `sd_notify(3)`.
    pub fn has_notify(&self) -> bool {
        self.ready == Ready::Notify || self.watchdog.is_some() && !self.has_channel()
    }
}
