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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;
    use crate::config::places::Places;
    use crate::config::problem::Problem;
    use crate::config::world::{Host, Identities};

    /// Every key of a schema as the keys that lead to it.
    fn paths(schema: &Value, above: &[String], all: &mut Vec<Vec<String>>) {
        let Some(properties) = schema["properties"].as_object() else {
            return;
        };
        assert_eq!(schema["additionalProperties"], false, "{above:?}");
        for (key, inner) in properties {
            let path = [above, std::slice::from_ref(key)].concat();
            assert!(
                inner["description"].as_str().is_some_and(|text| text.len() > 10),
                "{path:?}"
            );
            paths(inner, &path, all);
            all.push(path);
        }
    }

    /// `{a: {b: {}}}`
    fn file(path: &[String]) -> String {
        format!(
            "{}{}",
            path.iter().map(|key| format!("{{{key}: ")).collect::<String>(),
            "{}"
        ) + &"}".repeat(path.len())
    }

    fn problems(schema: &Value, text: &str) -> Vec<Problem> {
        let host = Host(Identities::Any);
        let path = Path::new("web.yaml");
        let none = load::settings(path, None, &Places::of_root(), &host)
            .value
            .unwrap();
        if schema["title"] == vassal_schema()["title"] {
            load::definition(path, text.as_bytes(), &none, &host).problems
        } else {
            load::settings(path, Some(text), &Places::of_root(), &host).problems
        }
    }

    #[test]
    fn the_schema_has_exactly_the_keys_that_are_read() {
        for schema in [vassal_schema(), settings_schema()] {
            let mut all = Vec::new();
            paths(&schema, &[], &mut all);
            assert!(all.len() > 20, "{all:?}");
            for path in all {
                let unknown = |text: &str| {
                    problems(&schema, text)
                        .iter()
                        .any(|problem| problem.message.starts_with("unknown key"))
                };
                assert!(!unknown(&file(&path)), "{path:?} is in the schema, but not read");
                let mut wrong = path.clone();
                wrong.last_mut().unwrap().push('x');
                assert!(unknown(&file(&wrong)), "{wrong:?}");
            }
        }
    }
}
