//! The environment variables of a stage (the contract of `PIPELINE.md` §2 and §3).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Workspace;

/// Two things that would have one variable, or a name that is ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// Names that become equal in upper case with `_`.
    #[error("the {what} `{first}` and `{second}` would both be ${variable}: rename one")]
    Collision {
        /// Parameters, inputs or axes.
        what: &'static str,
        /// One name.
        first: String,
        /// The other.
        second: String,
        /// The variable.
        variable: String,
    },
    /// The stage's own `env` sets one of ours.
    #[error("`env` sets {variable}, which Runyard sets itself: use another name")]
    Reserved {
        /// The variable.
        variable: String,
    },
}

/// A worker's place in a gang.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gang {
    /// This node's number, from 0.
    pub node_rank: u32,
    /// Nodes.
    pub nodes: u32,
    /// Address of worker 0.
    pub master_addr: String,
    /// Port that worker 0's agent picked.
    pub master_port: u16,
    /// Processes (devices) on each node.
    pub processes_per_node: u32,
    /// The network interface of the gang's network, for NCCL and gloo.
    pub interface: Option<String>,
    /// With one process a device: this process's number on its node.
    pub local_rank: Option<u32>,
}

/// What the environment of a stage is made from.
#[derive(Debug, Clone, Default)]
pub struct StageEnv<'a> {
    /// `digits-42`.
    pub run: &'a str,
    /// `train`.
    pub stage: &'a str,
    /// `digits-42/train[3]`.
    pub task: &'a str,
    /// `digits-42/train[3].2`.
    pub attempt: &'a str,
    /// Parameters: name, value as text.
    pub params: Vec<(String, String)>,
    /// Matrix axes: name, value as text.
    pub matrix: Vec<(String, String)>,
    /// Inputs: name, absolute path.
    pub inputs: Vec<(String, PathBuf)>,
    /// Devices by UUID; empty hides all.
    pub devices: Vec<String>,
    /// MLflow: tracking address and run id. A stage that sets either itself gets neither.
    pub mlflow: Option<(String, String)>,
    /// The Python environment, first in the PATH.
    pub venv: Option<&'a Path>,
    /// Its place in a gang.
    pub gang: Option<Gang>,
    /// For `exclusive` stages: what outside systems can check.
    pub fencing_token: Option<u64>,
    /// The checkpoint folder, where the pipeline names one.
    pub checkpoint: Option<PathBuf>,
    /// The stage's own `env`.
    pub own: Vec<(String, String)>,
    /// What is passed on from the host: see [`host_environment`].
    pub host: Vec<(OsString, OsString)>,
    /// The stage sees a `/tmp` of its own; else `TMPDIR` leads it to one.
    pub private_tmp: bool,
}

impl Workspace {
    /// The variables of a stage that works here, in order of their names.
    pub fn stage_env(&self, from: &StageEnv<'_>) -> Result<Vec<(OsString, OsString)>, EnvError> {
        let mut env: BTreeMap<OsString, OsString> = from.host.iter().cloned().collect();
        let mut set = |k: &str, v: OsString| env.insert(k.into(), v);
        set("CI", "true".into());
        set("RUNYARD_RUN", from.run.into());
        set("RUNYARD_STAGE", from.stage.into());
        set("RUNYARD_TASK", from.task.into());
        set("RUNYARD_ATTEMPT", from.attempt.into());
        set("RUNYARD_RESULTS", self.results().into());
        set("RUNYARD_METRICS", self.metrics().into());
        set("RUNYARD_OUTPUT", self.output().into());
        set("RUNYARD_SUMMARY", self.summary().into());
        let checkpoint = from.checkpoint.clone().unwrap_or_else(|| self.checkpoint());
        set("RUNYARD_CHECKPOINT_DIR", checkpoint.into());
        set("CUDA_VISIBLE_DEVICES", from.devices.join(",").into());
        if !from.private_tmp {
            set("TMPDIR", self.tmp().into());
        }
        if let Some(token) = from.fencing_token {
            set("RUNYARD_FENCING_TOKEN", token.to_string().into());
        }
        for (k, v) in from.gang.iter().flat_map(Gang::variables) {
            set(k, v.into());
        }
        let own_mlflow =
            from.own.iter().any(|(k, _)| k == "MLFLOW_TRACKING_URI" || k == "MLFLOW_RUN_ID");
        if let Some((uri, run)) = from.mlflow.as_ref().filter(|_| !own_mlflow) {
            set("MLFLOW_TRACKING_URI", uri.into());
            set("MLFLOW_RUN_ID", run.into());
        }
        for (k, v) in named("parameters", "RUNYARD_PARAM_", &from.params)? {
            set(&k, v.into());
        }
        for (k, v) in named("matrix axes", "RUNYARD_MATRIX_", &from.matrix)? {
            set(&k, v.into());
        }
        for (k, v) in named("inputs", "RUNYARD_INPUT_", &from.inputs)? {
            set(&k, v.into());
        }
        for (k, v) in &from.own {
            if k.starts_with("RUNYARD_") {
                return Err(EnvError::Reserved { variable: k.clone() });
            }
            set(k, v.into());
        }
        if let Some(venv) = from.venv {
            let path = env.get(std::ffi::OsStr::new("PATH")).cloned();
            let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
            let mut with: OsString = venv.join("bin").into();
            with.push(":");
            with.push(path);
            env.insert("PATH".into(), with);
            env.insert("VIRTUAL_ENV".into(), venv.into());
        }
        env.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        Ok(env.into_iter().collect())
    }
}

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Gang {
    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut v = vec![
            ("NODE_RANK", self.node_rank.to_string()),
            ("NNODES", self.nodes.to_string()),
            ("MASTER_ADDR", self.master_addr.clone()),
            ("MASTER_PORT", self.master_port.to_string()),
            ("NPROC_PER_NODE", self.processes_per_node.to_string()),
        ];
        if let Some(i) = &self.interface {
            v.push(("NCCL_SOCKET_IFNAME", i.clone()));
            v.push(("GLOO_SOCKET_IFNAME", i.clone()));
        }
        if let Some(local) = self.local_rank {
            let rank = self.node_rank * self.processes_per_node + local;
            v.push(("LOCAL_RANK", local.to_string()));
            v.push(("RANK", rank.to_string()));
            v.push(("WORLD_SIZE", (self.nodes * self.processes_per_node).to_string()));
        }
        v
    }
}

