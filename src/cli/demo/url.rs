//! The few URLs that the demo understands: `http://HOST[:PORT][/PATH]`.

use std::fmt;
use std::str::FromStr;

/// An `http` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A name, an IPv4 address, or an IPv6 address in brackets, as written.
    pub authority: String,
    /// TCP port.
    pub port: u16,
    /// Path and query; begins with `/`.
    pub path: String,
}

impl Url {
    /// The host as the resolver wants it: without brackets.
    pub fn host(&self) -> &str {
        self.authority.trim_start_matches('[').trim_end_matches(']')
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wish = || format!("`{text}` is not a URL that this understands; write http://HOST[:PORT][/PATH]");
        // Nothing that could break out of the request line may get into it.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wish());
        }
        let rest = text.strip_prefix("http://").ok_or_else(wish)?;
        let (place, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let end_of_host = place.rfind(']').map_or(0, |at| at + 1);
        let (authority, port) = match place[end_of_host..].find(':') {
            Some(at) => {
                let (authority, port) = place.split_at(end_of_host + at);
                (authority, port[1..].parse().map_err(|_| wish())?)
            }
            None => (place, 80),
        };
        let bare = authority
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(authority);
        if bare.is_empty() || bare.contains(['[', ']', '@']) {
            return Err(wish());
        }
        Ok(Self {
            authority: authority.to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.port == 80 {
            format!("http://{}{}", self.authority, self.path)
        } else {
            format!("http://{}:{}{}", self.authority, self.port, self.path)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_path_are_found_in_both_families() {
        let url: Url = "http://10.0.0.1:8080/a?b".parse().unwrap();
        assert_eq!(
            (url.host(), url.port, url.path.as_str()),
            ("10.0.0.1", 8080, "/a?b")
        );
        let url: Url = "http://[fd00::2]:81".parse().unwrap();
        assert_eq!((url.host(), url.port, url.path.as_str()), ("fd00::2", 81, "/"));
        let url: Url = "http://[fd00::2]/x".parse().unwrap();
        assert_eq!((url.host(), url.port), ("fd00::2", 80));
        assert_eq!(url.to_string(), "http://[fd00::2]/x");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "10.0.0.1",
            "https://a/",
            "http://",
            "http://:80/",
            "http://a:x/",
            "http://a:70000/",
            "http://a/\r\nX: y",
            "http://u@a/",
            "http://[::1/",
            "http://a b/",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad:?}");
        }
    }
}
