//! Whether the bytes of a file are text that everybody sees alike.

use super::problem::Place;

/// The first byte that no text has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoText {
    /// Where it stands.
    pub(super) place: Place,
    /// What is wrong with it.
    pub(super) message: &'static str,
    /// What would be right.
    pub(super) help: &'static str,
}

/// Reads bytes as text.
pub(super) fn read(bytes: &[u8]) -> Result<&str, NoText> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        NoText {
            place: end_of(&String::from_utf8_lossy(good)),
            message: "is not text: here is a byte that is not UTF-8",
            help: "save it as UTF-8",
        }
    })?;
    if let Some(at) = text.find('\0') {
        return Err(NoText {
            place: end_of(&text[..at]),
            message: "is not text: here is a NUL",
            help: "save it as UTF-8",
        });
    }
    if let Some(at) = lone_return(text) {
        return Err(NoText {
            place: end_of(&text[..at]),
            message: "here is a carriage return that ends no line",
            help: "save it with the line ends of Unix or Windows",
        });
    }
    Ok(text)
}

/// Where a carriage return stands without its line feed. YAML takes it for the end of a line, and terminals and
/// editors do not: what an operator sees would not be what is read, nor stand at the line that is told.
fn lone_return(text: &str) -> Option<usize> {
    text.match_indices('\r')
        .map(|(at, _)| at)
        .find(|at| text.as_bytes().get(at + 1) != Some(&b'\n'))
}

/// The place behind the end of `text`.
fn end_of(text: &str) -> Place {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line: count(text.matches('\n').count()).saturating_add(1),
        column: count(last.chars().count()).saturating_add(1),
        length: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_no_text_has_is_told_with_its_place() {
        for (bytes, line, column) in [
            (&b"a: 1\nb: \xe4\n"[..], 2, 4),
            (b"a: \0", 1, 4),
            ("\u{e4}\u{e4}\0".as_bytes(), 1, 3),
            (b"# harmless\rcommand: [rm]\n", 1, 11),
            (b"a: 1\r\nb: 2\r", 2, 5),
        ] {
            let place = read(bytes).expect_err("refused").place;
            assert_eq!((place.line, place.column), (line, column), "{bytes:?}");
        }
        assert_eq!(read(b"a: 1\r\nb: 2\n"), Ok("a: 1\r\nb: 2\n"));
    }
}
