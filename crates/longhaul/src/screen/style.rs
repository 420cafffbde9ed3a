//! Colours, and text made safe to show.

/// A way to set text off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tint {
    /// As it is.
    Plain,
    /// Headings.
    Bold,
    /// What matters less.
    Dim,
    /// Ended well.
    Green,
    /// Ended badly.
    Red,
    /// Under way.
    Cyan,
    /// Waits or was stopped.
    Yellow,
}

impl Tint {
    /// Puts the text into the colour if `colour` is on.
    #[must_use]
    pub fn paint(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        };
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The colour of a job's status.
    #[must_use]
    pub fn of_status(status: &str) -> Self {
        match status {
            "succeeded" => Self::Green,
            "failed" => Self::Red,
            "cancelled" => Self::Yellow,
            "running" => Self::Cyan,
            _ => Self::Plain,
        }
    }
}

/// The text with every control character but line end and tab replaced, so that it cannot steer a terminal.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\r\nc"), "a\u{fffd}[31mb\u{fffd}\nc");
    }
}
