//! Which stages of a pipeline a run takes: `--stage`, `--from`, `--only`.

use std::collections::{BTreeMap, BTreeSet};

use runyard_types::StageName;

use crate::diagnostic::{nearest, shown};
use crate::model::Pipeline;

/// What was asked for. Nothing asked for means all stages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These with all that they need.
    pub stages: Vec<String>,
    /// These with all that needs them.
    pub from: Vec<String>,
    /// Exactly these.
    pub only: Vec<String>,
}

/// Why a selection was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A stage that the pipeline does not have.
    #[error("there is no stage `{name}`{}", suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default())]
    Unknown { name: String, suggestion: Option<String> },
    /// `--only` beside the others.
    #[error("`--only` names all stages of the run; it does not go with `--stage` or `--from`")]
    OnlyWithOthers,
    /// No way leads from one stage to the other.
    #[error("`{to}` needs nothing that needs `{from}`")]
    NotConnected { from: StageName, to: StageName },
}

impl Pipeline {
    /// The stages of a run. `--stage` and `--from` together take what both allow: from the one to the
    /// other.
    ///
    /// # Errors
    /// The first name that is unknown, or [`SelectError::OnlyWithOthers`].
    pub fn select(&self, selection: &Selection) -> Result<BTreeSet<StageName>, SelectError> {
        let Selection { stages, from, only } = selection;
        if !only.is_empty() {
            if !stages.is_empty() || !from.is_empty() {
                return Err(SelectError::OnlyWithOthers);
            }
            return self.named(only);
        }
        let all = || self.stages.iter().map(|stage| stage.name.clone()).collect();
        let up = if stages.is_empty() { all() } else { self.with_needs(self.named(stages)?) };
        let down = if from.is_empty() { all() } else { self.with_dependants(self.named(from)?) };
        Ok(up.intersection(&down).cloned().collect())
    }

    /// The stages on the ways from `from` to `to`, both included.
    ///
    /// # Errors
    /// An unknown name, or [`SelectError::NotConnected`].
    pub fn stages_between(&self, from: &str, to: &str) -> Result<BTreeSet<StageName>, SelectError> {
        let (from, to) = (self.lookup(from)?, self.lookup(to)?);
        let up = self.with_needs(BTreeSet::from([to.clone()]));
        if !up.contains(&from) {
            return Err(SelectError::NotConnected { from, to });
        }
        let down = self.with_dependants(BTreeSet::from([from]));
        Ok(up.intersection(&down).cloned().collect())
    }

    fn lookup(&self, name: &str) -> Result<StageName, SelectError> {
        match self.stage(name) {
            Some(stage) => Ok(stage.name.clone()),
            None => {
                let near = nearest(name, self.stages.iter().map(|stage| stage.name.as_str()));
                let suggestion = near.map(str::to_owned);
                Err(SelectError::Unknown { name: shown(name), suggestion })
            }
        }
    }

    fn named(&self, names: &[String]) -> Result<BTreeSet<StageName>, SelectError> {
        names.iter().map(|name| self.lookup(name)).collect()
    }

    /// Stages stand behind their needs, so one walk from the end meets all of them.
    fn with_needs(&self, mut taken: BTreeSet<StageName>) -> BTreeSet<StageName> {
        for stage in self.stages.iter().rev() {
            if taken.contains(&stage.name) {
                taken.extend(stage.needs.iter().cloned());
            }
        }
        taken
    }

    fn with_dependants(&self, mut taken: BTreeSet<StageName>) -> BTreeSet<StageName> {
        for stage in &self.stages {
            if stage.needs.iter().any(|need| taken.contains(need)) {
                taken.insert(stage.name.clone());
            }
        }
        taken
    }

    /// The stages that directly need each stage.
    pub fn dependants(&self) -> BTreeMap<StageName, Vec<StageName>> {
        let mut map: BTreeMap<StageName, Vec<StageName>> =
            self.stages.iter().map(|stage| (stage.name.clone(), Vec::new())).collect();
        for stage in &self.stages {
            for need in &stage.needs {
                map.entry(need.clone()).or_default().push(stage.name.clone());
            }
        }
        map
    }
}
