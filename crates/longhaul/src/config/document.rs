//! The file: its tables walked along the schema, every stray key reported at its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{FilePlace, Place, Problem, nearest};
use super::reader::{Given, Raw, Said, SectionPath};
use super::schema::{SectionInfo, TARGETS, target_name, target_section};
use super::setting::{Setting, named};
use super::values::Name;

/// The sections whose keys may be secrets: a line of theirs is shown only where nothing but its one value can stand on it.
const SECRET_SECTIONS: [&str; 3] = ["providers", "tools", "store"];

/// A file being read.
pub(super) struct Document<'t, 'o> {
    pub(super) path: &'o str,
    pub(super) text: &'t str,
    pub(super) schema: &'o [SectionInfo],
    pub(super) said: &'o mut Said<'t>,
    pub(super) problems: &'o mut Vec<Problem>,
}

impl<'t> Document<'t, '_> {
    /// Notes every value of the file and every problem with its shape.
    pub(super) fn read(&mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let broken = !errors.is_empty();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().trim().replace('\n', ", ");
            let place = self.place(span.clone());
            let place = if self.may_show_broken(span.start) { place } else { place.without_line() };
            self.problems.push(Problem { place, message: format!("this is not TOML: {message}"), help: None });
        }
        // What the parser guessed after an error is not what the person wrote; complaints about it would mislead.
        if broken {
            return;
        }
        for (key, value) in table.into_inner() {
            self.section(&key, value);
        }
    }

    fn section(&mut self, key: &Spanned<std::borrow::Cow<'t, str>>, value: Spanned<DeValue<'t>>) {
        let name = key.get_ref().as_ref();
        let schema = self.schema;
        let Some(info) = schema.iter().find(|info| info.name == name) else {
            let help = nearest(name, schema.iter().map(|info| info.name)).map(|near| format!("did you mean [{near}]?"));
            return self.report_secret(key.span(), format!("unknown section [{name}]"), help);
        };
        let span = value.span();
        let DeValue::Table(table) = value.into_inner() else {
            return self.report_in(info, span, format!("[{name}] must be a table"), None);
        };
        if !info.named {
            return self.keys(info, &SectionPath::single(info.name), "", table);
        }
        for (key, value) in table {
            let span = value.span();
            let own = match info.name {
                "models" => Name::of_model(key.get_ref()),
                _ => Name::from_text(key.get_ref()),
            };
            match (own, value.into_inner()) {
                (Err(message), _) => {
                    self.report_in(info, key.span(), format!("the name in [{name}.…] {message}"), None);
                }
                (Ok(own), DeValue::Table(table)) => {
                    let path = SectionPath::named(info.name, own.as_str());
                    self.said.touch(path.clone());
                    self.keys(info, &path, "", table);
                }
                (Ok(own), other) => {
                    let message = format!("[{name}] holds a table per name; `{}` is {}", own.as_str(), named(&other));
                    let help = match info.key(own.as_str()) {
                        Some(_) => format!("put it under [{name}.NAME], such as [{name}.default]"),
                        None => format!("write [{name}.{}] and put keys under it", own.as_str()),
                    };
                    self.report_in(info, span, message, Some(help));
                }
            }
        }
    }

    fn keys(&mut self, info: &SectionInfo, section: &SectionPath, prefix: &str, table: DeTable<'t>) {
        for (key, value) in table {
            let path = format!("{prefix}{}", key.get_ref());
            if let Some(known) = info.keys.iter().find(|known| known.path == path) {
                let place = self.place(value.span());
                // In an inline table the values of other keys stand on the line, too.
                let is_alone =
                    !SECRET_SECTIONS.contains(&info.name) || place.line().is_some_and(|line| !line.contains('{'));
                let place = if is_alone { place } else { place.without_line() };
                self.said.note(section.clone(), known.path, Given { place, raw: Raw::Toml(value.into_inner()) });
                continue;
            }
            let span = value.span();
            if info.name == "models" && path == TARGETS {
                self.targets(section, span, value.into_inner());
                continue;
            }
            match value.into_inner() {
                DeValue::Table(inner) if info.leads_on(&path) => {
                    self.keys(info, section, &format!("{path}."), inner);
                }
                other if info.leads_on(&path) => {
                    let message = format!("`{section}.{path}` must be a table, not {}", named(&other));
                    self.report_in(info, span, message, None);
                }
                _ => {
                    let targets = (info.name == "models").then_some(TARGETS);
                    let near = nearest(&path, info.keys.iter().map(|known| known.path).chain(targets));
                    let help = near.map(|near| format!("did you mean `{near}`?")).or_else(|| {
                        let mut known: Vec<&str> = info.keys.iter().map(|known| known.path).collect();
                        known.extend((info.name == "models").then_some(TARGETS));
                        Some(format!("[{section}] has {}", known.join(", ")))
                    });
                    self.report_in(info, key.span(), format!("unknown key `{path}` in [{section}]"), help);
                }
            }
        }
    }

    /// `[[models.NAME.targets]]`, or the same as a list in one line.
    fn targets(&mut self, model: &SectionPath, span: std::ops::Range<usize>, list: DeValue<'t>) {
        let info = target_section();
        let (Some(name), DeValue::Array(entries)) = (&model.name, list) else {
            return self.report(span, format!("`{model}.targets` must be a list of tables"), None);
        };
        for (index, entry) in entries.into_iter().enumerate() {
            let span = entry.span();
            let path = SectionPath::named(TARGETS, &target_name(name, index));
            match entry.into_inner() {
                DeValue::Table(table) => {
                    self.said.touch(path.clone());
                    self.keys(&info, &path, "", table);
                }
                other => {
                    let message = format!("`{path}` must be a table, not {}", named(&other));
                    self.report(span, message, Some("write { provider = \"…\", model = \"…\" }".to_owned()));
                }
            }
        }
    }

    fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place::File(FilePlace::of_span(self.path, self.text, span))
    }

    /// Whether a line that is not TOML may be shown: which key it is about is not known, but where it stands is.
    fn may_show_broken(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or(self.text);
        let header = before.lines().rev().find_map(|line| line.trim_start().strip_prefix('['));
        let section = header.map(|header| header.trim_start_matches('[').split(['.', ']']).next().unwrap_or_default());
        section.is_some_and(|section| {
            let section = section.trim();
            self.schema.iter().any(|info| info.name == section) && !SECRET_SECTIONS.contains(&section)
        })
    }

    /// Shows the line unless it may hold a secret.
    fn report_in(&mut self, info: &SectionInfo, span: std::ops::Range<usize>, message: String, help: Option<String>) {
        if SECRET_SECTIONS.contains(&info.name) {
            self.report_secret(span, message, help);
        } else {
            self.report(span, message, help);
        }
    }

    /// Shows a header and nothing else.
    fn report_secret(&mut self, span: std::ops::Range<usize>, message: String, help: Option<String>) {
        let place = self.place(span);
        let is_header = place.line().is_some_and(|line| line.trim_start().starts_with('['));
        let place = if is_header { place } else { place.without_line() };
        self.problems.push(Problem { place, message, help });
    }

    fn report(&mut self, span: std::ops::Range<usize>, message: String, help: Option<String>) {
        let place = self.place(span);
        self.problems.push(Problem { place, message, help });
    }
}
