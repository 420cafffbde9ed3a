//! The log: one line for each event, as text or as a JSON object.
//!
//! Lines end with what the spans around them know (`request_id`, `job_id`, `trace_id`, `span_id`), the innermost first; a
//! field of the event itself goes before one of the same name further out.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use longhaul_core::{Span as Length, Timestamp};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes lines to standard error.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text { coloured: bool },
    Json,
}

impl Lines {
    /// For people; `coloured` on a terminal.
    pub(super) fn text(coloured: bool) -> Self {
        Self { form: Form::Text { coloured } }
    }

    /// For programs.
    pub(super) fn json() -> Self {
        Self { form: Form::Json }
    }
}

/// A field as it is written.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Text(String),
    /// A number or a truth value, which JSON writes without quotes.
    Bare(String),
}

/// The fields of a span or an event, in their order.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, known)) => *known = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no words for what is no number.
        let text = value.to_string();
        self.put(field, if value.is_finite() { Value::Bare(text) } else { Value::Text(text) });
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let line = written(self.form, now(), event.metadata(), &fields_of(event, &context));
        // Nobody can be told that the log cannot be written.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// The fields of an event, then those of the spans around it.
fn fields_of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Fields
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let mut fields = Fields::default();
    event.record(&mut fields);
    for span in context.event_scope(event).into_iter().flatten() {
        if let Some(around) = span.extensions().get::<Fields>() {
            for (name, value) in &around.0 {
                if fields.0.iter().all(|(known, _)| known != name) {
                    fields.0.push((name, value.clone()));
                }
            }
        }
    }
    fields
}

#[allow(clippy::disallowed_methods, reason = "a line says when it was written; nothing depends on it")]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + Length::from(since_epoch)
}

fn written(form: Form, at: Timestamp, event: &Metadata<'_>, fields: &Fields) -> String {
    let message = fields.0.iter().find(|(name, _)| *name == "message").map(|(_, value)| match value {
        Value::Text(text) | Value::Bare(text) => text.as_str(),
    });
    let others = fields.0.iter().filter(|(name, _)| *name != "message");
    let mut line = String::with_capacity(256);
    // Writing to a string cannot fail.
    let _ = match form {
        Form::Json => json(&mut line, at, event, message, others),
        Form::Text { coloured } => text(&mut line, at, event, message, others, coloured),
    };
    line.push('\n');
    line
}

fn json<'f>(
    line: &mut String,
    at: Timestamp,
    event: &Metadata<'_>,
    message: Option<&str>,
    fields: impl Iterator<Item = &'f (&'static str, Value)>,
) -> fmt::Result {
    write!(line, "{{\"timestamp\":\"{at}\",\"level\":\"{}\",\"target\":{}", event.level(), quoted(event.target()))?;
    if let Some(message) = message {
        write!(line, ",\"message\":{}", quoted(message))?;
    }
    for (name, value) in fields {
        match value {
            Value::Text(text) => write!(line, ",{}:{}", quoted(name), quoted(text))?,
            Value::Bare(bare) => write!(line, ",{}:{bare}", quoted(name))?,
        }
    }
    line.push('}');
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text<'f>(
    line: &mut String,
    at: Timestamp,
    event: &Metadata<'_>,
    message: Option<&str>,
    fields: impl Iterator<Item = &'f (&'static str, Value)>,
    coloured: bool,
) -> fmt::Result {
    let colour = match *event.level() {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    };
    match coloured {
        true => write!(
            line,
            "\x1b[2m{at}\x1b[0m \x1b[{colour}m{:>5}\x1b[0m \x1b[2m{}:\x1b[0m",
            event.level(),
            event.target()
        )?,
        false => write!(line, "{at} {:>5} {}:", event.level(), event.target())?,
    }
    if let Some(message) = message {
        line.push(' ');
        printable(line, message);
    }
    for (name, value) in fields {
        match value {
            // What could be taken for more than one word is quoted.
            Value::Text(text) if text.is_empty() || text.contains([' ', '"', '=', '\n']) => {
                write!(line, " {name}={text:?}")?;
            }
            Value::Text(text) | Value::Bare(text) => {
                write!(line, " {name}=")?;
                printable(line, text);
            }
        }
    }
    Ok(())
}

/// One event is one line, and what comes from outside moves no cursor.
fn printable(line: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\n' => line.push_str("\\n"),
            letter if letter.is_control() => line.extend(letter.escape_default()),
            letter => line.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps the lines instead of writing them.
    struct Kept {
        lines: Lines,
        written: Arc<Mutex<Vec<String>>>,
    }

    impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.lines.on_new_span(attributes, id, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.written.lock().unwrap().push(written(
                self.lines.form,
                Timestamp::EPOCH,
                event.metadata(),
                &fields_of(event, &context),
            ));
        }
    }

    fn lines_of(lines: Lines, work: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let kept = Kept { lines, written: written.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept), work);
        std::mem::take(&mut *written.lock().unwrap())
    }

    fn work() {
        let request = tracing::error_span!("request", request_id = "req_1", trace_id = "abc");
        let _request = request.enter();
        let attempt = tracing::error_span!("attempt", job_id = "job_1", trace_id = "def");
        let _attempt = attempt.enter();
        tracing::warn!(took_ms = 7, job_id = "job_2", why = "two\nlines", "it is \"late\"");
    }

    #[test]
    fn a_line_carries_the_ids_around_it_and_its_own_go_first() {
        let [line] = lines_of(Lines::json(), work).try_into().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "it is \"late\"");
        assert_eq!((&line["level"], &line["took_ms"]), (&"WARN".into(), &7.into()));
        assert_eq!((&line["job_id"], &line["trace_id"]), (&"job_2".into(), &"def".into()));
        assert_eq!((&line["request_id"], &line["why"]), (&"req_1".into(), &"two\nlines".into()));
    }

    #[test]
    fn an_event_is_one_line_of_text() {
        let [line] = lines_of(Lines::text(false), work).try_into().unwrap();
        let expected = "1970-01-01T00:00:00.000Z  WARN longhaul::server::telemetry::lines::tests: it is \"late\" took_ms=7 \
                        job_id=job_2 why=\"two\\nlines\" trace_id=def request_id=req_1\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn what_comes_from_outside_moves_no_cursor() {
        let say = || tracing::error!(path = "a\x1b[2J", "\x1b[31mred");
        let [line] = lines_of(Lines::text(true), say).try_into().unwrap();
        assert!(line.contains("\\u{1b}[31mred path=a\\u{1b}[2J"), "{line:?}");
    }
}
