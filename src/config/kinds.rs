//! The kinds of values that keys take: each knows how to read itself off a node, and its schema.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::capability;
use super::definition::{Capability, LogTarget, RestartPolicy};
use super::problem::Place;
use super::report::{Report, suggest};
use super::rule::{Action, Rule};
use super::rule_text;
use super::settings::Offload;
use super::units;
use super::written::{Item, Read, key_text, shown, wrong_kind};
use super::yaml::{Node, Value};

/// A scalar that stands for itself: a word, or a number as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text(pub(super) String);

/// One argument or one value of the environment: any scalar, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument(pub(super) String);

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List<T>(pub(super) Vec<Item<T>>);

/// A list, or the one thing that would be in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OneOrMore<T>(pub(super) Vec<Item<T>>);

/// A word that stands for itself, or a list (or the one thing that would be in it).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WordOr<W, T> {
    /// The word.
    Word(W),
    /// The list.
    These(Vec<Item<T>>),
}

/// argv.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argv(pub(super) Vec<Item<Argument>>);

/// The environment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Env(pub(super) BTreeMap<String, Item<Argument>>);

/// A number of bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Size(pub(super) u64);

/// A signal's number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Signal(pub(super) i32);

/// An address, perhaps with the length of its prefix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) length: Option<u8>,
}

/// An address that must come with the length of its prefix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Subnet(pub(super) IpNet);

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device(pub(super) String);

/// What a chain does with a packet that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChainDefault(pub(super) Action);

/// A word that is the only word of its kind.
macro_rules! lone_word {
    ($(#[$doc:meta])+ $name:ident = $word:literal) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(super) struct $name;

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[($word, Self)];
        }
    };
}

lone_word!(/// Whatever is free, or as many as there are.
    Auto = "auto");
lone_word!(/// Not at all.
    Nothing = "none");
lone_word!(/// All of them.
    Any = "any");

/// One of the namespaces that a vassal may have beside its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamespaceWord {
    Pid,
    Mount,
    Uts,
    Ipc,
    Cgroup,
}

/// One of a few words.
pub(super) trait Choice: Sized + Copy + 'static {
    /// The words and what they stand for.
    const WORDS: &'static [(&'static str, Self)];

    /// What `word` stands for.
    fn find(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|&(_, meaning)| meaning)
    }

    /// The words alone.
    fn names() -> Vec<&'static str> {
        Self::WORDS.iter().map(|&(name, _)| name).collect()
    }
}

impl Choice for RestartPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("always", Self::Always),
        ("on-failure", Self::OnFailure),
        ("never", Self::Never),
    ];
}

impl Choice for LogTarget {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("file", Self::File),
        ("inherit", Self::Inherit),
        ("none", Self::None),
    ];
}

impl Choice for Offload {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

impl Choice for ChainDefault {
    const WORDS: &'static [(&'static str, Self)] =
        &[("allow", Self(Action::Allow)), ("deny", Self(Action::Deny))];
}

impl Choice for NamespaceWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pid", Self::Pid),
        ("mount", Self::Mount),
        ("uts", Self::Uts),
        ("ipc", Self::Ipc),
        ("cgroup", Self::Cgroup),
    ];
}

macro_rules! read_choice {
    ($($kind:ty),+) => {$(
        impl Read for $kind {
            fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
                let text = scalar(node, key, report, &format!("one of {}", Self::names().join(", ")))?;
                Self::find(text).or_else(|| {
                    let help = suggest(text, Self::names());
                    report.error(Some(node.place), format!("`{key}` is {}", shown(text)), help);
                    None
                })
            }

            fn schema() -> Json {
                json!({"enum": Self::names()})
            }
        }
    )+};
}
read_choice!(RestartPolicy, LogTarget, Offload, ChainDefault, NamespaceWord);

/// The text of a word or a number; anything else is of the wrong kind.
fn scalar<'n>(node: &'n Node, key: &str, report: &mut Report, wish: &str) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Null | Value::Flag(..) | Value::List(_) | Value::Map(_) => {
            wrong_kind(node, key, report, wish);
            None
        }
    }
}

