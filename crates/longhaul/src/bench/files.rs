//! What lies on the disk, and on what kind of disk.

use std::fs;
use std::path::Path;

/// The bytes of all files under a directory. Files that vanish meanwhile count as nothing.
pub(super) fn bytes_under(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// The name of the file system that a directory lies on. On `tmpfs` a sync costs nothing, and a figure means nothing.
pub(super) fn file_system_of(directory: &Path) -> Option<String> {
    let directory = fs::canonicalize(directory).ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(mounted_at, _)| directory.starts_with(mounted_at))
        // Of two mounts at one place the later covers the earlier.
        .max_by_key(|(mounted_at, _)| mounted_at.len())
        .map(|(_, name)| name.to_owned())
}
