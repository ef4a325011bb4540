//! The only room that does I/O.

pub mod ask;
pub mod channel;
pub mod confine;
pub mod daemon;
pub mod deploy;
pub mod dialogue;
pub mod ears;
pub mod error;
pub mod facts;
pub mod forwarding;
pub mod init;
pub mod life;
pub mod link;
pub mod logs;
pub mod nat;
pub mod netns;
pub mod notify;
pub mod perform;
mod posts;
pub mod probe;
pub mod rootless;
pub mod selftest;
pub mod signals;
pub mod spawn;
pub mod state;
pub mod status;
pub mod strays;
pub mod tree;
pub mod tun;
pub mod uplink;
pub mod watch;
mod way;
pub mod workers;

pub use error::{Doing, HostError};
