//! Turns YAML text into a tree of nodes that know their places; the only file that knows the YAML crate.
//!
//! The crate's own struct deserialiser stops at the first thing that does not fit. An operator wants all of
//! them, so this room asks it for a generic tree only, keeps duplicate keys, and leaves every judgement to
//! the walk over the tree.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, RenderOptions, SnippetMode, Spanned};

use super::problem::Place;

/// Most bytes that a file may have.
pub const MAX_BYTES: usize = 1 << 20;
/// Most values that a file may have, aliases expanded.
const MAX_NODES: usize = 10_000;
/// Deepest nesting of lists and maps.
const MAX_DEPTH: usize = 32;

/// One value of a file, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The value.
    pub(super) value: Value,
    /// Its first line.
    pub(super) place: Place,
    /// How far behind `place` the text itself begins (1 behind a quote); absent if escapes, folding or an
    /// alias keep the text from standing there letter by letter.
    pub(super) verbatim: Option<u32>,
}

/// What YAML can say.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`, as written.
    Flag(bool, String),
    /// A number, as written.
    Number(String),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file, repeated keys included.
    Map(Vec<(Node, Node)>),
}

/// The text is not YAML, or more of it than a file may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Where; absent if the parser does not say.
    pub(super) place: Option<Place>,
    /// What the parser has against it.
    pub(super) message: String,
}

/// Reads the one document of `text`; `None` if it holds nothing but blanks and comments.
pub(super) fn read(text: &str) -> Result<Option<Node>, SyntaxError> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 2,
            max_aliases: 100,
            max_anchors: 100,
            max_merge_keys: 100,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Spanned<Raw> =
        serde_yaml::from_str_with_options(text, options).map_err(|error| refusal(&error))?;
    let node = Source { text }.node(tree);
    Ok(match node.value {
        Value::Null if text.lines().all(is_blank) => None,
        Value::Null
        | Value::Flag(..)
        | Value::Number(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => Some(node),
    })
}

/// Whether a line says nothing.
fn is_blank(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
}

/// The crate's error in the operator's words.
fn refusal(error: &serde_yaml::Error) -> SyntaxError {
    let at = error.location().filter(|&at| at != Location::UNKNOWN);
    let place = at.map(|at| Place {
        line: small(at.line()).max(1),
        column: small(at.column()).max(1),
        length: 1,
    });
    let formatter = serde_yaml::DefaultMessageFormatter;
    let mut options = RenderOptions::new(&formatter);
    options.snippets = SnippetMode::Off;
    let message = error.render_with_options(options);
    let message = ["budget breached", "alias replay", "recursion limit"]
        .iter()
        .any(|limit| message.starts_with(limit))
        .then(|| {
            format!("holds more than a file may: at most {MAX_NODES} values, nested at most {MAX_DEPTH} deep")
        })
        .or_else(|| {
            message
                .starts_with("multiple YAML")
                .then(|| "holds a second document".to_owned())
        })
        .unwrap_or_else(|| {
            // The place is told by itself.
            let end = message.find(" at line ").unwrap_or(message.len());
            format!("is not YAML: {}", &message[..end])
        });
    SyntaxError { place, message }
}

/// A number of lines or characters; a file of [`MAX_BYTES`] never has more than fit.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The tree as the crate hands it over.
enum Raw {
    Null,
    Flag(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(flag))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(Raw::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = map.next_entry()? {
            all.push(pair);
        }
        Ok(Raw::Map(all))
    }
}

/// The text that the tree came from: what a scalar looked like before it became a number.
struct Source<'t> {
    text: &'t str,
}

