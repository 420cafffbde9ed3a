//! Every local analysis of a text from standard input: `cargo run --example local_analyses < file.txt`.

#![allow(clippy::print_stdout, reason = "a tool for a person")]

use std::error::Error;
use std::io::read_to_string;

use longhaul_providers::local::{Local, LocalError};
use serde::Serialize;

fn show<T: Serialize>(name: &str, answer: Result<T, LocalError>) -> Result<(), Box<dyn Error>> {
    match answer {
        Ok(answer) => println!("{name}: {}", serde_json::to_string(&answer)?),
        Err(error) => println!("{name}: {} ({})", error, error.code()),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = read_to_string(std::io::stdin())?;
    let local = Local::default();
    show("summary", local.summary(&text))?;
    show("keywords", local.keywords(&text))?;
    show("sentiment", local.sentiment(&text))?;
    show("entities", local.entities(&text))?;
    show("language", local.language(&text))?;
    show("classify", local.classify(&text, &["tides and ships", "billing: invoice, refund", "weather"]))
}
