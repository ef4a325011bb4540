//! Lists of anything, and what may stand in their stead.

use serde_json::{Value as Json, json};

use super::words::Choice;
use crate::config::report::Report;
use crate::config::written::{Item, Read, wrong_kind};
use crate::config::yaml::{Node, Value};

/// A list. Elements that were refused are left out, so that the others can be judged all the same.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct List<T> {
    /// The good elements.
    pub(in crate::config) items: Vec<Item<T>>,
    /// Whether these are all.
    pub(in crate::config) whole: bool,
}

/// A list, or the one thing that would be in it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct OneOrMore<T>(pub(in crate::config) List<T>);

/// A word that stands for itself, or a list (or the one thing that would be in it).
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum WordOr<W, T> {
    /// The word.
    Word(W),
    /// The list.
    These(List<T>),
}

/// A word that stands for itself, or a value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) enum WordOrOne<W, T> {
    /// The word.
    Word(W),
    /// The value.
    This(T),
}

/// Reads every element, so that all that is wrong is reported.
pub(super) fn elements<T: Read>(nodes: &[Node], key: &str, report: &mut Report) -> List<T> {
    let read = |(index, node): (usize, &Node)| {
        let value = T::read(node, &format!("{key}[{index}]"), report)?;
        Some(Item {
            value,
            place: Some(node.place),
        })
    };
    let items: Vec<Item<T>> = nodes.iter().enumerate().filter_map(read).collect();
    let whole = items.len() == nodes.len();
    List { items, whole }
}

/// Drops the places of elements.
pub(super) fn forget<T: Read>(items: &mut [Item<T>]) {
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
        Some(elements(nodes, key, report))
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }

    fn forget_places(&mut self) {
        forget(&mut self.items);
    }
}

impl<T: Read> Read for OneOrMore<T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        if let Value::List(nodes) = &node.value {
            if nodes.is_empty() {
                report.error(
                    Some(node.place),
                    format!("`{key}` is empty"),
                    "it needs at least one",
                );
                return None;
            }
            return Some(Self(elements(nodes, key, report)));
        }
        let item = Item {
            value: T::read(node, key, report)?,
            place: Some(node.place),
        };
        Some(Self(List {
            items: vec![item],
            whole: true,
        }))
    }

    fn schema() -> Json {
        json!({"anyOf": [T::schema(), {"type": "array", "items": T::schema(), "minItems": 1}]})
    }

    fn forget_places(&mut self) {
        self.0.forget_places();
    }
}

/// Reads what stands instead of a word; if that fails for a scalar, the word is a part of the wish.
fn with_words<W: Choice, T>(
    node: &Node,
    report: &mut Report,
    read: impl FnOnce(&mut Report) -> Option<T>,
) -> Option<T> {
    let before = report.len();
    let value = read(report);
    let is_scalar = !matches!(node.value, Value::List(_) | Value::Map(_));
    if value.is_none() && report.len() > before && is_scalar {
        let text = match &node.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Null | Value::Flag(..) | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
        };
        report.words_also(text, &W::names());
    }
    value
}

impl<W: Choice, T: Read> Read for WordOr<W, T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && let Some(word) = W::find(text)
        {
            return Some(Self::Word(word));
        }
        with_words::<W, _>(node, report, |report| OneOrMore::read(node, key, report))
            .map(|list| Self::These(list.0))
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"enum": W::names()}, T::schema(), {"type": "array", "items": T::schema(), "minItems": 1}
        ]})
    }

    fn forget_places(&mut self) {
        match self {
            Self::Word(_) => {}
            Self::These(list) => list.forget_places(),
        }
    }
}

impl<W: Choice, T: Read> Read for WordOrOne<W, T> {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && let Some(word) = W::find(text)
        {
            return Some(Self::Word(word));
        }
        with_words::<W, _>(node, report, |report| T::read(node, key, report)).map(Self::This)
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": W::names()}, T::schema()]})
    }

    fn forget_places(&mut self) {
        match self {
            Self::Word(_) => {}
            Self::This(value) => value.forget_places(),
        }
    }
}