impl Source<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let written = self.written(raw.defined);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Flag(flag) => Value::Flag(flag, written.to_owned()),
            Raw::Number => Value::Number(written.to_owned()),
            Raw::Text(text) => Value::Text(text),
            Raw::List(list) => Value::List(list.into_iter().map(|one| self.node(one)).collect()),
            Raw::Map(map) => Value::Map(
                map.into_iter()
                    .map(|(key, value)| (self.node(key), self.node(value)))
                    .collect(),
            ),
        };
        let scalar = match &value {
            Value::List(_) | Value::Map(_) | Value::Null => None,
            Value::Flag(_, text) | Value::Number(text) | Value::Text(text) => Some(text),
        };
        let here = scalar.filter(|_| raw.referenced == raw.defined);
        let verbatim = here.and_then(|text| verbatim(written, text));
        let first = self
            .written(raw.referenced)
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end();
        let length = if scalar.is_some() {
            small(first.chars().count() as u64)
        } else {
            1
        };
        Node {
            value,
            place: Place {
                line: small(raw.referenced.line()).max(1),
                column: small(raw.referenced.column()).max(1),
                length: length.max(1),
            },
            verbatim,
        }
    }

    /// The text at a location; empty if the crate does not know it.
    fn written(&self, at: Location) -> &str {
        let span = at.span();
        let range = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(from, length)| {
                let from = usize::try_from(from).ok()?;
                self.text.get(from..from + usize::try_from(length).ok()?)
            });
        range.unwrap_or_default()
    }
}

/// Where in `written` the letters of `text` begin.
fn verbatim(written: &str, text: &str) -> Option<u32> {
    if text.contains('\n') {
        None
    } else if written.starts_with(text) {
        Some(0)
    } else {
        written.strip_prefix(['"', '\''])?.starts_with(text).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        let at = format!("@{}:{}+{}", node.place.line, node.place.column, node.place.length);
        match &node.value {
            Value::Null => format!("null{at}"),
            Value::Flag(flag, text) => format!("{flag}<{text}>{at}"),
            Value::Number(text) => format!("#{text}{at}"),
            Value::Text(text) => format!("{text:?}{at}/{:?}", node.verbatim),
            Value::List(list) => format!("[{}]{at}", list.iter().map(show).collect::<Vec<_>>().join(" ")),
            Value::Map(map) => format!(
                "{{{}}}{at}",
                map.iter()
                    .map(|(k, v)| format!("{}={}", show(k), show(v)))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        }
    }

    #[test]
    fn probe() {
        for text in [
            "a: 1\nb: [x, \"y z\", 0x10, 1.50, true, yes, ~, '', 0755]\na: {c: d}\n",
            "a: &x [1,2]\nb: *x\n",
            "a: |\n  hello\n  you\nb: hé llo # c\nc: ü\n",
            "x",
            "",
            "# c\n",
            "a: !foo b",
            "a: !!str 10",
            "a: b: c",
            "a:\n\t- b",
            "a: [1",
            "\u{feff}a: 1",
            "a: 1\n---\nb: 2\n",
            "? [a, b]\n: c\n",
            "a: {}\nb:\n",
            "<<: {a: 1}\nb: 2\n",
            "a: \"x\n",
            "---\n",
            "a: .inf\nb: .nan",
            "a: 99999999999999999999999999999999999999999999",
            "%FOO\n---\na: 1",
            "a: *q",
            "1: 2\n1: 3",
            "a: x\n b: y",
            "a: 1\u{0}",
            "a: 2001-01-01",
            "a: +5",
            "a: -5",
            "a: 1e400",
            "a: 0o17",
            "a: 0b11",
            "a: 1_000",
            "a: 10:30",
            "a: !!int x",
            "a: !!binary aGk=",
            "a: @b",
            "a: `b",
            "a: %b",
            "a: - b",
        ] {
            match read(text) {
                Ok(Some(node)) => eprintln!("{text:?}\n   {}", show(&node)),
                Ok(None) => eprintln!("{text:?}\n   NONE"),
                Err(error) => eprintln!("{text:?}\n   {error:?}"),
            }
        }
        let t = std::time::Instant::now();
        for text in ["[".repeat(100_000), "a: ".repeat(100_000), format!("a: {}", "x".repeat(1<<20)), "{a: ".repeat(1000), "- ".repeat(100000), "a\n".repeat(500000), "a: b\n".repeat(200000), "&a ".repeat(300000), "\"".repeat(1<<20), "? ".repeat(500000), "!".repeat(1<<20), format!("[{}]","a,".repeat(500000)),
          "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]".to_owned(), "#".repeat(1<<20), " ".repeat(1<<20), "#\n".repeat(1<<19)] {
            let r = read(&text);
            eprintln!("{} {:?} {:?}", &text[..20.min(text.len())], t.elapsed(), r.map(|_|()));
        }
    }
}
