//! `LONGHAUL__SECTION__KEY` variables: one for every key, and none that means nothing.
//!
//! Two underscores part the levels. In a named section the name is the second level; what a shell does not allow in a
//! name is written `_`, so `LONGHAUL__KINDS__DOCUMENT_INGEST__TIMEOUT` is `kinds."document.ingest".timeout`.

use super::environment::Environment;
use super::problem::{Place, Problem, nearest};
use super::reader::{Given, Raw, Said, SectionPath};
use super::schema::{BUILT_IN_KINDS, SectionInfo, in_a_variable, variable};

const PREFIX: &str = "LONGHAUL__";

/// Notes every override and reports those that no key answers to.
pub(super) fn read(
    environment: &Environment,
    schema: &[SectionInfo],
    said: &mut Said<'_>,
    problems: &mut Vec<Problem>,
) {
    for (variable, value) in environment.with_prefix(PREFIX) {
        let place = Place::Env { name: variable.to_owned() };
        match target(variable, schema, said) {
            Ok((section, key)) => said.note(section, key, Given { place, raw: Raw::Text(value.to_owned()) }),
            Err((message, help)) => problems.push(Problem { place, message, help }),
        }
    }
}

/// The key that a variable names, or what is wrong with it.
fn target(
    name: &str,
    schema: &[SectionInfo],
    said: &Said<'_>,
) -> Result<(SectionPath, &'static str), (String, Option<String>)> {
    let parts: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    let section = parts[0].as_str();
    let unknown = || {
        let known: Vec<String> = schema.iter().flat_map(|info| variables(info, parts.get(1))).collect();
        let near = nearest(name, known.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
        (format!("{name} overrides nothing: there is no such key"), near)
    };
    let info = schema.iter().find(|info| info.name == section).ok_or_else(unknown)?;
    let (own, key) = if info.named { (parts.get(1), parts.get(2..)) } else { (None, parts.get(1..)) };
    let key = info.key(&key.unwrap_or_default().join(".")).ok_or_else(unknown)?;
    let path = match own {
        None => SectionPath::single(info.name),
        Some(own) => SectionPath::named(info.name, &resolve_name(info.name, own, said)?),
    };
    Ok((path, key.path))
}

/// The name that a variable means: one that the file has, one that is built in, or for queues a new one.
fn resolve_name(section: &str, own: &str, said: &Said<'_>) -> Result<String, (String, Option<String>)> {
    let built_in: &[&str] = if section == "kinds" { &BUILT_IN_KINDS } else { &[] };
    let mut known = said.names(section).chain(built_in.iter().copied());
    if let Some(name) = known.find(|known| in_a_variable(known).eq_ignore_ascii_case(own)) {
        return Ok(name.to_owned());
    }
    // A new queue, provider or model may be made by a variable. A kind may not: its dots cannot be told from its underscores.
    if section == "kinds" || own.is_empty() {
        let names: Vec<String> = built_in.iter().copied().map(in_a_variable).collect();
        let help = match section {
            "kinds" => format!("the kinds that are built in are {}", names.join(", ")),
            _ => "put its name between the underscores".to_owned(),
        };
        return Err((format!("no {section} entry is called `{own}`"), Some(help)));
    }
    Ok(own.to_owned())
}

/// Every variable of a section, with the given name where one is needed.
fn variables(info: &SectionInfo, own: Option<&String>) -> Vec<String> {
    let own = if info.named { Some(own.map_or("NAME", String::as_str)) } else { None };
    info.keys.iter().map(|key| variable(info.name, own, key.path)).collect()
}
