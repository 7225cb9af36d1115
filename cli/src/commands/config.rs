//! `runyard config`: what this program works with, and where each setting comes from.

use serde_json::{Value, json};

use crate::context::{Config, Env};
use crate::errors::{Exit, Result};
use crate::output::{Cell, Column, Look, Output, Table};

/// Flags of `config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Each setting, its value, and where it comes from
    Explain,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let Verb::Explain = args.verb;
    env.printer.show(&Settings(settings(env)?))?;
    Ok(Exit::OK)
}

/// A setting as it is in force.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    name: &'static str,
    value: String,
    from: String,
}

fn settings(env: &Env) -> Result<Vec<Setting>> {
    let (global, config) = env.settings();
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user_file = env.paths.config.join("config.toml");
    let user = Config::read(&user_file)?;
    let local_file = env.paths.local.as_ref().map(|local| local.join("config.toml"));
    let local = match &local_file {
        Some(file) => Config::read(file)?,
        None => Config::default(),
    };
    let local_shown = local_file.map(|file| file.display().to_string()).unwrap_or_default();
    let user_shown = user_file.display().to_string();
    // Flag > environment > the folder's file > the user's file > default.
    let pick = |name,
                flag: Option<String>,
                flag_name: &str,
                variable: &str,
                key: fn(&Config) -> Option<String>,
                default: &str| {
        let candidates = [
            (flag, flag_name.to_owned()),
            (var(variable), variable.to_owned()),
            (key(&local), local_shown.clone()),
            (key(&user), user_shown.clone()),
        ];
        let found = candidates.into_iter().find_map(|(value, from)| Some((value?, from)));
        let (value, from) = found.unwrap_or_else(|| (default.to_owned(), "default".to_owned()));
        Setting { name, value, from }
    };
    let mut all = Vec::new();
    match env.connection() {
        Ok(connection) => {
            let token = match &connection.token {
                Some(_) => "set (not shown)",
                None => "none",
            };
            let from_flag = global.address.is_some()
                || var("RUNYARD_ADDRESS").is_some()
                || global.context.is_some()
                || var("RUNYARD_CONTEXT").is_some();
            let origin = connection.origin.clone();
            let token_from = match (&global.token_file, var("RUNYARD_TOKEN")) {
                _ if connection.token.is_none() => String::new(),
                (Some(_), _) => "--token-file".to_owned(),
                (None, Some(_)) if !config.credentials_of_folder || from_flag => {
                    "RUNYARD_TOKEN".to_owned()
                }
                _ => origin.clone(),
            };
            let addresses = connection.addresses.join(",");
            all.push(Setting { name: "address", value: addresses, from: origin });
            all.push(Setting { name: "token", value: token.to_owned(), from: token_from });
        }
        Err(error) => {
            let value = format!("none: {}", error.message());
            all.push(Setting { name: "address", value, from: String::new() });
        }
    }
    let text = |value: Option<&String>| value.cloned();
    let credentials =
        |config: &Config| config.credentials.as_ref().map(|file| file.display().to_string());
    all.extend([
        pick(
            "context",
            text(global.context.as_ref()),
            "--context",
            "RUNYARD_CONTEXT",
            |c| c.context.clone(),
            "",
        ),
        pick("credentials", None, "", "", credentials, ""),
        pick(
            "ca",
            global.ca.as_ref().map(|file| file.display().to_string()),
            "--ca",
            "RUNYARD_CA",
            |_| None,
            "",
        ),
        pick(
            "project",
            text(global.project.as_ref()),
            "--project",
            "RUNYARD_PROJECT",
            |c| c.project.clone(),
            "default",
        ),
        pick(
            "color",
            global.color.map(|c| format!("{c:?}").to_lowercase()),
            "--color",
            "RUNYARD_COLOR",
            |c| c.color.clone(),
            "auto",
        ),
        pick(
            "progress",
            global.progress.map(|p| format!("{p:?}").to_lowercase()),
            "--progress",
            "RUNYARD_PROGRESS",
            |c| c.progress.clone(),
            "auto",
        ),
    ]);
    all.push(Setting {
        name: "cache",
        value: env.paths.cache.display().to_string(),
        from: if var("XDG_CACHE_HOME").is_some() { "XDG_CACHE_HOME" } else { "default" }.to_owned(),
    });
    all.retain(|setting| !setting.value.is_empty());
    Ok(all)
}

struct Settings(Vec<Setting>);

impl Output for Settings {
    fn json(&self) -> Result<Value> {
        let items: Vec<Value> = self
            .0
            .iter()
            .map(|setting| {
                json!({ "name": setting.name, "value": setting.value, "from": setting.from })
            })
            .collect();
        Ok(json!({ "index": 0, "items": items }))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|setting| setting.name.to_owned()).collect()
    }

    fn table(&self, _look: &Look) -> Table {
        let columns = [Column::new("SETTING"), Column::new("VALUE"), Column::new("FROM")];
        let mut table = Table::new(columns, "");
        for setting in &self.0 {
            table.row([
                Cell::new(setting.name),
                Cell::new(&setting.value),
                Cell::new(&setting.from),
            ]);
        }
        table
    }
}
