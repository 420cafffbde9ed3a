//! `longhaul queues`: how full they are, and whether they hand out work.

use clap::{Args, Subcommand};

use super::Server;
use super::listing::{self, Listing};
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::client::types::Queue;
use crate::exit::Exit;
use crate::screen::{Screen, Table, Tint, clean};

/// Arguments of `queues`.
#[derive(Debug, Args)]
#[command(long_about = "\
List the queues, or pause and resume one. A paused queue takes jobs in and starts none; what runs goes on.

Examples:
  longhaul queues
  longhaul queues pause ocr
  longhaul queues resume ocr")]
pub(crate) struct QueuesArguments {
    #[command(subcommand)]
    command: Option<QueuesCommand>,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
enum QueuesCommand {
    /// List the queues (the default)
    List,
    /// Start no more jobs of a queue
    Pause {
        /// The queue
        queue: String,
    },
    /// Start jobs of a paused queue again
    Resume {
        /// The queue
        queue: String,
    },
}

pub(crate) async fn run(arguments: QueuesArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    match arguments.command {
        None | Some(QueuesCommand::List) => list(server, screen).await,
        Some(QueuesCommand::Pause { queue }) => switch(&queue, "pause", "paused", server, screen).await,
        Some(QueuesCommand::Resume { queue }) => switch(&queue, "resume", "resumed", server, screen).await,
    }
}

async fn list(server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let page = |cursor: Option<&str>| Request::get(&["v1", "queues"]).query_opt("cursor", cursor.map(str::to_owned));
    let mut table = Table::new(&["QUEUE", "STATE", ">QUEUED", ">RUNNING", ">AT ONCE"]);
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let listing = Listing { page: &page, all: true, next: listing::given_cursor };
    listing::print(listing, server, screen, |item, _| {
        let queue: Queue = serde_json::from_str(item.get())?;
        let (state, tint) = if queue.paused { ("paused", Tint::Yellow) } else { ("open", Tint::Green) };
        table.tinted([
            (queue.queue.as_str(), Tint::Plain),
            (state, tint),
            (&number(queue.queued), Tint::Plain),
            (&number(queue.running), Tint::Plain),
            (&number(queue.concurrency), Tint::Plain),
        ]);
        Ok(())
    })
    .await?;
    if !server.json {
        screen.table(&table)?;
    }
    Ok(Exit::Ok)
}

async fn switch(queue: &str, action: &str, done: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::post(&["v1", "queues", queue, action]).repeatable()).await?;
    if server.json && !answer.body.is_empty() {
        screen.raw(&answer.body)?;
    } else if !server.json {
        screen.line(format!("{} {done}", clean(queue)))?;
    }
    Ok(Exit::Ok)
}
