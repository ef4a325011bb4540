//! Durations and sizes as an operator writes them.

use std::time::Duration;

/// Reads `500ms`, `30s`, `3m`, `1h`: a whole number and its unit. `Err` is the wish.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let Ok(number) = number.parse::<u64>() else {
        return Err("write a whole number and a unit: 500ms, 30s, 3m or 1h".to_owned());
    };
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "" => return Err(format!("a duration needs its unit: write {number}s")),
        _ => {
            return Err(format!(
                "the units are ms, s, m and h: write {number}s, for instance"
            ));
        }
    };
    milliseconds
        .and_then(|unit: u64| number.checked_mul(unit))
        .filter(|&all| all <= 365 * 24 * 3_600_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "a duration is a year at most".to_owned())
}

/// Reads bytes, or `K`, `M`, `G` (powers of 1024) with an optional `iB`. `Err` is the wish.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let wish = || "write bytes, or a whole number with K, M or G: 10M (which is 10MiB)".to_owned();
    let number: u64 = number.parse().map_err(|_| wish())?;
    let shift = match unit {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "k" | "m" | "g" | "KB" | "kB" | "MB" | "GB" => {
            let right = unit[..1].to_uppercase();
            return Err(format!("sizes count in powers of 1024: write {number}{right}iB"));
        }
        _ => return Err(wish()),
    };
    number
        .checked_mul(1 << shift)
        .filter(|&all| all <= 1 << 40)
        .ok_or_else(|| "a size is 1024GiB at most".to_owned())
}

/// The digits at the front, and the rest.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("30").unwrap_err().contains("write 30s"));
        for bad in [
            "",
            "s",
            "-1s",
            "1.5s",
            "1d",
            "1s2",
            "99999999999999999999s",
            "9999999999h",
            "1 s s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1K", 1024),
            ("10MiB", 10 << 20),
            ("10M", 10 << 20),
            ("2G", 2 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert!(size("10MB").unwrap_err().contains("10MiB"));
        for bad in ["", "M", "-1", "1.5M", "1T", "99999999999999999999", "99999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
