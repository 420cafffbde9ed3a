//! How many connections the process can afford, by the number of files that it may open.

/// Descriptors kept for the store, blobs and calls to providers, unless a quarter of all is less.
const RESERVED: u64 = 512;

/// The soft limit of open files, where the system tells it in a file (Linux); none where it is unlimited.
pub(super) fn limit() -> Option<u64> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The cap, or what the limit leaves of it.
pub(super) fn affordable(wanted: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return wanted };
    let left = usize::try_from(limit - RESERVED.min(limit / 4)).unwrap_or(usize::MAX);
    if left < wanted {
        tracing::warn!(
            wanted,
            connections = left,
            open_files = limit,
            "fewer connections than configured: raise the limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    wanted.min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_leaves_descriptors_for_everything_else() {
        assert_eq!(affordable(16_384, Some(20_000)), 16_384);
        assert_eq!(affordable(16_384, Some(4_096)), 3_584);
        assert_eq!(affordable(16_384, Some(1_024)), 768);
        assert_eq!(affordable(16_384, None), 16_384);
    }

    #[test]
    fn the_soft_limit_is_read_as_the_kernel_writes_it() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             94902                94902                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit("Max open files            unlimited            unlimited            files"), None);
    }
}
