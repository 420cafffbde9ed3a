//! `longhaul serve`: reads the configuration, then hands over to the server.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Environment, FileSource, Flag, Sources, load};
use crate::exit::Exit;
use crate::screen::Screen;

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(long_about = "\
Run the server on this machine until it is told to stop.

Without any argument it keeps its data in ./longhaul-data and listens on 127.0.0.1:8080. Once it is ready it prints \
one line, `listening on http://ADDRESS`, on standard output; everything else is logged on standard error.

SIGHUP, or a change of the configuration file, puts its providers and models in force anew; what they learned is \
kept. SIGTERM or Ctrl-C stops it: it takes no more work, lets running jobs go on for `server.drain` (30s), then releases \
them to run again at the next start.

Examples:
  longhaul serve
  longhaul serve --config /etc/longhaul.toml
  longhaul serve --listen 127.0.0.1:0 --data-dir /tmp/try
  longhaul serve --no-builtin
  LONGHAUL__STORE__RETENTION=1d longhaul serve")]
pub(crate) struct ServeArguments {
    /// Configuration file [default: longhaul.toml in the working directory, if it is there]
    #[arg(long, env = "LONGHAUL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Directory for the data; the same as store.url = "sqlite:DIR"
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Take jobs in and keep them, but run none here: workers do
    #[arg(long, env = "LONGHAUL_NO_BUILTIN", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_builtin: bool,
}

impl ServeArguments {
    /// The configuration sources that these arguments name.
    #[must_use]
    pub(crate) fn sources(&self, environment: Environment) -> Sources {
        let listen =
            self.listen.clone().map(|value| Flag { flag: "--listen", section: "server", key: "listen", value });
        let data_dir = self.data_dir.as_ref().map(|directory| Flag {
            flag: "--data-dir",
            section: "store",
            key: "url",
            value: format!("sqlite:{directory}"),
        });
        Sources {
            file: self.config.clone().map_or(FileSource::Discover, FileSource::Named),
            environment,
            flags: listen.into_iter().chain(data_dir).collect(),
        }
    }
}

/// Loads the settings and runs the server.
pub(crate) fn start(arguments: &ServeArguments, environment: Environment, _: &mut Screen) -> anyhow::Result<Exit> {
    let sources = arguments.sources(environment);
    let loaded = load(sources.clone());
    let file = loaded.file.clone();
    let settings = loaded.into_settings()?;
    crate::server::run(&settings, sources, file, !arguments.no_builtin)?;
    Ok(Exit::Ok)
}
