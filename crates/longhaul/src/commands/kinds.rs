//! `longhaul kinds`: what the server can do.

use clap::{Args, Subcommand};

use super::Server;
use super::listing::{self, Listing};
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::client::types::{Kind, Page};
use crate::config::nearest;
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Table, clean, pretty};

/// Arguments of `kinds`.
#[derive(Debug, Args)]
#[command(long_about = "\
List the kinds of job that the server knows, or show one with its JSON Schemas.

Examples:
  longhaul kinds
  longhaul kinds show document.ingest")]
pub(crate) struct KindsArguments {
    #[command(subcommand)]
    command: Option<KindsCommand>,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
enum KindsCommand {
    /// List the kinds (the default)
    List,
    /// Show a kind with the schemas of its input and output
    Show {
        /// The kind
        kind: String,
    },
}

pub(crate) async fn run(arguments: KindsArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    match arguments.command {
        None | Some(KindsCommand::List) => list(server, screen).await,
        Some(KindsCommand::Show { kind }) => show(&kind, server, screen).await,
    }
}

async fn list(server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let page = |cursor: Option<&str>| Request::get(&["v1", "kinds"]).query_opt("cursor", cursor.map(str::to_owned));
    let mut table = Table::new(&["KIND", "QUEUE", ">TRIES", "DESCRIPTION"]);
    let listing = Listing { page: &page, all: true, next: listing::given_cursor };
    listing::print(listing, server, screen, |item, _| {
        let kind: Kind = serde_json::from_str(item.get())?;
        let tries = kind.max_attempts.map_or("-".to_owned(), |tries| tries.to_string());
        let description = kind.description.unwrap_or_default();
        let first_line = description.lines().next().unwrap_or_default();
        table.row([kind.kind.as_str(), kind.queue.as_deref().unwrap_or("-"), &tries, first_line]);
        Ok(())
    })
    .await?;
    if !server.json {
        screen.table(&table)?;
    }
    Ok(Exit::Ok)
}

async fn show(name: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::get(&["v1", "kinds"])).await?;
    let page: Page<'_> = answer.read()?;
    let mut names = Vec::new();
    for item in &page.data {
        let kind: Kind = serde_json::from_str(item.get())?;
        if kind.kind != name {
            names.push(kind.kind);
            continue;
        }
        if server.json {
            screen.raw(item.get().as_bytes())?;
            return Ok(Exit::Ok);
        }
        screen.line(format!("{:<12}{}", "kind", clean(&kind.kind)))?;
        for (label, value) in [
            ("about", kind.description),
            ("queue", kind.queue),
            ("tries", kind.max_attempts.map(|tries| tries.to_string())),
            ("timeout", kind.timeout_s.map(|seconds| format!("{seconds}s"))),
        ] {
            if let Some(value) = value {
                screen.line(format!("{label:<12}{}", clean(&value)))?;
            }
        }
        for (label, schema) in [("input", kind.input_schema), ("output", kind.output_schema)] {
            if let Some(schema) = schema {
                screen.line(format!("{label}:"))?;
                screen.line(clean(&pretty(schema.get())))?;
            }
        }
        return Ok(Exit::Ok);
    }
    let near = nearest(name, names.iter().map(String::as_str)).map(|near| format!("; did you mean `{near}`?"));
    Err(UsageError(format!("the server has no kind `{name}`{}", near.unwrap_or_default())).into())
}
