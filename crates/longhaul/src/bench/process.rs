//! Processor time and memory of processes, from `/proc`. On a system without it the figures are missing, not wrong.

use std::fs;

use serde::Serialize;

/// The unit of `/proc/PID/stat`: Linux reports 100 ticks a second to programs whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// What processes have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Usage {
    /// Processor time since they started, in seconds.
    pub(super) cpu_s: f64,
    /// Memory now, in bytes.
    pub(super) resident_bytes: u64,
    /// The most memory so far, in bytes.
    pub(super) peak_bytes: u64,
}

/// The sum over some processes.
pub(super) fn usage_of(pids: &[u32]) -> Usage {
    pids.iter().fold(Usage::default(), |sum, pid| {
        let cpu_s = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| cpu_s(&stat)).unwrap_or(0.0);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Usage {
            cpu_s: sum.cpu_s + cpu_s,
            resident_bytes: sum.resident_bytes + bytes_of(&status, "VmRSS:"),
            peak_bytes: sum.peak_bytes + bytes_of(&status, "VmHWM:"),
        }
    })
}

/// What this process has used.
pub(super) fn own_usage() -> Usage {
    usage_of(&[std::process::id()])
}

/// Fields 14 and 15 of a `stat` line; the second field may hold blanks and parentheses, so it is cut off first.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn bytes_of(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    kib << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_strange_name_is_read() {
        let stat = "42 (a ) b) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_s(stat), Some(3.0));
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(bytes_of("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n", "VmHWM:"), 2 << 20);
        assert_eq!(bytes_of("", "VmRSS:"), 0);
    }
}
