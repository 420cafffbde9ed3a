//! `longhaul bench`.

use clap::Args;

use crate::config::Environment;
use crate::exit::Exit;
use crate::screen::Screen;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {}

pub(crate) fn run(_: BenchArguments, _: &Environment, _: &mut Screen) -> anyhow::Result<Exit> {
    Ok(Exit::Ok)
}
