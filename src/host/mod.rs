//! The only room that does I/O.

pub mod error;

pub use error::{Doing, HostError};
