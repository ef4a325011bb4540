//! The only room that does I/O.

pub mod adopt;
pub mod ask;
pub mod clock;
pub mod confine;
pub mod daemon;
pub mod deploy;
pub mod error;
pub mod facts;
pub mod forwarding;
pub mod init;
pub mod life;
pub mod link;
pub mod logs;
pub mod nat;
pub mod netns;
pub mod perform;
pub mod process;
pub mod pulse;
pub mod record;
pub mod rootless;
pub mod service;
pub mod signals;
pub mod spawn;
pub mod state;
pub mod status;
pub mod succession;
pub mod tree;
pub mod tun;
pub mod upgrade;
pub mod uplink;
pub mod watch;
pub mod workers;

pub use error::{Doing, HostError};
