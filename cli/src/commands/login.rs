//! `runyard login`: trust a group's CA, check a token, remember both.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use runyard_proto::v1;
use runyard_transport::token::UserToken;
use runyard_transport::{Contexts, CredentialsFile, Pin};
use runyard_types::Name;

use super::stdin;
use crate::client::{Client, once};
use crate::context::{Connection, Env, read_ca, read_token, split_addresses};
use crate::errors::{Context as _, Error, Exit, Kind, Result};
use crate::output::plain;

/// Flags of `login`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Coordinators, HOST:PORT[,HOST:PORT…]
    #[arg(value_name = "ADDRESS")]
    addresses: String,
    /// Fingerprint of the group's CA, as `runyard server init` printed it
    #[arg(
        long,
        value_name = "SHA256",
        required_unless_present = "ca_file",
        conflicts_with = "ca_file"
    )]
    pin: Option<String>,
    /// The group's CA certificate, PEM, in place of its fingerprint
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name of the context
    #[arg(long, value_name = "NAME", default_value = "default")]
    name: String,
}

/// Does what the verb says. The token comes from RUNYARD_TOKEN, stdin or a prompt, never from argv.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let name = Name::new(&args.name).map_err(|error| Error::usage(format!("--name: {error}")))?;
    let addresses = split_addresses(&args.addresses)?;
    let ca = match (&args.ca_file, &args.pin) {
        (Some(file), _) => read_ca(file)?,
        (None, Some(pin)) => {
            let pin: Pin = pin.parse().context(Kind::Usage, || "--pin is no fingerprint".into())?;
            // The pin is checked in the handshake, before the token is read, let alone sent.
            runyard_transport::fetch_ca(&addresses, pin).await?
        }
        (None, None) => return Err(Error::usage("give --pin or --ca-file")),
    };
    let token = token(env)?;
    let connection = Connection {
        addresses: addresses.clone(),
        ca: ca.clone(),
        token: Some(token.clone()),
        origin: "the command line".into(),
    };
    let client = Client::connect(&connection, &env.project).await?;
    let status = once(client.fleet().status(v1::StatusRequest {})).await?;
    let contexts = Contexts::at(&env.paths.config);
    contexts.save(&name, &CredentialsFile { addresses, ca, token: Some(token) })?;
    contexts.set_current(&name)?;
    env.printer
        .note(&format!("logged in as {}; context `{name}` is in use", plain(&status.principal)));
    env.printer.answer(&serde_json::json!({
        "context": name.to_string(), "principal": status.principal,
    }))?;
    if env.paths.local.is_some() {
        env.printer.note("(here, ./.runyard/config.toml goes before it)");
    }
    env.printer.next("runyard nodes ls");
    Ok(Exit::OK)
}

fn token(env: &Env) -> Result<UserToken> {
    let text = match std::env::var("RUNYARD_TOKEN") {
        Ok(token) if !token.is_empty() => token,
        _ if std::io::stdin().is_terminal() => {
            env.may_ask("the token")?;
            prompt(env)?
        }
        _ => stdin::text()?,
    };
    read_token(&text).map_err(|error| error.help("a user's token looks like runyard_ID_SECRET"))
}

/// Reads a line without showing it.
fn prompt(env: &Env) -> Result<String> {
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
    env.printer.warn("Paste the token (it is not shown), then Enter:");
    let _ = std::io::stderr().flush();
    let input = std::io::stdin();
    let failed = || "cannot keep the terminal from showing the token".to_owned();
    let before = tcgetattr(&input).context(Kind::Failed, failed)?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSAFLUSH, &hidden).context(Kind::Failed, failed)?;
    let mut line = String::new();
    let read = input.read_line(&mut line);
    // The terminal is put back before anything else can fail.
    tcsetattr(&input, SetArg::TCSAFLUSH, &before).context(Kind::Failed, failed)?;
    read.context(Kind::Failed, || "cannot read the token".into())?;
    Ok(line)
}
