//! One module per command: its arguments, what it asks the server, what it shows.

pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod documents;
mod explain;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod kinds;
mod listing;
pub(crate) mod models;
pub(crate) mod queues;
pub(crate) mod serve;
pub(crate) mod submit;
mod tailing;
pub(crate) mod verify;
mod waiting;

use std::future::Future;

use crate::arguments::{Command, RemoteArguments};
use crate::client::{Client, Retries};
use crate::config::Environment;
use crate::exit::Exit;
use crate::screen::Screen;

/// Runs a command to its end.
pub(crate) fn run(command: Command, environment: Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    match command {
        Command::Serve(arguments) => serve::start(&arguments, environment, screen),
        Command::Config(arguments) => config::run(&arguments, environment, screen),
        Command::Models(arguments) => models::run(&arguments, environment, screen),
        Command::Bench(arguments) => bench::run(arguments, &environment, screen),
        Command::Demo(arguments) => demo::run(arguments, screen),
        Command::Verify(arguments) => verify::run(&arguments, &environment, screen),
        Command::Submit(arguments) => remote(&arguments.remote.clone(), &environment, async |server| {
            submit::run(*arguments, &server, screen).await
        }),
        Command::Jobs(arguments) => {
            remote(&arguments.remote.clone(), &environment, async |server| jobs::run(arguments, &server, screen).await)
        }
        Command::Kinds(arguments) => {
            remote(&arguments.remote.clone(), &environment, async |server| kinds::run(arguments, &server, screen).await)
        }
        Command::Queues(arguments) => remote(&arguments.remote.clone(), &environment, async |server| {
            queues::run(arguments, &server, screen).await
        }),
        Command::Keys(arguments) => {
            remote(&arguments.remote.clone(), &environment, async |server| keys::run(arguments, &server, screen).await)
        }
        Command::Documents(arguments) => remote(&arguments.remote.clone(), &environment, async |server| {
            documents::run(arguments, &server, screen).await
        }),
    }
}

/// A server and how its answers are to be printed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) json: bool,
}

/// Runs a command that talks to a server.
fn remote<F: Future<Output = anyhow::Result<Exit>>>(
    arguments: &RemoteArguments,
    environment: &Environment,
    command: impl FnOnce(Server) -> F,
) -> anyhow::Result<Exit> {
    let server = Server { client: Client::new(&arguments.url, environment, Retries::default())?, json: arguments.json };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command(server))
}
