//! Firewall rules as data: what the operator's text means.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::definition::Name;
use super::rule_text::parse;

/// Rules in the order of the file, and what happens to a packet that none of them matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse(&text).map_err(|error| error.message)
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

/// The rule in its own grammar; reading it again gives the same rule.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        if self.source != Endpoint::Any || self.destination != Endpoint::Any {
            write!(f, " {}", self.source)?;
        }
        if self.destination != Endpoint::Any {
            write!(f, " {}", self.destination)?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " {protocol}")?;
        }
        match &self.ports {
            Some(ports) if ports.start() == ports.end() => write!(f, " {}", ports.start()),
            Some(ports) => write!(f, " {}-{}", ports.start(), ports.end()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            // Without its length an unspecified address would mean "any".
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() && !net.addr().is_unspecified() => {
                write!(f, "{}", net.addr())
            }
            Self::Net(net) => write!(f, "{net}"),
            Self::Vassal(name) => write!(f, "@{name}"),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn endpoint_of(four: bool) -> BoxedStrategy<Endpoint> {
        let nets = if four {
            (any::<[u8; 4]>(), 0..=32_u8)
                .prop_map(|(bytes, length)| (IpAddr::from(bytes), length))
                .boxed()
        } else {
            (any::<[u8; 16]>(), 0..=128_u8)
                .prop_map(|(bytes, length)| (IpAddr::from(bytes), length))
                .boxed()
        };
        prop_oneof![
            Just(Endpoint::Any),
            nets.prop_map(|(address, length)| Endpoint::Net(IpNet::new(address, length).unwrap().trunc())),
            "[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}".prop_map(|name| Endpoint::Vassal(Name::new(&name).unwrap())),
        ]
        .boxed()
    }

    prop_compose! {
        fn any_rule()(four in any::<bool>())(
            action in prop_oneof![Just(Action::Allow), Just(Action::Deny), Just(Action::Reject)],
            source in endpoint_of(four),
            destination in endpoint_of(four),
            protocol in prop_oneof![
                Just(None), Just(Some(Protocol::Tcp)), Just(Some(Protocol::Udp)), Just(Some(Protocol::Icmp)),
                any::<u8>().prop_filter("has a name", |number| ![6, 17].contains(number))
                    .prop_map(|number| Some(Protocol::Number(number))),
            ],
            ports in proptest::option::of((1..=u16::MAX, 1..=u16::MAX)),
        ) -> Rule {
            let has_ports = matches!(protocol, Some(Protocol::Tcp | Protocol::Udp));
            let ports = ports.filter(|_| has_ports).map(|(a, b)| a.min(b)..=a.max(b));
            Rule { action, source, destination, protocol, ports }
        }
    }

    proptest! {
        #[test]
        fn a_rule_survives_being_written_and_read(rule in any_rule()) {
            let text = rule.to_string();
            prop_assert_eq!(parse(&text), Ok(rule), "{}", text);
        }
    }
}
