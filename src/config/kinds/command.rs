//! The command and its environment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::lists::{List, elements, forget};
use super::scalars::Argument;
use crate::config::report::Report;
use crate::config::written::{Item, Read, Slot, key_text, shown, wrong_kind};
use crate::config::yaml::{Node, Value};

/// argv.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Argv(pub(in crate::config) Vec<Item<Argument>>);

/// argv, or a map that has it among other things.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum ArgvOr<M> {
    /// argv alone.
    Argv(Argv),
    /// The map.
    Map(M),
}

/// The environment.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Env(pub(in crate::config) BTreeMap<String, Item<Argument>>);

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
        let List::<Argument> { items, whole } = elements(nodes, key, report);
        if !whole {
            return None;
        }
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

impl<M: Read> Read for ArgvOr<M> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Map(_) => M::read(node, key, report).map(Self::Map),
            Value::Null | Value::Flag(..) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                Argv::read(node, key, report).map(Self::Argv)
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [Argv::schema(), M::schema()]})
    }

    fn forget_places(&mut self) {
        match self {
            Self::Argv(argv) => argv.forget_places(),
            Self::Map(map) => map.forget_places(),
        }
    }
}

impl Read for Env {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        let Value::Map(pairs) = &node.value else {
            wrong_kind(node, key, report, "a map: {NAME: value}");
            return None;
        };
        let mut all = BTreeMap::new();
        let mut seen = BTreeSet::new();
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
            if !seen.insert(name) {
                report.error(
                    Some(name_node.place),
                    format!("`{full}` is written twice"),
                    "keep one of them",
                );
                good = false;
            }
            let value = Argument::read(value_node, &full, report);
            good &= value.is_some();
            let place = Some(value_node.place);
            all.extend(value.map(|value| (name.to_owned(), Item { value, place })));
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
    fn merge(own: Slot<Self>, default: &Slot<Self>) -> Slot<Self> {
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
