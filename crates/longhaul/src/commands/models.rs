//! `longhaul models check`: asks every target one small question, from this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longhaul_gateway::{Gateway, GatewayOptions, GatewaySettings, TargetCheck};

use crate::config::{Environment, FileSource, Sources, load};
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Table, Tint};

/// Arguments of `models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArguments {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Ask every target of the configured models one small question
    #[command(long_about = "\
Ask every target of the configured models one small question, and say what each answered.

The questions go out from this machine, by the configuration and not through a running server: past caches, breakers and \
limits, one attempt each, and they cost a few tokens. Ends with 1 if any target did not answer.

Examples:
  longhaul models check
  longhaul models check smart --config /etc/longhaul.toml --json")]
    Check(CheckArguments),
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Only this model
    model: Option<String>,
    /// Configuration file [default: longhaul.toml in the working directory, if it is there]
    #[arg(long, env = "LONGHAUL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &ModelsArguments, environment: Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    let ModelsCommand::Check(arguments) = &arguments.command;
    let file = arguments.config.clone().map_or(FileSource::Discover, FileSource::Named);
    let settings = load(Sources { file, environment, flags: Vec::new() }).into_settings()?;
    let secrets = secrets(&settings.gateway);
    let gateway =
        Gateway::new(settings.gateway, GatewayOptions::default()).map_err(|bad| UsageError(bad.to_string()))?;
    let models: Vec<String> = match &arguments.model {
        Some(model) => vec![model.clone()],
        None => gateway.models().into_iter().map(|model| model.name).collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut checks = runtime.block_on(async {
        let mut checks = Vec::new();
        for model in &models {
            checks.extend(gateway.check(model).await.map_err(|unknown| UsageError(unknown.to_string()))?);
        }
        Ok::<_, UsageError>(checks)
    })?;
    for words in checks.iter_mut().flat_map(|check| [&mut check.said, &mut check.error]).flatten() {
        blank(words, &secrets);
    }
    print(&checks, arguments.json, screen)?;
    Ok(if checks.iter().all(TargetCheck::is_ok) { Exit::Ok } else { Exit::Failed })
}

/// The keys and headers of providers, the longest first.
fn secrets(settings: &GatewaySettings) -> Vec<String> {
    let of_provider = settings.providers.values().flat_map(|provider| {
        let key = provider.access.api_key.iter().map(|key| key.expose().to_owned());
        let headers = provider.access.headers.iter().filter(|(_, value)| value.is_sensitive());
        key.chain(headers.filter_map(|(_, value)| value.to_str().ok().map(str::to_owned)))
    });
    let mut secrets: Vec<String> = of_provider.filter(|secret| !secret.is_empty()).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// Takes secrets out of what a provider said: some repeat the key that they refuse.
fn blank(words: &mut String, secrets: &[String]) {
    for secret in secrets {
        if words.contains(secret.as_str()) {
            *words = words.replace(secret.as_str(), "***");
        }
    }
}

fn print(checks: &[TargetCheck], json: bool, screen: &mut Screen) -> anyhow::Result<()> {
    if json {
        for check in checks {
            screen.line(serde_json::to_string(check)?)?;
        }
        return Ok(());
    }
    let mut table = Table::new(&["MODEL", "TARGET", "PROVIDER", ">MS", "ANSWER"]);
    for check in checks {
        let (answer, tint) = match (&check.said, &check.error) {
            (Some(said), None) => (said.as_str(), Tint::Green),
            (_, error) => (error.as_deref().unwrap_or_default(), Tint::Red),
        };
        table.tinted([
            (check.model.as_str(), Tint::Plain),
            (check.target.as_str(), Tint::Plain),
            (check.provider.as_str(), Tint::Plain),
            (check.took_ms.to_string().as_str(), Tint::Plain),
            (answer, tint),
        ]);
    }
    screen.table(&table)?;
    Ok(())
}
