//! The grammar of a firewall rule: `ACTION [SRC [DST]] [PROTO [PORTS]]`, words between any run of blanks.
//!
//! uWSGI's text means the same here, with one difference: what it does not understand it lets pass, and this
//! grammar refuses it, with the place of the wrong word.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::definition::Name;
use super::report::suggest;
use super::rule::{Action, Endpoint, Protocol, Rule};

/// One word of a rule is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Where the word begins, in characters from the beginning of the rule.
    pub at: usize,
    /// Its length in characters, at least 1.
    pub length: usize,
    /// What is wrong with it.
    pub message: String,
    /// What would be right; may be empty.
    pub help: String,
}

/// A word and where it begins, in characters.
#[derive(Debug, Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    at: usize,
}

impl Word<'_> {
    fn wrong(self, message: impl Into<String>, help: impl Into<String>) -> RuleError {
        let length = self.text.chars().count().max(1);
        RuleError {
            at: self.at,
            length,
            message: message.into(),
            help: help.into(),
        }
    }
}

/// Reads one rule.
///
/// # Errors
/// The first word that does not fit.
pub fn parse(text: &str) -> Result<Rule, RuleError> {
    let mut words = words(text).into_iter().peekable();
    let Some(first) = words.next() else {
        let nothing = Word { text: "", at: 0 };
        return Err(nothing.wrong("the rule is empty", "write allow, deny or reject"));
    };
    let action = action(first)?;
    let mut sides = Vec::new();
    while let Some(word) = words.next_if(|word| sides.len() < 2 && !is_protocol(word.text)) {
        sides.push((word, endpoint(word)?));
    }
    one_family(&sides)?;
    let protocol_word = words.next();
    let protocol = protocol_word.map(protocol).transpose()?;
    let ports = match words.next() {
        Some(word) => Some(ports(word, protocol)?),
        None => None,
    };
    if let Some(extra) = words.next() {
        return Err(extra.wrong(
            format!("`{}` is one word too many", extra.text),
            "a rule ends after its ports: ACTION [SRC [DST]] [PROTO [PORTS]]",
        ));
    }
    let mut sides = sides.into_iter().map(|(_, side)| side);
    Ok(Rule {
        action,
        source: sides.next().unwrap_or(Endpoint::Any),
        destination: sides.next().unwrap_or(Endpoint::Any),
        protocol,
        ports,
    })
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut all = Vec::new();
    let mut begin: Option<(usize, usize)> = None;
    for (at, (byte, letter)) in text.char_indices().enumerate() {
        if letter.is_whitespace() {
            if let Some((at, from)) = begin.take() {
                all.push(Word {
                    text: &text[from..byte],
                    at,
                });
            }
        } else {
            begin.get_or_insert((at, byte));
        }
    }
    if let Some((at, from)) = begin {
        all.push(Word {
            text: &text[from..],
            at,
        });
    }
    all
}

fn action(word: Word<'_>) -> Result<Action, RuleError> {
    match word.text {
        "allow" => Ok(Action::Allow),
        "deny" => Ok(Action::Deny),
        "reject" => Ok(Action::Reject),
        other => {
            let help = match other {
                "drop" | "DROP" | "block" => "write `deny`".to_owned(),
                "accept" | "ACCEPT" | "pass" | "permit" => "write `allow`".to_owned(),
                _ => suggest(other, ["allow", "deny", "reject"]),
            };
            Err(word.wrong(format!("`{other}` is no action"), help))
        }
    }
}

/// Whether the word stands for a protocol: an address always has a dot or a colon, a name its `@`.
fn is_protocol(text: &str) -> bool {
    matches!(text, "tcp" | "udp" | "icmp") || text.bytes().all(|byte| byte.is_ascii_digit())
}

fn endpoint(word: Word<'_>) -> Result<Endpoint, RuleError> {
    let text = word.text;
    if text == "any" {
        return Ok(Endpoint::Any);
    }
    if let Some(name) = text.strip_prefix('@') {
        return Name::new(name).map(Endpoint::Vassal).ok_or_else(|| {
            word.wrong(
                format!("`{text}` names no vassal"),
                "a name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit",
            )
        });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        // uWSGI's word for "any"; with a prefix it is what it says.
        let any = address.is_unspecified();
        return Ok(if any {
            Endpoint::Any
        } else {
            Endpoint::Net(address.into())
        });
    }
    if let Some((address, length)) = text.split_once('/')
        && let Ok(address) = address.parse::<IpAddr>()
    {
        return prefix(word, address, length);
    }
    let help = suggest(text, ["any", "tcp", "udp", "icmp"]);
    let help = if help.starts_with("did") {
        help
    } else {
        "write any, an address, a prefix (10.0.0.0/8) or @name; or a protocol: tcp, udp, icmp, or its number"
            .to_owned()
    };
    Err(word.wrong(format!("`{text}` is neither an address nor a protocol"), help))
}

fn prefix(word: Word<'_>, address: IpAddr, length: &str) -> Result<Endpoint, RuleError> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let net = length
        .parse()
        .ok()
        .filter(|_| plain)
        .and_then(|length| IpNet::new(address, length).ok());
    match net {
        Some(net) => Ok(Endpoint::Net(net.trunc())),
        None => Err(word.wrong(
            format!("`/{length}` in `{}` is no prefix length", word.text),
            format!("it is a number from 0 to {most}"),
        )),
    }
}

/// A rule whose two sides are of different families is a mistake.
fn one_family(sides: &[(Word<'_>, Endpoint)]) -> Result<(), RuleError> {
    if let [(_, Endpoint::Net(source)), (word, Endpoint::Net(destination))] = sides
        && source.addr().is_ipv4() != destination.addr().is_ipv4()
    {
        return Err(word.wrong(
            format!(
                "`{}` is of another family than the source: this rule can never match",
                word.text
            ),
            "write one rule for IPv4 and one for IPv6",
        ));
    }
    Ok(())
}

fn protocol(word: Word<'_>) -> Result<Protocol, RuleError> {
    match word.text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "icmp" => Ok(Protocol::Icmp),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse::<u8>() {
            Ok(6) => Ok(Protocol::Tcp),
            Ok(17) => Ok(Protocol::Udp),
            Ok(number) => Ok(Protocol::Number(number)),
            Err(_) => Err(word.wrong(
                format!("{text} is no protocol number"),
                "protocols are numbered 0 to 255; ports follow their protocol: tcp 80",
            )),
        },
        text => {
            let help = suggest(text, ["tcp", "udp", "icmp"]);
            Err(word.wrong(
                format!("`{text}` is no protocol"),
                format!("{help}, or a number from 0 to 255"),
            ))
        }
    }
}

fn ports(word: Word<'_>, protocol: Option<Protocol>) -> Result<RangeInclusive<u16>, RuleError> {
    if !matches!(protocol, Some(Protocol::Tcp | Protocol::Udp)) {
        return Err(word.wrong(
            format!(
                "`{}` cannot follow this protocol: only tcp and udp have ports",
                word.text
            ),
            "write tcp or udp before the ports",
        ));
    }
    let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
    let one = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|&port| plain && port != 0)
    };
    match (one(first), one(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(first), Some(last)) => Err(word.wrong(
            format!("`{}` is a range that ends before it begins", word.text),
            format!("write {last}-{first}"),
        )),
        _ => Err(word.wrong(
            format!("`{}` is no port", word.text),
            "write a port from 1 to 65535, or a range: 8000-8099",
        )),
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
