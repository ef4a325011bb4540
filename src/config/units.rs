//! Durations, sizes, rates and shares as an operator writes them.

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

/// Reads `10Mbit/s`, `500kbit/s`, `1Gbit/s` (powers of 1000) as bits in a second. `Err` is the wish.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let (digits, unit) = split(text);
    let wish = || "write a whole number and kbit/s, Mbit/s or Gbit/s: 10Mbit/s".to_owned();
    let number: u64 = digits.parse().map_err(|_| wish())?;
    let factor: u64 = match unit {
        "kbit/s" => 1_000,
        "Mbit/s" => 1_000_000,
        "Gbit/s" => 1_000_000_000,
        "kB/s" | "KB/s" | "MB/s" | "GB/s" => {
            let prefix = unit[..1].replace('K', "k");
            let bits = number.saturating_mul(8);
            return Err(format!("rates count bits: write {bits}{prefix}bit/s"));
        }
        "kbit" | "mbit" | "gbit" | "Mbit" | "Gbit" | "kbps" | "mbps" | "gbps" | "Kbps" | "Mbps" | "Gbps"
        | "Kbit/s" | "mbit/s" | "gbit/s" => {
            let prefix = match &unit[..1] {
                "k" | "K" => "k",
                "m" | "M" => "M",
                _ => "G",
            };
            return Err(format!(
                "the units are kbit/s, Mbit/s and Gbit/s: write {number}{prefix}bit/s"
            ));
        }
        _ => return Err(wish()),
    };
    number
        .checked_mul(factor)
        .filter(|bits| (8_000..=100_000_000_000).contains(bits))
        .ok_or_else(|| "a rate is from 8kbit/s to 100Gbit/s".to_owned())
}

/// Reads `2`, `0.5`, `1.25` as thousandths. `Err` is the wish.
pub(super) fn cores(text: &str) -> Result<u32, String> {
    let wish = || "write a number of cores, with three digits behind the point at most: 0.5 or 2".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 {
        return Err(wish());
    }
    let thousandths = format!("{whole}{part:0<3}").parse::<u32>().ok();
    thousandths
        .filter(|all| (10..=1_024_000).contains(all))
        .ok_or_else(|| "it is from 0.01 to 1024 cores".to_owned())
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
    fn rates_count_bits_in_powers_of_1000() {
        for (text, bits) in [
            ("8kbit/s", 8_000),
            ("10Mbit/s", 10_000_000),
            ("10 Mbit/s", 10_000_000),
            ("1Gbit/s", 1_000_000_000),
            ("100Gbit/s", 100_000_000_000),
        ] {
            assert_eq!(rate(text), Ok(bits), "{text}");
        }
        assert!(rate("10mbit").unwrap_err().contains("write 10Mbit/s"));
        assert!(rate("1MB/s").unwrap_err().contains("write 8Mbit/s"));
        for bad in [
            "",
            "10",
            "Mbit/s",
            "-1Mbit/s",
            "1.5Mbit/s",
            "0kbit/s",
            "7kbit/s",
            "101Gbit/s",
            "99999999999999999999Gbit/s",
            "18446744073709551615GB/s",
            "1Tbit/s",
            "1Mbit/s/s",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cores_have_three_digits_behind_the_point() {
        for (text, thousandths) in [
            ("2", 2_000),
            ("0.5", 500),
            ("1.25", 1_250),
            ("0.010", 10),
            ("1024", 1_024_000),
        ] {
            assert_eq!(cores(text), Ok(thousandths), "{text}");
        }
        for bad in [
            "",
            "0",
            "0.009",
            ".5",
            "5.",
            "1.2345",
            "-1",
            "1e3",
            "50%",
            "1025",
            "99999999999",
        ] {
            assert!(cores(bad).is_err(), "{bad}");
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
