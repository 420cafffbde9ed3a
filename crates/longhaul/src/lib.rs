//! The `longhaul` program: configuration, command line, benchmarks, and the wiring of `serve`.
//!
//! `serve`, `config check`, `models check`, `verify`, `bench` and `demo` act on this machine. Every other command speaks
//! HTTP to a server, through [`client`] alone, and knows of it only what the HTTP contract says: no type of the server's crates is used there, so
//! that the command line of one version works with a server of another.
//!
//! Started with [`reading::MODE`] the program is none of this: it reads one document for a server and ends.
//!
//! What a person reads goes through [`screen`]; what a script relies on are the exit codes of [`exit`] and `--json`.

mod arguments;
pub mod bench;
pub mod client;
mod clock;
mod commands;
pub mod config;
mod demo;
pub mod exit;
pub mod reading;
pub mod screen;
mod server;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::config::Environment;
use crate::exit::Exit;
use crate::screen::Screen;

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything else: a process that reads a document has no configuration, no log and no command line.
    if std::env::args_os().nth(1).is_some_and(|mode| mode == reading::MODE) {
        return longhaul_documents::isolated::exit_code();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are "errors" too; they go to standard output and end well.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            let _ = error.print();
            return code.into();
        }
    };
    let environment = Environment::of_this_process();
    let mut screen = Screen::of_this_process(&environment);
    match commands::run(arguments.command, environment, &mut screen) {
        Ok(exit) => exit.into(),
        Err(error) if exit::is_closed_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            let exit = exit::of_error(&error);
            screen.error(&error);
            exit.into()
        }
    }
}
