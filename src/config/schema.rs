//! The published JSON Schema of both files, made from the same tables as the walk over them.

use serde_json::{Value, json};

use super::mirror::{Emperor, Vassal};
use super::written::Read;

/// The schema of a vassal's file.
pub fn vassal_schema() -> Value {
    let mut schema = titled(Vassal::schema(), "mini-Emperor: a vassal");
    // `command` may come from the defaults of the settings, so no key is required.
    schema["minProperties"] = json!(1);
    schema
}

/// The schema of the emperor's own file.
pub fn settings_schema() -> Value {
    titled(Emperor::schema(), "mini-Emperor: the settings")
}

fn titled(mut schema: Value, title: &str) -> Value {
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}
