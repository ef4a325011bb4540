//! The only room that does I/O.

pub mod error;
pub mod forwarding;
pub mod link;
pub mod nat;
pub mod netns;
pub mod tun;

pub use error::{Doing, HostError};
