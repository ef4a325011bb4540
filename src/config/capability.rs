//! Names of capabilities and signals.

use super::definition::Capability;
use super::report::suggest;

/// `capabilities(7)` in the order of their bits.
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
    "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

/// `signal(7)`, as Linux numbers them on x86, ARM and RISC-V.
#[rustfmt::skip]
const SIGNALS: [(&str, i32); 30] = [
    ("HUP", 1), ("INT", 2), ("QUIT", 3), ("ILL", 4), ("TRAP", 5), ("ABRT", 6), ("BUS", 7), ("FPE", 8),
    ("KILL", 9), ("USR1", 10), ("SEGV", 11), ("USR2", 12), ("PIPE", 13), ("ALRM", 14), ("TERM", 15),
    ("STKFLT", 16), ("CHLD", 17), ("CONT", 18), ("STOP", 19), ("TSTP", 20), ("TTIN", 21), ("TTOU", 22),
    ("URG", 23), ("XCPU", 24), ("XFSZ", 25), ("VTALRM", 26), ("PROF", 27), ("WINCH", 28), ("IO", 29),
    ("PWR", 30),
];

/// Reads `NET_RAW`, `net_raw`, `CAP_NET_RAW` or a bit number. `Err` is the wish.
pub(super) fn capability(text: &str) -> Result<Capability, String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let by_name = CAPABILITIES.iter().position(|&name| name == short);
    let number = by_name.or_else(|| text.parse().ok().filter(|&bit| bit < 64));
    number
        .and_then(|bit| u8::try_from(bit).ok())
        .map(Capability)
        .ok_or_else(|| {
            let near = suggest(short, CAPABILITIES);
            if near.starts_with("did") {
                near
            } else {
                "see capabilities(7) for their names".to_owned()
            }
        })
}

/// Reads `TERM`, `SIGTERM` or a number from 1 to 64. `Err` is the wish.
pub(super) fn signal(text: &str) -> Result<i32, String> {
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = SIGNALS
        .iter()
        .find(|(name, _)| *name == short)
        .map(|&(_, number)| number);
    by_name
        .or_else(|| text.parse().ok().filter(|number| (1..=64).contains(number)))
        .ok_or_else(|| {
            let near = suggest(short, SIGNALS.map(|(name, _)| name));
            if near.starts_with("did") {
                near
            } else {
                "write TERM, INT, QUIT, … or its number".to_owned()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_go_by_name_or_number() {
        for text in ["NET_BIND_SERVICE", "cap_net_bind_service", "10"] {
            assert_eq!(capability(text), Ok(Capability(10)), "{text}");
        }
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Ok(Capability(40)));
        assert_eq!(
            capability("NET_BIND_SERVCE").unwrap_err(),
            "did you mean `NET_BIND_SERVICE`?"
        );
        for bad in ["64", "-1", "", "ALL"] {
            assert!(capability(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_go_by_name_or_number() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal(text), Ok(15), "{text}");
        }
        assert_eq!(signal("SIGTRM").unwrap_err(), "did you mean `TERM`?");
        for bad in ["0", "65", "", "-15", "KILLALL"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
