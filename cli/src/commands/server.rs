//! `runyard server`: a coordinator; `runyard server init`: a new group.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use runyard_server::{InitError, ServerConfig, ServerError, Started};

use super::dev::signals;
use crate::context::Env;
use crate::errors::{Context as _, Error, Exit, Kind, Result};

/// Flags of `server`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new group: its keys, its empty log, its first token
    Init {
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, clap::Args)]
struct Dir {
    /// The coordinator's own directory [default: $XDG_STATE_HOME/runyard/server]
    #[arg(long, value_name = "DIR", env = "RUNYARD_SERVER_DIR", hide_env_values = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[command(flatten)]
    dir: Dir,
    /// Where users and agents are answered; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:7443")]
    listen: SocketAddr,
    /// A name or address under which others reach it, for its certificate; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    match args.verb {
        Some(Verb::Init { dir }) => init(&dir.resolve()?, env),
        None => serve(args.serve, env).await,
    }
}

impl Dir {
    fn resolve(self) -> Result<PathBuf> {
        match self.dir {
            Some(dir) => Ok(dir),
            None => state_dir("server"),
        }
    }
}

/// `$XDG_STATE_HOME/runyard/WHAT`.
pub(super) fn state_dir(what: &str) -> Result<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("runyard").join(what))
        .ok_or_else(|| {
            Error::usage("neither XDG_STATE_HOME nor HOME is set")
                .help("name a directory with --dir DIR")
        })
}

fn init(dir: &Path, env: &Env) -> Result<Exit> {
    let made = runyard_server::init(dir).map_err(|error| explain(error.into()))?;
    let dir = dir.display();
    if env.printer.structured() {
        let value = serde_json::json!({
            "group": made.group,
            "pin": made.pin,
            "admin_token_file": made.admin_file,
            "dir": dir.to_string(),
            "ca_pem": made.ca_pem,
        });
        env.printer.answer(&value)?;
        return Ok(Exit::OK);
    }
    env.printer.data(
        format!(
            "group        {}\ndirectory    {dir}\npin          {}\nadmin token  {} (mode 0600; keep it)\n",
            made.group,
            made.pin,
            made.admin_file.display()
        )
        .as_bytes(),
    )?;
    env.printer.next(&format!("runyard server --dir {dir}"));
    env.printer.next(&format!(
        "runyard login HOST:7443 --pin {} < {}",
        made.pin,
        made.admin_file.display()
    ));
    Ok(Exit::OK)
}

async fn serve(args: Serve, env: &Env) -> Result<Exit> {
    let dir = args.dir.resolve()?;
    // Its log is whole at any moment, and agents are not its children.
    let stop = signals::stop_on_signals(true)?;
    let program = std::env::current_exe()
        .context(Kind::Failed, || "cannot find this program's own file".into())?;
    let mut hosts = args.hosts;
    if hosts.is_empty() {
        hosts = own_hosts(args.listen);
    }
    let config = ServerConfig { dir: dir.clone(), listen: args.listen, hosts, program };
    let started = runyard_server::start(config, stop).await.map_err(explain)?;
    announce(&dir, &started)?;
    env.printer.note(&format!("serving on {}; status page {}", started.address, started.page()));
    let ended = started.wait().await.map_err(explain);
    // Whoever looks for it finds no server that has gone.
    let _ = fs_err::remove_file(address_file(&dir));
    ended?;
    Ok(Exit::OK)
}

/// Where a running coordinator says how to reach it; supervisors and tests wait for it.
pub(super) fn address_file(dir: &Path) -> PathBuf {
    dir.join("address.json")
}

fn announce(dir: &Path, started: &Started) -> Result<()> {
    let path = address_file(dir);
    let aside = path.with_extension("new");
    let text = serde_json::json!({
        "pid": std::process::id(),
        "address": started.address.to_string(),
        "page": started.page(),
    });
    fs_err::write(&aside, format!("{text}\n"))
        .and_then(|()| fs_err::rename(&aside, &path))
        .context(Kind::Failed, || "cannot say where this server listens".into())
}

/// Names of this host that others may use: where it listens, else the address of its way out, and its name.
fn own_hosts(listen: SocketAddr) -> Vec<String> {
    if !listen.ip().is_unspecified() {
        return vec![listen.ip().to_string()];
    }
    let mut hosts = Vec::new();
    // Connecting a datagram socket sends nothing; it only makes the kernel choose a source address.
    let way_out = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    hosts.extend(way_out.ok().map(|address| address.ip().to_string()));
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    hosts.extend(name.filter(|name| !name.is_empty()));
    hosts.push("127.0.0.1".into());
    hosts
}

/// What to do about a coordinator that does not start.
fn explain(error: ServerError) -> Error {
    let (kind, help) = match &error {
        ServerError::Init(InitError::Missing { dir }) => {
            (Kind::NotFound, format!("`runyard server init --dir {}` makes one", dir.display()))
        }
        ServerError::Init(InitError::Exists { .. }) => {
            (Kind::Conflict, "a group is made once; the one that is there is untouched".into())
        }
        ServerError::Init(InitError::Io { .. } | InitError::Log { .. }) => (
            Kind::Failed,
            "the directory must be writable by this user; --dir names another".into(),
        ),
        ServerError::Listen(_) => (
            Kind::Conflict,
            "--listen IP:PORT names another address; port 0 takes a free one".into(),
        ),
        ServerError::Consensus { .. } => (
            Kind::Conflict,
            "one server at a time works on a directory; --dir names another".into(),
        ),
        _ => (Kind::Failed, String::new()),
    };
    let message = error.to_string();
    let shown = Error::new(kind, message).because(error);
    if help.is_empty() { shown } else { shown.help(help) }
}
