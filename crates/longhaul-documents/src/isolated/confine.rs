//! What a reading process gives up before it looks at a document.
//!
//! Memory and processor time are limits of the process (`setrlimit`), which it cannot raise again beyond what its owner
//! may. Files, network and other programs are taken away by a filter over system calls (seccomp): a list of the few that
//! reading in memory needs, and "not permitted" for all others. Where a system has no such filter (anything but Linux on
//! x86-64, ARM64 or RISC-V) the rest still holds, and [`Confined`] tells what does not.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a reading process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Bytes of memory beyond what it holds when it begins, the document's own bytes among these.
    pub max_memory: Option<u64>,
    /// Seconds of processor time to open the document, and again for each page.
    pub max_cpu_s: Option<u64>,
    /// No files, no network, no other programs.
    pub shut_in: bool,
}

/// What the system granted of a [`Confinement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// The limit of memory holds.
    pub memory: bool,
    /// The limit of processor time holds.
    pub time: bool,
    /// There are no files, no network, no other programs.
    pub shut_in: bool,
}

impl Confinement {
    /// No limits: for a process that has other work to do as well.
    pub const NONE: Self = Self { max_memory: None, max_cpu_s: None, shut_in: false };

    /// Gives up everything that is to be given up, for good.
    pub(super) fn confine(&self) -> io::Result<Confined> {
        if *self == Self::NONE {
            return Ok(Confined { memory: false, time: false, shut_in: false });
        }
        // A crash is told by its signal; a picture of memory would hold the document.
        lower(Resource::Core, 0)?;
        lower(Resource::Fsize, 0)?;
        let memory = match self.max_memory {
            Some(more) => lower(Resource::As, held().saturating_add(more)).is_ok(),
            None => false,
        };
        let shut_in = self.shut_in && filter::shut_in().is_ok();
        Ok(Confined { memory, time: self.allow_time().is_ok() && self.max_cpu_s.is_some(), shut_in })
    }

    /// Allows a further share of processor time, counted from now. The system ends a process that takes more (SIGXCPU).
    pub(super) fn allow_time(&self) -> io::Result<()> {
        let Some(seconds) = self.max_cpu_s else { return Ok(()) };
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let used = u64::try_from(used.tv_sec).unwrap_or(0);
        // The limit has whole seconds, of which the current one is partly used.
        let until = used.saturating_add(seconds).saturating_add(1);
        let maximum = getrlimit(Resource::Cpu).maximum;
        Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(until), maximum })?)
    }
}

/// Sets a limit that cannot be raised again.
fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?)
}

/// Bytes of address space in use, as the limit counts them; nothing where the system does not tell.
fn held() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages: Option<u64> = pages.as_deref().and_then(|text| text.split(' ').next()).and_then(|n| n.parse().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod filter {
    use std::collections::BTreeMap;
    use std::io;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

    #[cfg(target_arch = "x86_64")]
    const MACHINE: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    const MACHINE: TargetArch = TargetArch::aarch64;
    #[cfg(target_arch = "riscv64")]
    const MACHINE: TargetArch = TargetArch::riscv64;

    /// What reading in memory needs: to hear and answer, memory, time, an orderly or a sudden end.
    const ALLOWED: &[libc::c_long] = &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrusage,
        libc::SYS_prlimit64,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_tkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    /// Leaves this thread, and those that it starts, with nothing but [`ALLOWED`].
    pub(super) fn shut_in() -> io::Result<()> {
        #[allow(clippy::useless_conversion, reason = "the numbers have another type on other machines")]
        let rules: BTreeMap<i64, Vec<_>> = ALLOWED.iter().map(|&call| (i64::from(call), Vec::new())).collect();
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, MACHINE).map_err(io::Error::other)?;
        let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
        apply_filter(&program).map_err(io::Error::other)
    }

    #[cfg(test)]
    mod tests {
        use std::io::ErrorKind;

        use super::*;

        #[test]
        fn who_is_shut_in_has_no_files_no_network_and_no_programs_and_can_still_work() {
            // The filter is this thread's alone.
            let done = std::thread::spawn(|| {
                shut_in().unwrap();
                let file = std::fs::File::open("/etc/passwd").unwrap_err().kind();
                let made = std::fs::write("/tmp/longhaul-shut-in", "x").unwrap_err().kind();
                let network = std::net::TcpStream::connect("127.0.0.1:9").unwrap_err().kind();
                let name = std::net::UdpSocket::bind("127.0.0.1:0").unwrap_err().kind();
                let program = std::process::Command::new("/bin/true").status().unwrap_err().kind();
                let page = crate::extract(b"still works".to_vec(), crate::Format::Text, &crate::Limits::default());
                ([file, made, network, name, program], page.unwrap().pages[0].text.clone())
            });
            let (kinds, text) = done.join().unwrap();
            assert_eq!((kinds, text.as_str()), ([ErrorKind::PermissionDenied; 5], "still works"));
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))))]
mod filter {
    pub(super) fn shut_in() -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_up_where_nothing_is_asked_for() {
        let before = getrlimit(Resource::Core);
        let confined = Confinement::NONE.confine().unwrap();
        assert_eq!(confined, Confined { memory: false, time: false, shut_in: false });
        assert_eq!(getrlimit(Resource::Core), before);
    }
}
