//! What was written: values with their places, and the walk that takes them off the tree.
//!
//! One table, made by [`mirror!`](mirror), names the keys of a map. The walk, the merge with the defaults
//! and the schema all read that table, so they cannot disagree about which keys exist.

use serde_json::{Map, Value as Json, json};

use super::problem::Place;
use super::report::{Report, suggest};
use super::yaml::{Node, Value};

/// A value and where it was written; no place = in the defaults of the settings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) place: Option<Place>,
}

/// What a file says for one key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Slot<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something that was refused; the report has it.
    Bad,
    /// This.
    Given(Item<T>),
}

impl<T> Slot<T> {
    /// The value with its place, if there is a good one.
    pub(super) fn item(&self) -> Option<&Item<T>> {
        match self {
            Self::Given(item) => Some(item),
            Self::Absent | Self::Bad => None,
        }
    }

    /// The value, if there is a good one.
    pub(super) fn value(&self) -> Option<&T> {
        self.item().map(|item| &item.value)
    }

    /// Where the value stands.
    pub(super) fn place(&self) -> Option<Place> {
        self.item().and_then(|item| item.place)
    }

    /// Whether the file says nothing.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Something that can be written as the value of a key.
pub(super) trait Read: Sized + Clone {
    /// Takes the value of `key` off the tree; what is wrong with it goes to the report.
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self>;

    /// The JSON Schema of what `read` takes.
    fn schema() -> Json;

    /// Drops the places inside the value, as its file does not matter any more.
    fn forget_places(&mut self) {}

    /// What holds for a key that the vassal's file and the defaults may both have.
    fn merge(own: Slot<Self>, default: &Slot<Self>) -> Slot<Self> {
        if own.is_absent() { default.clone() } else { own }
    }
}

/// Reads one value into its slot.
pub(super) fn slot<T: Read>(node: &Node, key: &str, report: &mut Report) -> Slot<T> {
    if matches!(node.value, Value::Null) {
        report.error(
            Some(node.place),
            format!("`{key}` has no value"),
            "write one, or remove the key",
        );
        return Slot::Bad;
    }
    match T::read(node, key, report) {
        Some(value) => Slot::Given(Item {
            value,
            place: Some(node.place),
        }),
        None => Slot::Bad,
    }
}

/// Drops the places of a slot.
pub(super) fn forget<T: Read>(slot: &mut Slot<T>) {
    if let Slot::Given(item) = slot {
        item.place = None;
        item.value.forget_places();
    }
}

/// Says that `key` holds the wrong kind of thing.
pub(super) fn wrong_kind(node: &Node, key: &str, report: &mut Report, wish: &str) {
    let what = if key.is_empty() {
        "the file".to_owned()
    } else {
        format!("`{key}`")
    };
    let message = match &node.value {
        Value::Null => format!("{what} has no value"),
        Value::Flag(..) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            format!("{what} is {}", shown_node(node))
        }
    };
    report.error(Some(node.place), message, format!("it takes {wish}"));
}

/// A value in a message: what kind of thing it is, or the scalar itself.
pub(super) fn shown_node(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Flag(_, text) | Value::Number(text) => text.clone(),
        Value::Text(text) => shown(text),
    }
}

/// A text in a message: quoted, and never longer than a line.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The maps of a file: known keys, each with what reads it.
pub(super) trait Mirror: Sized + Default {
    /// Every key, in the order of the documentation.
    const KEYS: &'static [&'static str];

    /// Reads the value of a known key.
    fn take(&mut self, name: &str, node: &Node, key: &str, report: &mut Report);

    /// Every key that the file itself gives a value, with the value's place; what comes from the defaults has none.
    fn own(&self) -> Vec<(&'static str, Place)>;

    /// Walks over a map: every key once, none unknown.
    fn walk(node: &Node, at: &str, report: &mut Report) -> Option<Self> {
        let Value::Map(pairs) = &node.value else {
            let wish = format!("a map with the keys {}", Self::KEYS.join(", "));
            wrong_kind(node, at, report, &wish);
            return None;
        };
        let mut mirror = Self::default();
        let mut seen: Vec<(&str, Place)> = Vec::new();
        for (key, value) in pairs {
            let Some(name) = key_text(key, report) else {
                continue;
            };
            let full = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let help = format!("it already stands in line {}; keep one of them", first.line);
                report.error(Some(key.place), format!("`{full}` is written twice"), help);
                continue;
            }
            seen.push((name, key.place));
            if Self::KEYS.contains(&name) {
                mirror.take(name, value, &full, report);
            } else {
                let help = suggest(name, Self::KEYS.iter().copied());
                report.error(Some(key.place), format!("unknown key `{full}`"), help);
            }
        }
        Some(mirror)
    }
}

