//! Reads all layers and puts them together.

use std::path::PathBuf;

use super::assemble::{Sections, assemble};
use super::document::Document;
use super::environment::Environment;
use super::models::{ModelSection, ProviderSection, TargetSection};
use super::overrides;
use super::problem::{Place, Problem, Problems, nearest};
use super::reader::{Effective, Given, Raw, Reader, Said, SectionPath};
use super::schema::{BUILT_IN_KINDS, SectionInfo, TARGETS, sections, target_name};
use super::secret::{Reference, Secret};
use super::section::Section;
use super::settings::Settings;

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "longhaul.toml";

/// The largest configuration file that is read, in bytes; a larger one is some other file named by mistake.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Which file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// This one; that it is missing is a problem.
    Named(PathBuf),
    /// `longhaul.toml` in the working directory, if it is there.
    Discover,
    /// None.
    Nothing,
}

/// A key set by a command line flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as the person wrote it: `--listen`.
    pub flag: &'static str,
    /// The section of the key.
    pub section: &'static str,
    /// The key within it.
    pub key: &'static str,
    /// What was given.
    pub value: String,
}

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file.
    pub file: FileSource,
    /// The variables.
    pub environment: Environment,
    /// The flags.
    pub flags: Vec<Flag>,
}

/// What was found.
#[derive(Debug)]
pub struct Loaded {
    /// The settings. Where there are problems, the affected keys have their defaults.
    pub settings: Settings,
    /// Each key with its value and who decided it, in the order of the reference page.
    pub effective: Vec<Effective>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// The settings, if nothing is wrong.
    ///
    /// # Errors
    /// All problems.
    pub fn into_settings(self) -> Result<Settings, Problems> {
        if self.problems.is_empty() { Ok(self.settings) } else { Err(Problems(self.problems)) }
    }
}

/// Reads everything that `sources` names.
#[must_use]
pub fn load(sources: Sources) -> Loaded {
    let Sources { file, environment, flags } = sources;
    let mut problems = Vec::new();
    let (path, text) = read_file(&file, &mut problems);
    let schema = sections();
    let mut said = Said::default();
    if let (Some(path), Some(text)) = (&path, &text) {
        let path = path.display().to_string();
        Document { path: &path, text, schema: &schema, said: &mut said, problems: &mut problems }.read();
    }
    overrides::read(&environment, &schema, &mut said, &mut problems);
    for flag in flags {
        let place = Place::Flag { name: flag.flag.to_owned() };
        said.note(SectionPath::single(flag.section), flag.key, Given { place, raw: Raw::Text(flag.value) });
    }
    let bootstrap_key = bootstrap_key(&environment, &mut problems);
    let mut reader = Reader::new(said, environment, problems);
    let mut settings = read_sections(&mut reader, &schema);
    settings.bootstrap_key = bootstrap_key;
    check(&settings, &mut reader);
    let mut problems = reader.problems;
    // In the order of the file, then the rest as it was found.
    problems.sort_by_key(|problem| match &problem.place {
        Place::File(place) => (place.line, place.column),
        _ => (usize::MAX, 0),
    });
    Loaded { settings, effective: reader.effective, problems, file: path }
}

/// The file's path and text. A path without a text means that reading failed, which has been reported.
fn read_file(file: &FileSource, problems: &mut Vec<Problem>) -> (Option<PathBuf>, Option<String>) {
    let path = match file {
        FileSource::Named(path) => path.clone(),
        FileSource::Discover if PathBuf::from(DEFAULT_FILE).exists() => DEFAULT_FILE.into(),
        FileSource::Discover | FileSource::Nothing => return (None, None),
    };
    let text = std::fs::metadata(&path).and_then(|metadata| {
        if metadata.len() > MAX_FILE_BYTES {
            return Err(std::io::Error::other("is larger than 4 MiB, so it is not a configuration file"));
        }
        std::fs::read_to_string(&path)
    });
    match text {
        Ok(text) => (Some(path), Some(text)),
        Err(error) => {
            problems.push(Problem {
                place: Place::WholeFile { path: path.display().to_string() },
                message: format!("the configuration file cannot be read: {error}"),
                help: None,
            });
            (Some(path), None)
        }
    }
}

fn read_sections(reader: &mut Reader<'_>, schema: &[SectionInfo]) -> Settings {
    fn one<S: Section>(reader: &mut Reader<'_>, section: &'static str) -> S {
        S::read(reader, &SectionPath::single(section))
    }
    fn many<S: Section>(
        reader: &mut Reader<'_>,
        section: &'static str,
        always: &[&str],
    ) -> std::collections::BTreeMap<String, S> {
        let mut names = reader.names(section);
        names.extend(always.iter().map(|&name| name.to_owned()));
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| {
                let settings = S::read(reader, &SectionPath::named(section, &name));
                (name, settings)
            })
            .collect()
    }
    debug_assert_eq!(schema.len(), 10, "a new section must be read here too");
    let providers: std::collections::BTreeMap<String, ProviderSection> = many(reader, "providers", &[]);
    let models: std::collections::BTreeMap<String, ModelSection> = many(reader, "models", &[]);
    let models = models.into_iter().map(|(name, model)| {
        let targets = (0..).map(|index| SectionPath::named(TARGETS, &target_name(&name, index)));
        let targets: Vec<SectionPath> = targets.take_while(|path| reader.is_said(path)).collect();
        let targets = targets.iter().map(|path| TargetSection::read(reader, path)).collect();
        (name, (model, targets))
    });
    let sections = Sections { providers, models: models.collect() };
    let gateway = assemble(&sections, reader);
    Settings {
        gateway,
        server: one(reader, "server"),
        store: one(reader, "store"),
        queues: many(reader, "queues", &["default"]),
        kinds: many(reader, "kinds", &[]),
        tenants: many(reader, "tenants", &[]),
        tools: many(reader, "tools", &[]),
        limits: one(reader, "limits"),
        telemetry: one(reader, "telemetry"),
        bootstrap_key: None,
    }
}

