//! Sockets that the emperor listens on, and their modes.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::scalars::by_text;
use crate::config::report::Report;
use crate::config::written::Read;
use crate::config::yaml::Node;

/// Bytes of the longest path of a socket: `sun_path` of unix(7) without its NUL.
const LONGEST: usize = 107;

/// Where to listen.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum Listen {
    /// At an absolute path.
    Unix(PathBuf),
    /// At an address of the host.
    Tcp(SocketAddr),
}

/// Permissions, in octal digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct Mode(pub(in crate::config) u32);

impl Read for Listen {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let wish = "an absolute path, or an address and port: /run/web.sock or 127.0.0.1:8080";
        by_text(node, key, report, wish, |text| {
            if text.len() > LONGEST {
                Err(format!("the path of a socket has {LONGEST} bytes at most"))
            } else if text.ends_with('/') || text.contains(char::is_control) {
                Err(format!("it takes {wish}"))
            } else if text.starts_with('/') {
                Ok(Self::Unix(text.into()))
            } else {
                match text.parse::<SocketAddr>() {
                    Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
                    Ok(_) | Err(_) => Err(format!("it takes {wish}")),
                }
            }
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^/.*[^/]$|:[0-9]+$", "maxLength": LONGEST})
    }
}

impl Read for Mode {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "permissions in octal: 0660", |text| {
            let octal =
                (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
            match u32::from_str_radix(text, 8) {
                Ok(mode) if octal && mode <= 0o777 => Ok(Self(mode)),
                Ok(_) | Err(_) => Err("write three octal digits: 0660".to_owned()),
            }
        })
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^0?[0-7]{3}$", "minimum": 0})
    }
}