/// The text of a key.
pub(super) fn key_text<'n>(key: &'n Node, report: &mut Report) -> Option<&'n str> {
    match &key.value {
        Value::Text(text) | Value::Number(text) | Value::Flag(_, text) => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => {
            report.error(Some(key.place), "a key must be a word", "");
            None
        }
    }
}

/// The name of a key that is a word of Rust, too (`r#in`).
pub(super) const fn bare(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// The schema of a map.
pub(super) fn object(properties: Map<String, Json>) -> Json {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// Puts the sentence that explains a key into its schema.
pub(super) fn described(mut schema: Json, lines: &[&str]) -> Json {
    if let Json::Object(map) = &mut schema {
        let text: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        map.insert("description".to_owned(), Json::String(text.join(" ")));
    }
    schema
}

/// Declares a map of the file: its keys, the types of their values, and what they mean (the doc comments
/// become the descriptions of the schema).
macro_rules! mirror {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $line:literal])+ $key:ident: $kind:ty,)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(super) struct $name {
            $($(#[doc = $line])+ pub(super) $key: $crate::config::written::Slot<$kind>,)+
        }

        impl $crate::config::written::Mirror for $name {
            const KEYS: &'static [&'static str] =
                &[$($crate::config::written::bare(stringify!($key))),+];

            fn take(
                &mut self,
                name: &str,
                node: &$crate::config::yaml::Node,
                key: &str,
                report: &mut $crate::config::report::Report,
            ) {
                $(if name == $crate::config::written::bare(stringify!($key)) {
                    self.$key = $crate::config::written::slot(node, key, report);
                })+
            }

            fn own(&self) -> Vec<(&'static str, $crate::config::problem::Place)> {
                let mut own = Vec::new();
                $(own.extend(
                    self.$key
                        .place()
                        .map(|place| ($crate::config::written::bare(stringify!($key)), place)),
                );)+
                own
            }
        }

        impl $crate::config::written::Read for $name {
            fn read(
                node: &$crate::config::yaml::Node,
                key: &str,
                report: &mut $crate::config::report::Report,
            ) -> Option<Self> {
                <Self as $crate::config::written::Mirror>::walk(node, key, report)
            }

            fn schema() -> serde_json::Value {
                let mut keys = serde_json::Map::new();
                $(keys.insert(
                    $crate::config::written::bare(stringify!($key)).to_owned(),
                    $crate::config::written::described(
                        <$kind as $crate::config::written::Read>::schema(),
                        &[$($line),+],
                    ),
                );)+
                $crate::config::written::object(keys)
            }

            fn forget_places(&mut self) {
                $($crate::config::written::forget(&mut self.$key);)+
            }

            fn merge(
                own: $crate::config::written::Slot<Self>,
                default: &$crate::config::written::Slot<Self>,
            ) -> $crate::config::written::Slot<Self> {
                use $crate::config::written::{Item, Read, Slot};
                match (own, default) {
                    (Slot::Given(own), Slot::Given(default)) => Slot::Given(Item {
                        value: Self {
                            $($key: Read::merge(own.value.$key, &default.value.$key),)+
                        },
                        place: own.place,
                    }),
                    (Slot::Absent, default) => default.clone(),
                    (own @ (Slot::Given(_) | Slot::Bad), _) => own,
                }
            }
        }
    };
}
pub(super) use mirror;
