//! What the network is made of: interfaces, addresses, rules.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::scalars::{by_text, scalar};
use crate::config::problem::Place;
use crate::config::report::Report;
use crate::config::rule::{Protocol, Rule};
use crate::config::rule_text;
use crate::config::written::Read;
use crate::config::yaml::Node;

/// An address, perhaps with the length of its prefix.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Address {
    pub(in crate::config) address: IpAddr,
    pub(in crate::config) length: Option<u8>,
}

/// An address that must come with the length of its prefix.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Subnet(pub(in crate::config) IpNet);

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Device(pub(in crate::config) String);

impl Read for Device {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "the name of a network interface", |text| {
            let odd = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
            if text.is_empty() || text.len() > 15 {
                Err(format!(
                    "an interface's name has 1 to 15 bytes; this one has {}",
                    text.len()
                ))
            } else if text.contains(odd) {
                Err("an interface's name has no `/`, `:`, `%` or blank".to_owned())
            } else if matches!(text, "." | ".." | "lo" | "all" | "default") {
                Err("that name is taken; choose another, tun0 for instance".to_owned())
            } else {
                Ok(Self(text.to_owned()))
            }
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1, "maxLength": 15, "pattern": "^[^/:%\\s]+$"})
    }
}

impl Read for IpAddr {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "an address: 10.107.0.1", |text| {
            text.parse()
                .map_err(|_| "it takes an address without a prefix length: 10.107.0.1".to_owned())
        })
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Read for Address {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "an address: 10.107.0.2", |text| {
            let wish = || "it takes an IPv4 or IPv6 address: 10.107.0.2 or 10.107.0.2/24".to_owned();
            let (address, length) = match text.split_once('/') {
                Some((address, length)) => (address, Some(length)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().map_err(|_| wish())?;
            let length = length
                .map(|length| length.parse::<u8>().map_err(|_| wish()))
                .transpose()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            match length {
                Some(length) if length > most => Err(format!("a prefix length is {most} at most")),
                Some(_) | None => Ok(Self { address, length }),
            }
        })
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) => write!(f, "{}/{length}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

impl Read for Subnet {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(
            node,
            key,
            report,
            "an address with its prefix length: 10.107.0.1/24",
            |text| {
                let wish = "it takes an address with its prefix length: 10.107.0.1/24";
                text.parse().map(Self).map_err(|_| wish.to_owned())
            },
        )
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "/[0-9]+$"})
    }
}

/// `allow any any 80` is about protocol 80, which nobody speaks; port 80 was meant.
fn warn_of_a_lone_port(rule: &Rule, node: &Node, key: &str, report: &mut Report) {
    /// Well-known ports whose numbers are those of protocols long dead.
    const PORTS: [u8; 7] = [21, 22, 23, 25, 53, 80, 110];
    if let Some(Protocol::Number(number)) = rule.protocol
        && PORTS.contains(&number)
    {
        let message = format!("`{key}` is about the protocol number {number}, not about a port");
        report.warning(
            Some(node.place),
            message,
            format!("for the port write tcp {number} or udp {number}"),
        );
    }
}

impl Read for Rule {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let text = scalar(node, key, report, "a rule: allow 10.107.0.0/24 any tcp 80")?;
        match rule_text::parse(text) {
            Ok(rule) => {
                warn_of_a_lone_port(&rule, node, key, report);
                Some(rule)
            }
            Err(wrong) => {
                let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                let place = node.verbatim.map_or(node.place, |skip| Place {
                    line: node.place.line,
                    column: node
                        .place
                        .column
                        .saturating_add(skip)
                        .saturating_add(small(wrong.at)),
                    length: small(wrong.length),
                });
                report.error(Some(place), format!("`{key}`: {}", wrong.message), wrong.help);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^\\s*(allow|deny|reject)(\\s|$)"})
    }
}
