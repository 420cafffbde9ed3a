//! `longhaul config check`: what would be in force, where each value comes from, what is wrong.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longhaul_gateway::{Gateway, GatewayOptions};
use longhaul_server::listener::TlsIdentity;
use serde::Serialize;

use super::explain::{Explained, explain};
use crate::config::{Effective, Environment, FileSource, Loaded, Place, Problem, Sources, format_duration, load};
use crate::exit::Exit;
use crate::screen::{Screen, Table, Tint};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration in force, where each value comes from, and every problem
    #[command(long_about = "\
Print the configuration in force, where each value comes from, the layers of each model with the longest time that a call can take, and every problem at once. Starts nothing and \
calls nobody.

The place of a value is `default`, a line of the file, an environment variable, or a flag. Values set by flags of \
`serve` are not known here. Ends with 2 if anything is wrong.

Examples:
  longhaul config check
  longhaul config check --config /etc/longhaul.toml --json")]
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Configuration file [default: longhaul.toml in the working directory, if it is there]
    #[arg(long, env = "LONGHAUL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    file: Option<&'a std::path::Path>,
    settings: Vec<ReportLine<'a>>,
    problems: &'a [Problem],
    models: Vec<ReportModel>,
}

#[derive(Serialize)]
struct ReportModel {
    model: String,
    layers: Vec<String>,
    worst_case_ms: Option<u64>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ReportLine<'a> {
    key: &'a str,
    value: serde_json::Value,
    source: &'a Place,
}

pub(crate) fn run(arguments: &ConfigArguments, environment: Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    let ConfigCommand::Check(arguments) = &arguments.command;
    let mut loaded = load(Sources {
        file: arguments.config.clone().map_or(FileSource::Discover, FileSource::Named),
        environment,
        flags: Vec::new(),
    });
    // Makes the models as the server would; opens no connection.
    let models = match Gateway::new(loaded.settings.gateway.clone(), GatewayOptions::default()) {
        Ok(gateway) => explain(&loaded.settings.gateway, &gateway),
        Err(bad) => {
            let problem = |message| Problem { place: Place::Default, message, help: None };
            loaded.problems.extend(bad.0.into_iter().map(problem));
            Vec::new()
        }
    };
    loaded.problems.extend(unusable_certificate(&loaded));
    if arguments.json {
        print_json(&loaded, models, screen)?;
    } else {
        print_text(&loaded, &models, screen)?;
    }
    Ok(if loaded.problems.is_empty() { Exit::Ok } else { Exit::Usage })
}

/// What is wrong with the files of HTTPS, as the server would read them.
fn unusable_certificate(loaded: &Loaded) -> Option<Problem> {
    let server = &loaded.settings.server;
    let (cert, key) = (server.tls_cert.as_ref()?, server.tls_key.as_ref()?);
    let error = TlsIdentity::from_pem_files(cert, key).err()?;
    let line = loaded.effective.iter().find(|line| line.key == "server.tls.cert")?;
    Some(Problem { place: line.place.clone(), message: error.to_string(), help: None })
}

fn print_json(loaded: &Loaded, models: Vec<Explained>, screen: &mut Screen) -> anyhow::Result<()> {
    let report = Report {
        valid: loaded.problems.is_empty(),
        file: loaded.file.as_deref(),
        settings: loaded
            .effective
            .iter()
            .map(|line| ReportLine { key: &line.key, value: as_json(&line.value), source: &line.place })
            .collect(),
        problems: &loaded.problems,
        models: models
            .into_iter()
            .map(|Explained { model, layers, worst_case, warnings }| ReportModel {
                model,
                layers,
                warnings,
                worst_case_ms: worst_case.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            })
            .collect(),
    };
    screen.line(serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

/// A value that was written as TOML, as JSON. An unset value is null.
fn as_json(value: &str) -> serde_json::Value {
    #[derive(serde::Deserialize)]
    struct Wrapper {
        value: serde_json::Value,
    }
    toml::from_str::<Wrapper>(&format!("value = {value}")).map_or(serde_json::Value::Null, |wrapper| wrapper.value)
}

fn print_text(loaded: &Loaded, models: &[Explained], screen: &mut Screen) -> anyhow::Result<()> {
    match &loaded.file {
        Some(file) => screen.line(format!("file: {}", file.display()))?,
        None => screen.line("file: none")?,
    }
    screen.line("")?;
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for Effective { key, value, place } in &loaded.effective {
        let value = if value.is_empty() { "-" } else { value };
        let tint = if *place == Place::Default { Tint::Dim } else { Tint::Plain };
        table.tinted([(key.as_str(), Tint::Plain), (value, Tint::Plain), (&place.to_string(), tint)]);
    }
    screen.table(&table)?;
    screen.line("")?;
    for Explained { model, layers, worst_case, warnings } in models {
        let bound = worst_case.map_or("nothing bounds it".to_owned(), format_duration);
        screen.line(format!("model {model}, a whole call takes at most {bound}"))?;
        for layer in layers {
            screen.line(format!("  {layer}"))?;
        }
        for warning in warnings {
            screen.line(screen.tinted(Tint::Bold, &format!("  warning: {warning}")))?;
        }
        screen.line("")?;
    }
    match loaded.problems.len() {
        0 => screen.line(screen.tinted(Tint::Green, "no problems"))?,
        count => {
            for problem in &loaded.problems {
                screen.note(problem.to_string());
            }
            screen.line(screen.tinted(Tint::Red, &format!("{count} problem{}", if count == 1 { "" } else { "s" })))?;
        }
    }
    Ok(())
}
