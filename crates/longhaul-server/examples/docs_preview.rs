//! Serves the documentation pages for any OpenAPI file, to look at them while working on them.
//!
//! `cargo run -p longhaul-server --example docs_preview -- openapi.json 127.0.0.1:8099`

use axum::{Router, http::header, routing::get};
use longhaul_server::{
    docs_page,
    listener::{Listener, ListenerOptions},
};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(addr)) = (args.next(), args.next()) else {
        return Err("say which OpenAPI file to show and where to listen".into());
    };
    let json = std::fs::read_to_string(file)?;
    let openapi = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
    let router: Router = docs_page::router().route("/openapi.json", get(openapi));
    let listener = Listener::bind(addr.parse()?, ListenerOptions::default())?;
    listener.serve(router, CancellationToken::new()).await;
    Ok(())
}
