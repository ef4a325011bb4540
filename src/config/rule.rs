//! Firewall rules as data: what the operator's text means.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::definition::Name;

/// Rules in the order of the file, and what happens to a packet that none of them matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// First match decides.
    pub rules: Vec<Rule>,
    /// No match.
    pub default: Action,
}

impl Default for Chain {
    /// The empty chain lets everything pass, as in uWSGI.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            default: Action::Allow,
        }
    }
}

/// One rule: `ACTION [SRC [DST]] [PROTO [PORTS]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens to a packet that matches.
    pub action: Action,
    /// Where it comes from.
    pub source: Endpoint,
    /// Where it goes.
    pub destination: Endpoint,
    /// Upper-layer protocol; absent = any.
    pub protocol: Option<Protocol>,
    /// Destination ports of TCP or UDP; absent = any. A packet without ports (a later fragment) never
    /// matches a rule that has them.
    pub ports: Option<RangeInclusive<u16>>,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    Allow,
    /// It ends without a word.
    Deny,
    /// It ends, and its sender is told by ICMP.
    Reject,
}

/// One side of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Every address of both families.
    Any,
    /// A prefix; host bits are zero.
    Net(IpNet),
    /// Whatever addresses that vassal has at the moment; none if there is no such vassal.
    Vassal(Name),
}

/// Upper-layer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 1 for IPv4, 58 for IPv6
    Icmp,
    /// Any other by its number in IANA's registry.
    Number(u8),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        })
    }
}
