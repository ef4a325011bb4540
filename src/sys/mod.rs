//! Every unsafe line: one system call a block, one fact a SAFETY.
#![allow(unsafe_code)]

pub mod netlink;
pub mod tun;
