//! The only room that does I/O.

pub mod ask;
pub mod calls;
pub mod channel;
pub mod confine;
pub mod daemon;
pub mod demand;
pub mod deploy;
pub mod dialogue;
pub mod ears;
pub mod error;
pub mod facts;
pub mod forwarding;
pub mod hooks;
pub mod init;
pub mod life;
pub mod link;
pub mod logs;
pub mod nat;
pub mod netns;
pub mod notify;
pub mod owner;
pub mod perform;
pub mod probe;
pub mod reading;
pub mod rootless;
pub mod selftest;
pub mod signals;
pub mod spawn;
pub mod state;
pub mod status;
pub mod tree;
pub mod tun;
pub mod uplink;
pub mod watch;
pub mod workers;

pub use error::{Doing, HostError};
