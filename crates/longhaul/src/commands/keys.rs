//! `longhaul keys`: who may.

use clap::{Args, Subcommand};

use super::Server;
use super::listing::{self, Listing};
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::client::types::{ApiKey, NewApiKey};
use crate::clock;
use crate::exit::Exit;
use crate::screen::{Screen, Table, clean, relative};

/// Arguments of `keys`.
#[derive(Debug, Args)]
#[command(long_about = "\
Create, list and revoke API keys. All of it needs a key with the scope `admin`, or loopback while no key exists.

The first key closes the door: from then on every request needs one.

Examples:
  longhaul keys create --name ci --scope jobs:read --scope jobs:write
  longhaul keys list
  longhaul keys revoke key_01a2048e...
  longhaul keys revoke lh_first")]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Create a key; it is printed once and can never be shown again
    Create {
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        /// What it may do: jobs:read, jobs:write, llm, worker, worker:QUEUE, admin; may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
        scopes: Vec<String>,
        /// Whose data it opens [default: the tenant of the key that creates it]
        #[arg(long)]
        tenant: Option<String>,
    },
    /// List the keys, without their secrets
    List,
    /// Make a key useless
    Revoke {
        /// Its id, as `keys list` shows it, or lh_ and what follows up to the second underscore
        id: String,
    },
}

pub(crate) async fn run(arguments: KeysArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    match arguments.command {
        KeysCommand::Create { name, scopes, tenant } => {
            create(&NewApiKey { name, scopes, tenant }, server, screen).await
        }
        KeysCommand::List => list(server, screen).await,
        KeysCommand::Revoke { id } => {
            let id = key_id(&id);
            let answer = server.client.send(Request::delete(&["v1", "api_keys", &id])).await?;
            if server.json && !answer.body.is_empty() {
                screen.raw(&answer.body)?;
            } else if !server.json {
                screen.line(format!("{} revoked", clean(&id)))?;
            }
            Ok(Exit::Ok)
        }
    }
}

/// The id that a person means: as the list has it, with or without `key_`, or as it stands in the key itself.
fn key_id(text: &str) -> String {
    if text.starts_with("key_") {
        return text.to_owned();
    }
    let shown = text.strip_prefix("lh_").unwrap_or(text);
    let id = shown.split_once('_').map_or(shown, |(id, _)| id);
    longhaul_server::auth::id_of(id).to_string()
}

/// Not repeated when the connection breaks: a key that nobody has seen would be left behind.
async fn create(key: &NewApiKey, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::post(&["v1", "api_keys"]).json(key)).await?;
    if server.json {
        screen.raw(&answer.body)?;
        return Ok(Exit::Ok);
    }
    let created: ApiKey = answer.read()?;
    screen.line(clean(&created.key.unwrap_or_default()))?;
    screen.note(format!("id {}; keep the key now, it cannot be shown again", clean(&created.id)));
    Ok(Exit::Ok)
}

async fn list(server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let page = |cursor: Option<&str>| Request::get(&["v1", "api_keys"]).query_opt("cursor", cursor.map(str::to_owned));
    let now = clock::now();
    let mut table = Table::new(&["ID", "NAME", "TENANT", "SCOPES", "CREATED"]);
    let listing = Listing { page: &page, all: true, next: listing::given_cursor };
    listing::print(listing, server, screen, |item, _| {
        let key: ApiKey = serde_json::from_str(item.get())?;
        let created = key.created_at.as_deref().map_or("-".to_owned(), |time| relative(time, now));
        let dash = "-".to_owned();
        let (name, tenant) = (key.name.unwrap_or(dash.clone()), key.tenant.unwrap_or(dash));
        table.row([key.id, name, tenant, key.scopes.join(","), created]);
        Ok(())
    })
    .await?;
    if !server.json {
        if table.is_empty() {
            screen.note("no keys: the server listens on loopback only and asks for none");
        } else {
            screen.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_as_it_is_listed_or_as_it_is_written() {
        let digits = "01a2048e000070008000000000000001";
        for text in [format!("key_{digits}"), digits.to_owned(), format!("lh_{digits}"), format!("lh_{digits}_secret")]
        {
            assert_eq!(key_id(&text), format!("key_{digits}"));
        }
        let bootstrap = "lh_first_Zm9yLXRlc3RzLW9ubHktMzItYnl0ZXMtb2Ytc2VjcmV0";
        let known = longhaul_server::auth::ShownKey::parse(bootstrap).unwrap().id.to_string();
        assert_eq!(key_id("lh_first"), known);
        assert_eq!(key_id(bootstrap), known);
        assert_eq!(key_id("key_x"), "key_x");
    }
}