/// A name as part of a variable: upper case, other characters `_`.
pub fn variable_name(name: &str) -> String {
    let part = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(part).collect()
}

fn named<V: Clone>(
    what: &'static str,
    prefix: &str,
    pairs: &[(String, V)],
) -> Result<Vec<(String, V)>, EnvError> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut out = Vec::new();
    for (name, value) in pairs {
        let variable = format!("{prefix}{}", variable_name(name));
        if let Some(first) = taken.insert(variable.clone(), name) {
            let (first, second) = (first.to_string(), name.clone());
            return Err(EnvError::Collision { what, first, second, variable });
        }
        out.push((variable, value.clone()));
    }
    Ok(out)
}

/// What of the agent's own environment a stage gets: where things are and how to reach them,
/// nothing that may be a credential.
pub fn host_environment() -> Vec<(OsString, OsString)> {
    const PASSED: [&str; 20] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LC_ALL",
        "TZ",
        "LD_LIBRARY_PATH",
        "CUDA_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "HF_HOME",
    ];
    let named = PASSED.iter().filter_map(|k| Some((OsString::from(*k), std::env::var_os(k)?)));
    // How packages are found is the host's to say, for a stage's own `pip` as for its environment.
    let pip = std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("PIP_"));
    named.chain(pip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(env: &[(OsString, OsString)], key: &str) -> Option<String> {
        env.iter().find(|(k, _)| k == key).map(|(_, v)| v.to_string_lossy().into_owned())
    }

    #[test]
    fn the_contract_is_there_and_a_stage_may_add_to_it() {
        let space = Workspace::open(Path::new("/w"));
        let mut from = StageEnv {
            run: "digits-42",
            params: vec![("learning-rate".into(), "0.1".into())],
            inputs: vec![("model".into(), "/w/work/m".into())],
            mlflow: Some(("http://m".into(), "r".into())),
            venv: Some(Path::new("/v")),
            host: vec![("PATH".into(), "/bin".into())],
            gang: Some(Gang {
                node_rank: 1,
                nodes: 2,
                processes_per_node: 4,
                local_rank: Some(3),
                ..Gang::default()
            }),
            own: vec![("A".into(), "b".into())],
            ..StageEnv::default()
        };
        let env = space.stage_env(&from).expect("an environment");
        let get = |k| text(&env, k);
        assert_eq!(get("RUNYARD_PARAM_LEARNING_RATE").as_deref(), Some("0.1"));
        assert_eq!(get("RUNYARD_INPUT_MODEL").as_deref(), Some("/w/work/m"));
        assert_eq!(get("PATH").as_deref(), Some("/v/bin:/bin"));
        assert_eq!(get("CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        assert_eq!((get("RANK").as_deref(), get("WORLD_SIZE").as_deref()), (Some("7"), Some("8")));
        assert_eq!((get("A").as_deref(), get("MLFLOW_RUN_ID").as_deref()), (Some("b"), Some("r")));
        from.own.push(("MLFLOW_TRACKING_URI".into(), "http://own".into()));
        let env = space.stage_env(&from).expect("an environment");
        assert_eq!(text(&env, "MLFLOW_TRACKING_URI").as_deref(), Some("http://own"));
        assert_eq!(text(&env, "MLFLOW_RUN_ID"), None);
    }

    #[test]
    fn collisions_and_reserved_names_are_refused() {
        let space = Workspace::open(Path::new("/w"));
        let params = vec![("a-b".to_string(), String::new()), ("a.b".to_string(), String::new())];
        let said =
            space.stage_env(&StageEnv { params, ..StageEnv::default() }).expect_err("collide");
        assert!(
            said.to_string().contains("`a-b` and `a.b` would both be $RUNYARD_PARAM_A_B"),
            "{said}"
        );
        let own = vec![("RUNYARD_RUN".to_string(), String::new())];
        let said = space.stage_env(&StageEnv { own, ..StageEnv::default() }).expect_err("reserved");
        assert!(said.to_string().contains("RUNYARD_RUN"), "{said}");
    }
}
