//! Reading a document in a process of its own.
//!
//! Whoever wants a document read starts a process whose program calls [`serve`] and speaks with it over its standard input
//! and output in [`wire`] messages: `open`, then any number of `page` and `raster`, each answered before the next. Before
//! it looks at the first byte of the document the process gives up what it does not need ([`Confinement`]): memory and
//! processor time above a share, files, the network, other programs. What a document can do to it then is to end it, and
//! that is for the other side to notice: the pipe closes, and [`Ending`] says what the end means.
//!
//! The process ends by itself when its input ends, so that it does not outlive who asked.

mod confine;
mod serve;
pub mod wire;

pub use confine::{Confined, Confinement};
pub use serve::{exit_code, serve};

/// How a reading process ended that had not been asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It wanted more memory than it may have.
    OutOfMemory,
    /// It wanted more processor time than it may have.
    OutOfTime,
    /// It crashed.
    Crashed,
    /// It was killed from outside: by the system, which was short of memory, or by a person. Nothing that it did itself, and
    /// no limit of [`Confinement`], ends it so.
    Killed,
}

impl Ending {
    /// Reads the end of a process: the signal that ended it, if one did, and the last of what it complained.
    pub fn of(signal: Option<i32>, complained: &str) -> Self {
        /// SIGXCPU where this runs: Linux on x86-64 and ARM, and macOS.
        const PROCESSOR_TIME: i32 = 24;
        /// SIGKILL, everywhere.
        const KILL: i32 = 9;
        if signal == Some(PROCESSOR_TIME) {
            return Self::OutOfTime;
        }
        if signal == Some(KILL) {
            return Self::Killed;
        }
        // In the words of Rust's standard library, which ends the process when an allocation fails.
        if complained.contains("memory allocation of") {
            return Self::OutOfMemory;
        }
        Self::Crashed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_known_by_its_signal_and_its_last_words() {
        assert_eq!(Ending::of(Some(24), ""), Ending::OutOfTime);
        assert_eq!(Ending::of(Some(6), "memory allocation of 4096 bytes failed\n"), Ending::OutOfMemory);
        assert_eq!(Ending::of(Some(6), "thread 'main' has overflowed its stack\n"), Ending::Crashed);
        assert_eq!(Ending::of(Some(11), ""), Ending::Crashed);
        assert_eq!(Ending::of(None, ""), Ending::Crashed);
        assert_eq!(Ending::of(Some(9), ""), Ending::Killed);
    }
}
