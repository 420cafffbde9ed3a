//! Turns what was said about each key, in every layer, into one value, and remembers who said it.
//!
//! Layers are defaults < file < environment < flags. A value in a layer that loses is checked all the same: it would
//! surprise on the day the override goes away.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::DeValue;

use super::environment::Environment;
use super::problem::{Place, Problem};
use super::setting::Setting;

/// A section, with the name it carries if there are many of its sort.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SectionPath {
    /// `server`, `queues` and so on.
    pub section: &'static str,
    /// The queue or kind.
    pub name: Option<String>,
}

impl SectionPath {
    /// A section that exists once.
    #[must_use]
    pub fn single(section: &'static str) -> Self {
        Self { section, name: None }
    }

    /// One of many sections of a sort.
    #[must_use]
    pub fn named(section: &'static str, name: &str) -> Self {
        Self { section, name: Some(name.to_owned()) }
    }
}

impl fmt::Display for SectionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (super::schema::TARGETS, Some(name)) = (self.section, &self.name) {
            // Entries of a list within a model: `models.smart.targets[0]`.
            return write!(f, "models.{name}");
        }
        f.write_str(self.section)?;
        match &self.name {
            None => Ok(()),
            Some(name) if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') => {
                write!(f, ".\"{name}\"")
            }
            Some(name) => write!(f, ".{name}"),
        }
    }
}

/// A value as it was said.
#[derive(Debug, Clone)]
pub(super) enum Raw<'t> {
    /// In the file.
    Toml(DeValue<'t>),
    /// In a variable or a flag.
    Text(String),
}

/// What one layer said of a key.
#[derive(Debug, Clone)]
pub(super) struct Given<'t> {
    pub(super) place: Place,
    pub(super) raw: Raw<'t>,
}

/// Everything that was said, by section and key; per key the weakest layer first.
#[derive(Debug, Default)]
pub(super) struct Said<'t> {
    values: BTreeMap<SectionPath, BTreeMap<&'static str, Vec<Given<'t>>>>,
}

impl<'t> Said<'t> {
    /// Notes a value. Layers are to be noted from the weakest to the strongest.
    pub(super) fn note(&mut self, section: SectionPath, key: &'static str, given: Given<'t>) {
        self.values.entry(section).or_default().entry(key).or_default().push(given);
    }

    /// Notes that a section was named, even if it says nothing.
    pub(super) fn touch(&mut self, section: SectionPath) {
        self.values.entry(section).or_default();
    }

    /// The names that a sort of section was given.
    pub(super) fn names<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.values.keys().filter(move |path| path.section == section).filter_map(|path| path.name.as_deref())
    }
}

/// One line of the effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The full key as it would be written with dots.
    pub key: String,
    /// The value as TOML; empty when the key is unset.
    pub value: String,
    /// Who decided it.
    pub place: Place,
}

/// Reads keys and keeps account of values and problems.
#[derive(Debug)]
pub struct Reader<'t> {
    said: Said<'t>,
    environment: Environment,
    /// The values in the order they were read.
    pub(super) effective: Vec<Effective>,
    /// What was wrong.
    pub(super) problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(said: Said<'t>, environment: Environment, problems: Vec<Problem>) -> Self {
        Self { said, environment, effective: Vec::new(), problems }
    }

    pub(super) fn names(&self, section: &str) -> Vec<String> {
        self.said.names(section).map(str::to_owned).collect()
    }

    /// Whether a section was named.
    pub(super) fn is_said(&self, section: &SectionPath) -> bool {
        self.said.values.contains_key(section)
    }

    /// The value of a key: the strongest layer that can be used, else the default.
    pub fn read<T: Setting>(&mut self, section: &SectionPath, key: &'static str, default: T) -> T {
        let layers = self.said.values.get(section).and_then(|keys| keys.get(key)).map_or(&[][..], Vec::as_slice);
        let mut value = default;
        let mut place = Place::Default;
        for given in layers {
            let read = match &given.raw {
                Raw::Toml(raw) => T::from_toml(raw, &self.environment),
                Raw::Text(text) => T::from_text(text),
            };
            match read {
                Ok(read) => (value, place) = (read, given.place.clone()),
                Err(message) => self.problems.push(Problem {
                    place: if T::MAY_HOLD_A_SECRET { given.place.without_value() } else { given.place.clone() },
                    // What begins with the value it quotes reads better after a colon.
                    message: match message.starts_with('`') {
                        true => format!("`{section}.{key}`: {message}"),
                        false => format!("`{section}.{key}` {message}"),
                    },
                    help: None,
                }),
            }
        }
        self.effective.push(Effective { key: format!("{section}.{key}"), value: value.to_toml(), place });
        value
    }

    /// The first place that says something below `key`, in the order of the keys.
    pub(super) fn place_within(&self, key: &str) -> Place {
        let key = key.trim_end_matches('.');
        let below = |line: &&Effective| line.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
        let said = self.effective.iter().filter(below).find(|line| line.place != Place::Default);
        said.map_or(Place::Default, |line| line.place.clone())
    }

    /// Who decided a key that has been read.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.effective.iter().find(|line| line.key == key).map_or(Place::Default, |line| line.place.clone())
    }
}
