//! mini-Emperor: supervises programs in network namespaces of their own and routes their packets.

pub mod cli;
pub mod config;
pub mod emperor;
pub mod host;
pub mod packet;
pub mod router;
pub mod sys;