/// Reads a scalar by a function whose `Err` is the wish.
fn by_text<T>(
    node: &Node,
    key: &str,
    report: &mut Report,
    wish: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = scalar(node, key, report, wish)?;
    match read(text) {
        Ok(value) => Some(value),
        Err(wish) => {
            report.error(Some(node.place), format!("`{key}` is {}", shown(text)), wish);
            None
        }
    }
}

impl Read for Text {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "a word (put it in quotes)", |text| {
            if text.is_empty() {
                return Err("write a value, or remove the key".to_owned());
            }
            if text.contains(char::is_control) {
                return Err("control characters have no place here".to_owned());
            }
            Ok(Self(text.to_owned()))
        })
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "minLength": 1})
    }
}

impl Read for Argument {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.contains('\0') => {
                report.error(
                    Some(node.place),
                    format!("`{key}` holds a NUL"),
                    "no argument can hold one",
                );
                None
            }
            Value::Text(text) | Value::Number(text) | Value::Flag(_, text) => Some(Self(text.clone())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                wrong_kind(
                    node,
                    key,
                    report,
                    "text; put it in quotes if YAML takes it for something else",
                );
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Read for bool {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Flag(flag, _) => Some(*flag),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                wrong_kind(node, key, report, "true or false, without quotes");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

impl Read for u32 {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let number = match &node.value {
            Value::Number(text) => text.parse().ok(),
            Value::Null | Value::Flag(..) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        };
        if number.is_none() {
            wrong_kind(
                node,
                key,
                report,
                "a whole number in plain digits, at most 4294967295",
            );
        }
        number
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
    }
}

impl Read for Duration {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(
            node,
            key,
            report,
            "a duration: 500ms, 30s, 3m or 1h",
            units::duration,
        )
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]+ *(ms|s|m|h)$"})
    }
}

impl Read for Size {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "a size: 10MiB", |text| {
            units::size(text).map(Self)
        })
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]+ *(B|[KMG](iB)?)?$", "minimum": 0})
    }
}

impl Read for Signal {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "a signal: TERM", |text| {
            capability::signal(text).map(Self)
        })
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "minimum": 1, "maximum": 64})
    }
}

impl Read for Capability {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(
            node,
            key,
            report,
            "the name of a capability",
            capability::capability,
        )
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "minimum": 0, "maximum": 63})
    }
}

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

impl Read for Rule {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let text = scalar(node, key, report, "a rule: allow 10.107.0.0/24 any tcp 80")?;
        match rule_text::parse(text) {
            Ok(rule) => Some(rule),
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

/// Reads every element, so that all that is wrong is reported; `None` if one was.
fn elements<T: Read>(nodes: &[Node], key: &str, report: &mut Report) -> Option<Vec<Item<T>>> {
    let all: Vec<Option<Item<T>>> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let value = T::read(node, &format!("{key}[{index}]"), report)?;
            Some(Item {
                value,
                place: Some(node.place),
            })
        })
        .collect();
    all.into_iter().collect()
}

/// Drops the places of elements.
fn forget<T: Read>(items: &mut [Item<T>]) {
    for item in items {
        item.place = None;
        item.value.forget_places();
    }
}

impl<T: Read> Read for List<T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            wrong_kind(node, key, report, "a list: [ … ]");
            return None;
        };
        elements(nodes, key, report).map(Self)
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }

    fn forget_places(&mut self) {
        forget(&mut self.0);
    }
}

impl<T: Read> Read for OneOrMore<T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let items = match &node.value {
            Value::List(nodes) => elements(nodes, key, report)?,
            Value::Null | Value::Flag(..) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                vec![Item {
                    value: T::read(node, key, report)?,
                    place: Some(node.place),
                }]
            }
        };
        if items.is_empty() {
            report.error(
                Some(node.place),
                format!("`{key}` is empty"),
                "it needs at least one",
            );
            return None;
        }
        Some(Self(items))
    }

    fn schema() -> Json {
        json!({"anyOf": [T::schema(), {"type": "array", "items": T::schema(), "minItems": 1}]})
    }

    fn forget_places(&mut self) {
        forget(&mut self.0);
    }
}

