//! `longhaul documents`: what became of an upload.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Server;
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::exit::Exit;
use crate::screen::{Screen, clean};

/// Arguments of `documents`.
#[derive(Debug, Args)]
#[command(long_about = "\
Show uploaded documents. Upload with: longhaul submit document.ingest --document FILE

Examples:
  longhaul documents show doc_0192...
  longhaul documents show doc_0192... --json | jq -r '.chunks[].text'")]
pub(crate) struct DocumentsArguments {
    #[command(subcommand)]
    command: DocumentsCommand,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
enum DocumentsCommand {
    /// Show a document
    Show {
        /// The document
        document_id: String,
    },
}

pub(crate) async fn run(arguments: DocumentsArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let DocumentsCommand::Show { document_id } = arguments.command;
    let answer = server.client.send(Request::get(&["v1", "documents", &document_id])).await?;
    if server.json {
        screen.raw(&answer.body)?;
        return Ok(Exit::Ok);
    }
    let document: BTreeMap<String, Value> = answer.read()?;
    let width = document.keys().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
    for (name, value) in &document {
        let name = clean(name);
        match value {
            Value::Null => {}
            Value::Array(items) => screen.line(format!("{name:<width$}{} (--json shows them)", items.len()))?,
            Value::String(text) if text.chars().count() > 200 => {
                screen.line(format!("{name:<width$}{} characters (--json shows them)", text.chars().count()))?;
            }
            Value::String(text) => screen.line(format!("{name:<width$}{}", clean(text)))?,
            other => screen.line(format!("{name:<width$}{}", clean(&other.to_string())))?,
        }
    }
    Ok(Exit::Ok)
}
