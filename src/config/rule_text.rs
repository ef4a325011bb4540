//! The grammar of a firewall rule: `ACTION [SRC [DST]] [PROTO [PORTS]]`, words between any run of blanks.
//!
//! uWSGI's text means the same here, with one difference: what it does not understand it lets pass, and this
//! grammar refuses it, with the place of the wrong word.

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
            let near = suggest(text, ["tcp", "udp", "icmp"]);
            let help = if near.starts_with("did") {
                near
            } else {
                format!("{near}, or a number from 0 to 255")
            };
            Err(word.wrong(format!("`{text}` is no protocol"), help))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Endpoint {
        Endpoint::Net(text.parse().unwrap())
    }

    fn rule(text: &str) -> Rule {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn the_documented_uwsgi_rules_mean_the_same() {
        let allow = rule("allow 192.168.0.0/24 0.0.0.0");
        assert_eq!(
            (allow.source, allow.destination),
            (net("192.168.0.0/24"), Endpoint::Any)
        );
        let one = rule("allow 192.168.0.0/24 192.168.0.1");
        assert_eq!(one.destination, net("192.168.0.1/32"));
        let masked = rule("deny 192.168.0.5/24 10.9.9.9/8");
        assert_eq!(
            (masked.source, masked.destination),
            (net("192.168.0.0/24"), net("10.0.0.0/8"))
        );
        let all = rule("deny");
        assert_eq!(
            (all.action, all.source, all.destination),
            (Action::Deny, Endpoint::Any, Endpoint::Any)
        );
        assert_eq!((all.protocol, all.ports), (None, None));
    }

    #[test]
    fn any_run_of_blanks_parts_words() {
        assert_eq!(
            rule("  deny \t 10.0.0.1   any  tcp\t80 "),
            rule("deny 10.0.0.1 any tcp 80")
        );
    }

    #[test]
    fn one_address_is_the_source() {
        let one = rule("reject 10.0.0.1");
        assert_eq!((one.source, one.destination), (net("10.0.0.1/32"), Endpoint::Any));
        let with_protocol = rule("reject 10.0.0.1 udp 53");
        assert_eq!(
            (with_protocol.source, with_protocol.ports),
            (net("10.0.0.1/32"), Some(53..=53))
        );
        assert_eq!(rule("allow tcp 80").protocol, Some(Protocol::Tcp));
    }

    #[test]
    fn unspecified_is_any_but_a_prefix_is_what_it_says() {
        assert_eq!(rule("deny 0.0.0.0").source, Endpoint::Any);
        assert_eq!(rule("deny ::").source, Endpoint::Any);
        assert_eq!(rule("deny 0.0.0.0/0").source, net("0.0.0.0/0"));
        assert_eq!(rule("deny 10.0.0.0/0").source, net("0.0.0.0/0"));
        assert_eq!(rule("deny ::/0").source, net("::/0"));
        assert_eq!(rule("deny 0.0.0.0/32").source, net("0.0.0.0/32"));
    }

    #[test]
    fn protocol_numbers_and_names_are_one() {
        assert_eq!(rule("deny any any 6 80"), rule("deny any any tcp 80"));
        assert_eq!(rule("deny any any 17"), rule("deny any any udp"));
        assert_eq!(rule("deny any any 47").protocol, Some(Protocol::Number(47)));
        assert_eq!(rule("deny any any 255").protocol, Some(Protocol::Number(255)));
    }

    #[test]
    fn what_is_not_understood_is_refused_at_its_word() {
        for (text, at, length) in [
            ("", 0, 1),
            ("   ", 0, 1),
            ("Deny", 0, 4),
            ("drop any", 0, 4),
            ("allow 10.0.0.0/33", 6, 11),
            ("allow 10.0.0.0/-1", 6, 11),
            ("allow 10.0.0.0/+8", 6, 11),
            ("allow ::/129", 6, 6),
            ("allow 10.0.0", 6, 6),
            ("allow any @", 10, 1),
            ("allow any any any", 14, 3),
            ("allow any any 256", 14, 3),
            ("allow any any tcp 0", 18, 1),
            ("allow any any tcp 65536", 18, 5),
            ("allow any any tcp 9-8", 18, 3),
            ("allow any any tcp 8-", 18, 2),
            ("allow any any tcp +8", 18, 2),
            ("allow any any tcp 1-2-3", 18, 5),
            ("allow any any tcp 80 443", 21, 3),
            ("allow any any icmp 8", 19, 1),
            ("allow any any 47 8", 17, 1),
            ("allow ä ö", 6, 1),
            ("allow 10.0.0.1 fd00::1", 15, 7),
            ("allow fd00::/8 10.0.0.1", 15, 8),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!((error.at, error.length), (at, length), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_itself(text in "(allow|deny|reject|any|tcp|[0-9./:@ -]|\\PC){0,12}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.at <= text.chars().count());
            }
        }
    }
}