impl<W: Choice, T: Read> Read for WordOr<W, T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && let Some(word) = W::find(text)
        {
            return Some(Self::Word(word));
        }
        OneOrMore::read(node, key, report).map(|list| Self::These(list.0))
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"enum": W::names()}, T::schema(), {"type": "array", "items": T::schema(), "minItems": 1}
        ]})
    }

    fn forget_places(&mut self) {
        match self {
            Self::Word(_) => {}
            Self::These(items) => forget(items),
        }
    }
}

impl Read for Argv {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let nodes = match &node.value {
            Value::List(nodes) => nodes,
            Value::Text(text) | Value::Number(text) | Value::Flag(_, text) => {
                let shell = serde_json::to_string(text.trim_end()).unwrap_or_default();
                let help = format!("write it as a list: [/bin/sh, -c, {shell}]");
                report.error(Some(node.place), format!("`{key}` is one string"), help);
                return None;
            }
            Value::Null | Value::Map(_) => {
                wrong_kind(node, key, report, "a list: [/usr/bin/program, argument]");
                return None;
            }
        };
        let items: Vec<Item<Argument>> = elements(nodes, key, report)?;
        match items.first() {
            Some(program) if program.value.0.is_empty() => {
                report.error(
                    program.place,
                    format!("`{key}[0]` is empty"),
                    "it is the program to run",
                );
                None
            }
            Some(_) => Some(Self(items)),
            None => {
                let help = "it needs at least the program: [/usr/bin/program]";
                report.error(Some(node.place), format!("`{key}` is empty"), help);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "array", "items": Argument::schema(), "minItems": 1})
    }

    fn forget_places(&mut self) {
        forget(&mut self.0);
    }
}

impl Read for Env {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let Value::Map(pairs) = &node.value else {
            wrong_kind(node, key, report, "a map: {NAME: value}");
            return None;
        };
        let mut all = BTreeMap::new();
        let mut good = true;
        for (name_node, value_node) in pairs {
            let Some(name) = key_text(name_node, report) else {
                good = false;
                continue;
            };
            let full = format!("{key}.{name}");
            if name.is_empty() || name.contains(['=', '\0']) {
                let help = "the name of a variable is not empty and has no `=`";
                report.error(
                    Some(name_node.place),
                    format!("`{key}` has the name {}", shown(name)),
                    help,
                );
                good = false;
            }
            match Argument::read(value_node, &full, report) {
                Some(value) => {
                    let item = Item {
                        value,
                        place: Some(value_node.place),
                    };
                    if all.insert(name.to_owned(), item).is_some() {
                        report.error(
                            Some(name_node.place),
                            format!("`{full}` is written twice"),
                            "keep one of them",
                        );
                        good = false;
                    }
                }
                None => good = false,
            }
        }
        good.then_some(Self(all))
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^[^=]+$"},
            "additionalProperties": Argument::schema(),
        })
    }

    fn forget_places(&mut self) {
        for item in self.0.values_mut() {
            item.place = None;
        }
    }

    /// Variable by variable.
    fn merge(
        own: super::written::Slot<Self>,
        default: &super::written::Slot<Self>,
    ) -> super::written::Slot<Self> {
        use super::written::Slot;
        match (own, default) {
            (Slot::Given(mut own), Slot::Given(default)) => {
                for (name, item) in &default.value.0 {
                    own.value.0.entry(name.clone()).or_insert_with(|| item.clone());
                }
                Slot::Given(own)
            }
            (Slot::Absent, default) => default.clone(),
            (own @ (Slot::Given(_) | Slot::Bad), _) => own,
        }
    }
}
