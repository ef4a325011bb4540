//! How a command is asked to read its configuration anew: `restart`, `emperor`, `signal HUP` or `{signal: HUP}`.

use serde_json::{Value as Json, json};

use super::scalars::Signal;
use crate::config::capability;
use crate::config::definition::Reload;
use crate::config::report::{Report, suggest};
use crate::config::written::{Mirror, Read, mirror, shown_node, wrong_kind};
use crate::config::yaml::{Node, Value};

const WORDS: [&str; 3] = ["restart", "emperor", "signal"];
const WISH: &str = "restart, emperor, or the word signal and its name: signal HUP";

mirror! {
    /// A signal that asks for a reload.
    BySignal {
        /// The signal, by name or number. Required.
        signal: Signal,
    }
}

impl Read for Reload {
    fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Text(text) => match by_text(text) {
                Ok(reload) => Some(reload),
                Err(wish) => {
                    report.error(Some(node.place), format!("`{key}` is {}", shown_node(node)), wish);
                    None
                }
            },
            Value::Map(_) => {
                let by_signal = BySignal::walk(node, key, report)?;
                if by_signal.signal.is_absent() {
                    let message = format!("`{key}` names no signal");
                    report.error(Some(node.place), message, format!("it takes {WISH}"));
                }
                by_signal.signal.value().map(|signal| Self::Signal(signal.0))
            }
            Value::Null | Value::Flag(..) | Value::Number(_) | Value::List(_) => {
                wrong_kind(node, key, report, WISH);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"enum": ["restart", "emperor"]},
            {"type": "string", "pattern": "^signal +[A-Za-z0-9]+$"},
            BySignal::schema(),
        ]})
    }
}

/// `Err` is the wish.
fn by_text(text: &str) -> Result<Reload, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    match words[..] {
        ["restart"] => Ok(Reload::Restart),
        ["emperor"] => Ok(Reload::Emperor),
        ["signal", name] => capability::signal(name).map(Reload::Signal),
        ["signal"] => Err("name the signal: signal HUP".to_owned()),
        _ => {
            let near = suggest(text, WORDS);
            Err(if near.starts_with("did") {
                near
            } else {
                format!("it takes {WISH}")
            })
        }
    }
}
