//! What the name of a file says: whether it is a definition, and whose.

use std::ffi::OsStr;
use std::path::Path;

use super::definition::Name;
use super::report::Report;

/// Whether a file of that name is a definition: `*.yaml` or `*.yml`, and nobody's hidden, backup or swap
/// file.
pub fn is_definition(file_name: &OsStr) -> bool {
    let Some(name) = file_name.to_str() else {
        return false;
    };
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    stem.is_some_and(|stem| !stem.is_empty() && !name.starts_with(['.', '#', '~']))
}

/// The name that the path gives its vassal; a bad one is reported. `-`, standard input, names it `stdin`.
pub(super) fn name_of(path: &Path, report: &mut Report) -> Option<Name> {
    let stem = if path == Path::new("-") {
        Some(OsStr::new("stdin"))
    } else {
        path.file_stem()
    };
    let name = stem.and_then(OsStr::to_str).and_then(Name::new);
    if name.is_none() {
        let stem = stem.unwrap_or_default().to_string_lossy().into_owned();
        report.error(
            None,
            format!("its name gives a vassal no good name: {stem:?}"),
            "rename it: 1 to 63 letters, digits, `-`, `_` and `.`, the first a letter or digit",
        );
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_stems_name_vassals() {
        let name = |file: &str| {
            let mut report = Report::new(Path::new(file));
            let name = name_of(Path::new(file), &mut report);
            assert_eq!(name.is_some(), report.is_usable(), "{file}");
            name
        };
        for (file, expected) in [
            ("web.yaml", "web"),
            ("a/b/web-1.x.yml", "web-1.x"),
            ("-", "stdin"),
        ] {
            assert_eq!(name(file), Name::new(expected), "{file}");
        }
        for file in [
            "-x.yaml",
            "a b.yaml",
            "ä.yaml",
            ".yaml",
            &format!("{}.yaml", "x".repeat(64)),
        ] {
            assert_eq!(name(file), None, "{file}");
        }
    }

    #[test]
    fn only_yaml_files_that_nobody_hides_are_definitions() {
        for name in ["web.yaml", "web.yml", "web.v2.yaml"] {
            assert!(is_definition(OsStr::new(name)), "{name}");
        }
        for name in [
            "",
            ".yaml",
            ".web.yaml",
            "web.yaml~",
            "web.yaml.bak",
            ".web.yaml.swp",
            "#web.yaml#",
            "web.json",
            "web",
            "web.YAML",
            "~web.yaml",
        ] {
            assert!(!is_definition(OsStr::new(name)), "{name}");
        }
    }
}
