//! What a person sees: results on standard output, everything else on standard error.
//!
//! Colour and live progress appear only where a terminal watches, and never with `NO_COLOR`. Text that came from a
//! server is cleaned of control characters before it is shown, since it could otherwise steer the terminal.

mod json;
mod style;
mod table;
mod time;

use std::io::{self, IsTerminal, Write};

use crate::config::Environment;

pub use json::pretty;
pub use style::{Tint, clean};
pub use table::Table;
pub use time::{relative, span};

/// Where output goes.
pub struct Screen {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    colour: bool,
    colour_err: bool,
    live: bool,
}

impl Screen {
    /// The standard streams of this process.
    #[must_use]
    pub fn of_this_process(environment: &Environment) -> Self {
        let dumb = environment.get("TERM") == Some("dumb");
        let plain = environment.get("NO_COLOR").is_some() || dumb;
        let err_terminal = io::stderr().is_terminal();
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            colour: io::stdout().is_terminal() && !plain,
            colour_err: err_terminal && !plain,
            live: err_terminal && !dumb,
        }
    }

    /// Whether a terminal watches standard error, so that progress may be drawn there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether standard output may be coloured.
    #[must_use]
    pub fn has_colour(&self) -> bool {
        self.colour
    }

    /// A line of the result.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())?;
        self.out.flush()
    }

    /// A part of a line of the result.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn part(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        write!(self.out, "{}", text.as_ref())?;
        self.out.flush()
    }

    /// Bytes of the result as they came, with a line end if they have none.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        if bytes.last() != Some(&b'\n') {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()
    }

    /// A table of the result.
    ///
    /// # Errors
    /// As [`Screen::line`].
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        self.out.write_all(table.render(self.colour).as_bytes())?;
        self.out.flush()
    }

    /// Text in a colour, where colours are shown.
    #[must_use]
    pub fn tinted(&self, tint: Tint, text: &str) -> String {
        tint.paint(text, self.colour)
    }

    /// Something to know that is not the result. A closed standard error is nobody's concern.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", text.as_ref());
    }

    /// A hint, shown only to a person.
    pub fn hint(&mut self, text: impl AsRef<str>) {
        if self.live {
            let text = Tint::Dim.paint(text.as_ref(), self.colour_err);
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// What went wrong, with its causes.
    pub fn error(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        // Configuration problems bring their own heading, one for each.
        if text.starts_with("error:") {
            let _ = writeln!(self.err, "{text}");
        } else {
            let _ = writeln!(self.err, "{} {text}", Tint::Red.paint("error:", self.colour_err));
        }
    }
}