/// The first administrator's key; at most one of the two variables may be set.
fn bootstrap_key(environment: &Environment, problems: &mut Vec<Problem>) -> Option<Secret> {
    const KEY: &str = "LONGHAUL_BOOTSTRAP_KEY";
    const FILE: &str = "LONGHAUL_BOOTSTRAP_KEY_FILE";
    let (name, reference) = match (environment.get(KEY), environment.get(FILE)) {
        (None, None) => return None,
        (Some(_), None) => (KEY, Reference::Env(KEY.to_owned())),
        (None, Some(path)) => (FILE, Reference::File(path.to_owned())),
        (Some(_), Some(_)) => {
            let message = format!("{KEY} and {FILE} are both set; set one of them");
            problems.push(Problem { place: Place::Env { name: FILE.to_owned() }, message, help: None });
            return None;
        }
    };
    match reference.resolve(environment) {
        Ok(secret) => Some(secret),
        Err(message) => {
            let message = format!("{name} {message}");
            problems.push(Problem { place: Place::Env { name: name.to_owned() }, message, help: None });
            None
        }
    }
}

/// What no single key can know: values that must fit each other.
fn check(settings: &Settings, reader: &mut Reader<'_>) {
    let server = &settings.server;
    let lone = match (&server.tls_cert, &server.tls_key) {
        (Some(_), None) => Some(("server.tls.cert", "server.tls.key")),
        (None, Some(_)) => Some(("server.tls.key", "server.tls.cert")),
        _ => None,
    };
    if let Some((given, missing)) = lone {
        report(reader, given, format!("`{given}` is set and `{missing}` is not; HTTPS needs both"));
    }
    let origins = &server.cors_origins;
    if origins.len() > 1 && origins.iter().any(|origin| origin.as_str() == "*") {
        let message = "`server.cors.origins` has \"*\", which allows every origin, beside others; keep one of the two";
        report(reader, "server.cors.origins", message.to_owned());
    }
    let limits = &settings.limits;
    for (key, duration) in [
        ("store.retention", settings.store.retention),
        ("store.tombstones", settings.store.tombstones),
        ("limits.first_byte", limits.first_byte),
        ("limits.headers_within", limits.headers_within),
        ("limits.body_rate_window", limits.body_rate_window),
    ] {
        if duration.is_zero() {
            report(reader, key, format!("`{key}` must be longer than zero"));
        }
    }
    for (key, size) in [
        ("limits.json_body", limits.json_body),
        ("limits.bulk_body", limits.bulk_body),
        ("limits.facade_body", limits.facade_body),
        ("limits.upload", limits.upload),
    ] {
        if size.bytes() == 0 {
            report(reader, key, format!("`{key}` of zero would refuse every request"));
        }
    }
    // Below this the parser cannot hold the request line and the headers that every client sends.
    if limits.header_bytes.bytes() < 8_192 {
        report(reader, "limits.header_bytes", "`limits.header_bytes` must be at least 8KiB".to_owned());
    }
    let tracker = tokio_util::task::TaskTracker::new();
    for (name, tool) in &settings.tools {
        if let Err(message) = tool.caller(&tracker).map(drop).and_then(|()| tool.check_schema()) {
            let section = SectionPath::named("tools", name);
            let place = reader.place_within(&section.to_string());
            reader.problems.push(Problem { place, message: format!("[{section}] {message}"), help: None });
        }
    }
    check_kinds(settings, reader);
    let zero_timeouts: Vec<String> = settings
        .kinds
        .iter()
        .filter(|(_, kind)| kind.timeout.is_some_and(|timeout| timeout.is_zero()))
        .map(|(name, _)| format!("{}.timeout", SectionPath::named("kinds", name)))
        .collect();
    for key in zero_timeouts {
        report(reader, &key, format!("`{key}` must be longer than zero"));
    }
}

/// A section is about a kind that is built in, and names a model that exists.
fn check_kinds(settings: &Settings, reader: &mut Reader<'_>) {
    let mut models = reader.names("models");
    models.extend(settings.gateway.models.keys().cloned());
    let near_to = |word: &str, names: &mut dyn Iterator<Item = &str>| {
        nearest(word, names).map(|near| format!("did you mean `{near}`?"))
    };
    for name in settings.kinds.keys() {
        let section = SectionPath::named("kinds", name);
        if !BUILT_IN_KINDS.contains(&name.as_str()) {
            let place = reader.place_within(&section.to_string());
            let message = format!("[{section}] is about a kind that is not built in; a worker sets up its own kinds");
            let help = near_to(name, &mut BUILT_IN_KINDS.iter().copied());
            reader.problems.push(Problem { place, message, help });
        }
    }
    for (name, model) in settings.models_of_kinds() {
        if models.iter().any(|known| known == model) {
            continue;
        }
        let key = format!("{}.model", SectionPath::named("kinds", name));
        let help = near_to(model, &mut models.iter().map(String::as_str));
        let message = format!("`{key}` names the model `{model}`, which is not configured");
        reader.problems.push(Problem { place: reader.place_of(&key), message, help });
    }
}

fn report(reader: &mut Reader<'_>, key: &str, message: String) {
    let place = reader.place_of(key);
    reader.problems.push(Problem { place, message, help: None });
}
