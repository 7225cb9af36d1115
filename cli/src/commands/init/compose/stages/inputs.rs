//! A script's command and the data it reads.

use super::super::command::{Line, Role, role};
use super::super::{MOUNT_BYTES, yaml};
use super::Plan;
use crate::commands::init::options::Opt;
use crate::commands::init::python::Value;
use crate::commands::init::repository::{Data, Script, is_relative};

impl Plan<'_> {
    /// A model option's value: the folder, or the file in it that the script expects.
    pub(super) fn model_path(&self, option: &Opt, folder: &str) -> String {
        let train = self.repository.train.as_ref();
        let written = train.and_then(|train| {
            train.writes.iter().find(|path| !path.ends_with(".json") && !path.ends_with(".csv"))
        });
        let file = match &option.default {
            Some(Value::Text(path)) if path.rsplit('/').next().is_some_and(|n| n.contains('.')) => {
                path.rsplit('/').next().map(str::to_owned)
            }
            // Without a default, the file that the training writes by a name of its own.
            None => written
                .filter(|path| !path.contains('/') || path.starts_with(folder))
                .and_then(|path| path.rsplit('/').next().map(str::to_owned)),
            _ => None,
        };
        match file {
            Some(file) => format!("\"$RUNYARD_INPUT_MODEL\"/{file}"),
            None => "\"$RUNYARD_INPUT_MODEL\"".to_owned(),
        }
    }

    /// `python train.py --lr "$RUNYARD_PARAM_LR" …`; parameters are declared on the way.
    pub(super) fn command(&mut self, script: &Script, writes_model: bool) -> Line {
        let mut line = Line::new(script);
        let mut switches = Vec::new();
        for option in &script.options {
            match role(option, writes_model) {
                Role::Value if option.switch => switches.push(option.flag.clone()),
                Role::Value => self.parameter(script, option, &mut line),
                Role::Data => self.data_option(script, option, &mut line),
                Role::Path if option.required => self.parameter(script, option, &mut line),
                Role::Out | Role::Model | Role::Port | Role::Host | Role::Path => {}
            }
        }
        if !switches.is_empty() {
            let list = switches.join(" ");
            self.notes
                .push(format!("{} has switches that the file leaves off: {list}", script.path));
        }
        line
    }

    fn parameter(&mut self, script: &Script, option: &Opt, line: &mut Line) {
        // A default that is no literal stays the script's own.
        if !option.required && !yaml::fits(option) {
            return;
        }
        match self.params.iter().find(|known| known.name == option.name) {
            Some(known) if (&known.default, known.kind) != (&option.default, option.kind) => return,
            Some(_) => {}
            None => {
                if option.required && option.default.is_none() {
                    self.notes
                        .push(format!("`-p {}=…` must be given: it has no default", option.name));
                }
                self.params.push(option.clone());
            }
        }
        let variable = runyard_pipeline::variable_suffix(&option.name);
        line.give(script, option, &format!("\"$RUNYARD_PARAM_{variable}\""));
    }

    /// Data lies where the script looks for it, so its own default serves where it has one.
    fn data_option(&mut self, script: &Script, option: &Opt, line: &mut Line) {
        let inside = |text: &str| {
            let text = text.trim_start_matches("./").trim_end_matches('/');
            self.repository
                .data
                .iter()
                .any(|data| text == data.path || text.starts_with(&format!("{}/", data.path)))
        };
        match (&option.default, self.repository.data.first()) {
            (Some(Value::Text(path)), _)
                if inside(path) || !option.required && path.contains(['/', '.']) => {}
            (None, Some(data)) => line.give(script, option, &self.data_path(data, option)),
            (None, None) if option.required => self.parameter(script, option, line),
            (Some(_), _) => self.parameter(script, option, line),
            (None, None) => {}
        }
    }

    /// The data's place; the one file in a folder, where a file is asked for.
    fn data_path(&self, data: &Data, option: &Opt) -> String {
        let wants_file = option.name.contains("csv") || option.name.contains("file");
        let only = fs_err::read_dir(self.root.join(&data.path)).ok().and_then(|entries| {
            let mut names =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.next().filter(|_| names.next().is_none())
        });
        match (data.folder && wants_file, only) {
            (true, Some(name)) if is_relative(&name) => {
                format!("{}/{name}", data.path)
            }
            _ => data.path.clone(),
        }
    }

    pub(super) fn inputs(&mut self, script: &Script) {
        let named: Vec<&Data> =
            self.repository.data.iter().filter(|data| script.mentions(&data.path)).collect();
        let asks = script.options.iter().any(|option| role(option, false) == Role::Data);
        let anyone = self
            .repository
            .scripts()
            .any(|s| self.repository.data.iter().any(|d| s.mentions(&d.path)));
        let inputs: Vec<Data> = match (named.is_empty(), asks || !anyone) {
            (false, _) => named.into_iter().cloned().collect(),
            (true, true) => self.repository.data.clone(),
            (true, false) => Vec::new(),
        };
        if inputs.is_empty() {
            return;
        }
        self.line("    inputs:");
        for data in inputs {
            let name = yaml::name(&data.path);
            let size = crate::output::bytes(data.bytes);
            let at = yaml::text(&data.path);
            let file = serde_json::Value::from(format!("file:{}", data.path));
            if data.bytes < MOUNT_BYTES {
                self.line(&format!("      {name}: {{ from: {file}, at: {at} }}   # {size}; only what changed is sent"));
                continue;
            }
            let mount =
                serde_json::Value::from(format!("mount:{}", self.root.join(&data.path).display()));
            self.line(&format!("      # {size} is much to send: it is mounted from the hosts, where each node must allow the path."));
            self.line(&format!("      # To send it instead: {{ from: {file}, at: {at} }}"));
            self.line(&format!("      {name}: {{ from: {mount}, at: {at} }}"));
            self.notes.push(format!("`{}` ({size}) is a mount: have it at the same path on the nodes, or send it as `file:`", data.path));
        }
    }
}
