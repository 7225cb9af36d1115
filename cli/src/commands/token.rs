//! `runyard token`: tokens of users and agents.

use std::time::Duration;

use runyard_proto::v1;
use serde_json::{Value, json};

use crate::client::{Client, once, retry};
use crate::context::Env;
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, List, Look, Output, Table, json_of, time};

/// Flags of `token`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a token; it is printed once and stored hashed
    Create {
        /// For a user, or for one agent to join with
        #[arg(value_enum)]
        kind: Kind,
        /// Whom it is for
        #[arg(default_value = "")]
        name: String,
        /// How long it is good for; the coordinator's default, if not given
        #[arg(long, value_name = "DURATION", value_parser = super::watch::parse_duration)]
        ttl: Option<Duration>,
    },
    /// List tokens (never their secrets)
    Ls,
    /// Make a token worthless, at once
    Revoke { id: String },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    User,
    Agent,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let client = env.client().await?;
    match args.verb {
        Verb::Create { kind, name, ttl } => create(&client, env, kind, name, ttl).await?,
        Verb::Ls => {
            let answer = retry(|| {
                let mut fleet = client.fleet();
                async move { fleet.list_tokens(v1::ListTokensRequest {}).await }
            })
            .await?;
            env.printer.show(&Tokens(List { index: answer.index, items: answer.items }))?;
        }
        Verb::Revoke { id } => {
            retry(|| {
                let (mut fleet, id) = (client.fleet(), id.clone());
                async move { fleet.revoke_token(v1::RevokeTokenRequest { id }).await }
            })
            .await?;
            env.printer.note(&format!("token {id} is revoked"));
            env.printer.answer(&json!({ "id": id, "revoked": true }))?;
        }
    }
    Ok(Exit::OK)
}

async fn create(
    client: &Client,
    env: &Env,
    kind: Kind,
    name: String,
    ttl: Option<Duration>,
) -> Result<()> {
    let (word, join) = match kind {
        Kind::User => ("user", false),
        Kind::Agent => ("agent", true),
    };
    let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let request = v1::CreateTokenRequest { kind: word.into(), name, ttl_ms };
    // Once: a second token that nobody sees would stay valid.
    let created = once(client.fleet().create_token(request)).await?;
    if env.printer.structured() {
        return env.printer.answer(&json_of("CreateTokenResponse", &created)?);
    }
    env.printer.data(format!("{}\n", created.token).as_bytes())?;
    let until = match created.expires_ms {
        0 => String::new(),
        at => format!(", good until {}", time(at)),
    };
    env.printer.note(&format!("token {}{until}; it is not shown again", created.id));
    match join {
        true => env.printer.next("runyard agent --join TOKEN@HOST:PORT"),
        false => env.printer.next("runyard login HOST:PORT --pin SHA256 (paste it when asked; `server init` printed the pin)"),
    }
    Ok(())
}

struct Tokens(List<v1::TokenInfo>);

impl Output for Tokens {
    fn json(&self) -> Result<Value> {
        self.0.to_json("TokenInfo")
    }

    fn names(&self) -> Vec<String> {
        self.0.items.iter().map(|token| token.id.clone()).collect()
    }

    fn table(&self, look: &Look) -> Table {
        let columns = [
            Column::new("ID"),
            Column::new("KIND"),
            Column::new("NAME"),
            Column::new("STATE"),
            Column::new("AGE"),
            Column::new("EXPIRES"),
        ];
        let mut table = Table::new(columns, "No tokens.");
        for token in &self.0.items {
            let expired = token.expires_ms > 0 && token.expires_ms <= look.now_ms;
            let state = match (token.revoked, token.used, expired) {
                (true, ..) => "revoked",
                (_, true, _) => "used",
                (_, _, true) => "expired",
                _ => "open",
            };
            table.row([
                Cell::new(&token.id),
                Cell::new(&token.kind),
                Cell::new(&token.name),
                Cell::state(state),
                Cell::age(look, token.created_ms),
                Cell::with_raw(time(token.expires_ms), token.expires_ms),
            ]);
        }
        table
    }
}
