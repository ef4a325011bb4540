//! What a signal would do to a process.

/// Whether `signal` would end the process `pid` if it were not the first of its pid namespace: it neither
/// handles nor ignores it (`SigCgt` and `SigIgn` of proc_pid_status(5)). A process that cannot be looked at
/// is taken to handle it.
pub fn would_end_any_other_process(pid: u32, signal: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| unhandled(&status, signal))
}

fn unhandled(status: &str, signal: i32) -> bool {
    let mask = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    let (Some(caught), Some(ignored)) = (mask("SigCgt:"), mask("SigIgn:")) else {
        return false;
    };
    let Some(bit) = u32::try_from(signal - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
    else {
        return false;
    };
    (caught | ignored) & bit == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_with_a_handler_or_ignored_does_not_count() {
        let status = "Name:\tsh\nSigIgn:\t0000000000000004\nSigCgt:\t0000000000004000\n";
        assert!(!unhandled(status, 15), "caught");
        assert!(!unhandled(status, 3), "ignored");
        assert!(unhandled(status, 2));
        assert!(!unhandled("Name:\tsh\n", 2), "unknown");
    }
}
