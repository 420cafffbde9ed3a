//! What the demonstration says while it runs: plain lines, and on a terminal one line that moves.
//!
//! With `--json` the figures alone go to standard output, at the end, and the story to standard error.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Plan;
use super::figures::Report;
use super::server::Stage;
use crate::screen::{Screen, Table, Tint};

/// Letters of a line.
const WIDTH: usize = 110;

/// Says it.
pub(super) struct Teller<'a> {
    screen: &'a mut Screen,
    json: bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(screen: &'a mut Screen, json: bool) -> Self {
        Self { screen, json }
    }

    pub(super) fn opening(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let length = if plan.quick { "some seconds" } else { "about a minute" };
        self.say(format!(
            "Three things go wrong with AI work, and what becomes of them here: {length}, on this machine, without a key. \
             Simulated is the AI at the far end (seed {}), which fails about ten times as fast as in life; all else is \
             real, and every figure is measured now.",
            plan.seed
        ))
    }

    /// The name of an act.
    pub(super) fn heading(&mut self, text: &str) -> anyhow::Result<()> {
        self.say("")?;
        let text = if self.json { text.to_owned() } else { self.screen.tinted(Tint::Bold, text) };
        self.say(text)
    }

    /// A paragraph, broken into lines.
    pub(super) fn say(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        let text = wrapped(text.as_ref());
        if self.json {
            self.screen.note(text);
        } else {
            self.screen.line(text)?;
        }
        Ok(())
    }

    pub(super) fn table(&mut self, table: &Table) -> anyhow::Result<()> {
        self.say("")?;
        let colour = !self.json && self.screen.has_colour();
        for line in table.render(colour).lines() {
            // Not broken into lines: columns would part.
            let line = format!("   {line}");
            if self.json {
                self.screen.note(line);
            } else {
                self.screen.line(line)?;
            }
        }
        Ok(())
    }

    /// A line that shows how far so many things are, if a terminal watches.
    pub(super) fn live(&self, length: u64) -> Live {
        if !self.screen.is_live() {
            return Live(None);
        }
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("   [{bar:24}] {pos}/{len}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Live(Some(bar))
    }

    pub(super) fn closing(&mut self, report: &Report, stage: &Stage) -> anyhow::Result<()> {
        self.heading("What was shown")?;
        for line in report.in_words() {
            self.say(format!("   {line}"))?;
        }
        for broken in &report.broken {
            self.say(format!("   {} {broken}", self.screen.tinted(Tint::Red, "NOT KEPT:")))?;
        }
        self.say("")?;
        self.say(format!("The dashboard of the server that did it: {}/", stage.url()))
    }
}

/// A line that moves, or none.
pub(super) struct Live(Option<ProgressBar>);

impl Live {
    /// One more, and how things stand.
    pub(super) fn step(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
            bar.set_message(text());
        }
    }

    /// How things stand, without one more.
    pub(super) fn at(&self, position: u64, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
            bar.set_message(text());
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Breaks a paragraph at blanks; lines after the first stand as far in as it does.
fn wrapped(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= WIDTH {
        return Cow::Borrowed(text);
    }
    let indent: String = text.chars().take_while(|c| *c == ' ').collect();
    let mut lines = vec![indent.clone()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let is_empty = lines[last].len() == indent.len();
        if !is_empty && lines[last].chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
            continue;
        }
        if !is_empty {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
    }
    Cow::Owned(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_paragraph_is_broken_and_keeps_its_indent() {
        let text = format!("   {}", "word ".repeat(60));
        let broken = wrapped(&text);
        assert!(broken.lines().count() == 3, "{broken}");
        assert!(broken.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("   word")), "{broken}");
        assert_eq!(wrapped("short,  as it is"), "short,  as it is");
    }
}
