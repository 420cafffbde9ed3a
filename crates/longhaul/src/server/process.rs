//! What the process takes of its machine, for the metrics page: memory, open files, processor time, room on the disk.
//!
//! Read at each scrape. What a system does not tell is left out: Linux tells all of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longhaul_server::metrics::{Kind, Page, Source};

use crate::config::StoreUrl;

/// The files of a data directory that grow.
const FILES: [&str; 2] = ["longhaul.db", "longhaul.db-wal"];

/// This process, and the directory that it keeps its data in.
pub(super) struct Process {
    data: Option<PathBuf>,
}

impl Process {
    /// With the directory of the store, when that is one.
    pub(super) fn of(store: &StoreUrl) -> Self {
        match store {
            StoreUrl::Sqlite(directory) => Self { data: Some(directory.into()) },
            StoreUrl::Postgres(_) => Self { data: None },
        }
    }
}

impl Source for Process {
    fn tell(&self, page: &mut Page) {
        if let Some(status) = Status::read() {
            page.gauge("process_resident_memory_bytes", "Memory that the process holds.", status.resident as f64);
            page.gauge("process_virtual_memory_bytes", "Addresses that the process uses.", status.virtual_size as f64);
            page.gauge("process_threads", "Threads of the process.", status.threads as f64);
            let help = "Processor time that the process has taken.";
            page.family(Kind::Counter, "process_cpu_seconds_total", help).value(&[], status.cpu_seconds);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is one of them.
            let open = files.count().saturating_sub(1);
            page.gauge("process_open_fds", "Files and connections that the process holds open.", open as f64);
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            page.gauge("process_max_fds", "Files and connections that the process may hold open.", most as f64);
        }
        if let Some(data) = &self.data {
            tell_disk(page, data);
        }
    }
}

fn tell_disk(page: &mut Page, data: &Path) {
    if let Ok(disk) = rustix::fs::statvfs(data) {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) as f64;
        let help = "Room that is left for the process on the disk of the data directory.";
        page.gauge("longhaul_disk_free_bytes", help, bytes(disk.f_bavail));
        page.gauge("longhaul_disk_size_bytes", "The size of the disk of the data directory.", bytes(disk.f_blocks));
    }
    let help = "The size of the database and of its write-ahead log.";
    let mut family = page.family(Kind::Gauge, "longhaul_store_file_bytes", help);
    for name in FILES {
        if let Ok(file) = fs::metadata(data.join(name)) {
            family.count(&[("file", name)], file.len());
        }
    }
}

/// What `/proc/self/stat` tells.
#[derive(Debug, PartialEq)]
struct Status {
    resident: u64,
    virtual_size: u64,
    threads: u64,
    cpu_seconds: f64,
}

impl Status {
    fn read() -> Option<Self> {
        Self::parse(
            &fs::read_to_string("/proc/self/stat").ok()?,
            rustix::param::page_size(),
            rustix::param::clock_ticks_per_second(),
        )
    }

    /// The name of the program comes second, in brackets, and may itself hold brackets and spaces.
    fn parse(stat: &str, page_size: usize, ticks_per_second: u64) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        // What comes next is the third field, as proc(5) counts.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)?.saturating_add(field(15)?);
        Some(Self {
            resident: field(24)?.saturating_mul(page_size as u64),
            virtual_size: field(23)?,
            threads: field(20)?,
            cpu_seconds: ticks as f64 / ticks_per_second.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_as_it_likes() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 10485760 256 18446744073709551615 1 1";
        let status = Status::parse(stat, 4_096, 100);
        let expected = Status { resident: 256 * 4_096, virtual_size: 10_485_760, threads: 9, cpu_seconds: 3.0 };
        assert_eq!(status, Some(expected));
        assert_eq!(Status::parse("7 (a", 4_096, 100), None);
    }

    #[test]
    fn a_process_tells_of_itself_and_of_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("longhaul.db"), [0; 100]).unwrap();
        let mut page = Page::default();
        Process { data: Some(folder.path().into()) }.tell(&mut page);
        let text = page.into_text();
        assert!(text.contains("longhaul_store_file_bytes{file=\"longhaul.db\"} 100\n"), "{text}");
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "longhaul_disk_free_bytes "] {
            let told =
                text.lines().find_map(|line| line.strip_prefix(name)).and_then(|value| value.parse::<f64>().ok());
            assert!(told.is_some_and(|told| told > 0.0), "{name}: {text}");
        }
    }
}
