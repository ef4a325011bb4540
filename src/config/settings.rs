//! What the emperor's own file means, once it has been judged.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::mirror::Vassal;
use super::rule::Chain;

/// The emperor's settings; every key has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Directories that hold definitions; never empty.
    pub vassals: Vec<PathBuf>,
    /// The router.
    pub router: RouterSettings,
    /// The way out.
    pub nat: NatSettings,
    /// What becomes of the vassals when the emperor is told to end.
    pub on_exit: OnExit,
    /// Chains that every vassal's packets pass before its own.
    pub firewall_out: Chain,
    /// Chains that every vassal's packets pass before its own.
    pub firewall_in: Chain,
    /// What a vassal's file says where it says nothing.
    pub defaults: Defaults,
    /// A vassal runs as the owner of its file, who may ask for less than the operator.
    pub run_as_owner: bool,
    /// Where the lock, state and pipes of the running emperor live; removed on exit, unless vassals are kept.
    pub run_directory: PathBuf,
    /// What must outlive the emperor: which name had which address.
    pub state_directory: PathBuf,
    /// Where vassals' log files go.
    pub log_directory: PathBuf,
}

/// Vassal keys of the settings: what a vassal's file says where it says nothing.
///
/// Opaque: only [`definition`](super::load::definition) reads them. Two are equal if they say the same,
/// wherever in the file they stand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defaults(pub(super) Vassal);

impl Eq for Defaults {}

/// Settings of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// Name of the uplink; 1 to 15 bytes.
    pub device: String,
    /// Gateway address and subnet: one or two, at most one of each family.
    pub addresses: Vec<IpNet>,
    /// MTU of the uplink and default MTU of every vassal, in bytes.
    pub mtu: u16,
    /// Number of router threads; absent = one per core.
    pub workers: Option<u16>,
    /// How its threads read and write.
    pub engine: Engine,
    /// Whether frames cross whole.
    pub offload: Offload,
    /// Vassals cannot reach each other.
    pub isolate: bool,
}

/// How the router's threads read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The first of the others that this kernel grants.
    Auto,
    /// io_uring; refused at start where the kernel does not grant it.
    IoUring,
    /// epoll, read and write.
    Epoll,
}

/// Whether super-frames cross whole, with checksums left to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offload {
    /// As much as this kernel takes.
    Auto,
    /// All of it; refused at start where the kernel does not.
    On,
    /// None: the kernel cuts frames to the MTU and finishes checksums before the router sees them.
    Off,
}

/// What becomes of the vassals when the emperor is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They are stopped.
    Stop,
    /// They go on, and the next emperor takes them over.
    Keep,
}

/// Settings of the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatSettings {
    /// Rewrite the source of packets that leave the host to the host's own address.
    pub masquerade: bool,
    /// Outgoing interfaces that do so; empty = any but the uplink itself.
    pub interfaces: Vec<String>,
    /// Switch on forwarding in the host's kernel.
    pub ip_forward: bool,
}
