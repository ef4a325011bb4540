//! Single values: text, flags, numbers, durations, sizes, signals, capabilities.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::capability;
use crate::config::definition::Capability;
use crate::config::report::Report;
use crate::config::units;
use crate::config::written::{Read, shown_node, wrong_kind};
use crate::config::yaml::{Node, Value};

/// A scalar that stands for itself: a word, or a number as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Text(pub(in crate::config) String);

/// One argument or one value of the environment: any scalar, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Argument(pub(in crate::config) String);

/// A whole number within these bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct Between<const LOW: u32, const HIGH: u32>(pub(in crate::config) u32);

/// A number of bytes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

/// Bits in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct BitRate(pub(in crate::config) u64);

/// Thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct Cores(pub(in crate::config) u32);

/// A signal's number.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Signal(pub(in crate::config) i32);

/// The text of a word or a number; anything else is of the wrong kind.
pub(super) fn scalar<'n>(node: &'n Node, key: &str, report: &mut Report, wish: &str) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Null | Value::Flag(..) | Value::List(_) | Value::Map(_) => {
            wrong_kind(node, key, report, wish);
            None
        }
    }
}

/// Reads a scalar by a function whose `Err` is the wish.
pub(super) fn by_text<T>(
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
            report.error(Some(node.place), format!("`{key}` is {}", shown_node(node)), wish);
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

impl<const LOW: u32, const HIGH: u32> Read for Between<LOW, HIGH> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let number = match &node.value {
            Value::Number(text) => text.parse().ok().filter(|number| (LOW..=HIGH).contains(number)),
            Value::Null | Value::Flag(..) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        };
        if number.is_none() {
            wrong_kind(node, key, report, &format!("a whole number from {LOW} to {HIGH}"));
        }
        number.map(Self)
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": LOW, "maximum": HIGH})
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

impl Read for BitRate {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "a rate: 10Mbit/s", |text| {
            units::rate(text).map(Self)
        })
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]+ *[kMG]bit/s$"})
    }
}

impl Read for Cores {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        by_text(node, key, report, "a number of cores: 0.5", |text| {
            units::cores(text).map(Self)
        })
    }

    fn schema() -> Json {
        json!({"type": "number", "minimum": 0.01, "maximum": 1024})
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
