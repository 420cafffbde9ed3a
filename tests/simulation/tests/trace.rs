//! The trace of a run: a digest of everything that happened, and the last of it in words.

use std::{collections::VecDeque, fmt, fmt::Write as _};

use longhaul_core::Span;

/// How many lines are kept for whoever looks into a failure.
const LINES_KEPT: usize = 4_000;

pub(crate) struct Trace {
    digest: Fnv,
    /// None: nobody will read them.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub(crate) fn new(is_told: bool) -> Self {
        Self { digest: Fnv(0xcbf2_9ce4_8422_2325), lines: is_told.then(VecDeque::new) }
    }

    pub(crate) fn note(&mut self, passed: Span, what: fmt::Arguments<'_>) {
        // Writing into a digest does not fail.
        let _ = writeln!(self.digest, "{} {what}", passed.as_micros());
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:>12.6} s  {what}", passed.as_micros() as f64 / 1e6));
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.0
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}

/// FNV-1a: short, and the same on every machine.
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
