//! With what the tasks of a stage ran before, to say what has changed since.
//!
//! The tasks of a matrix differ in little, and each object of the store is a file: so some dozens of them share one,
//! with what is common to them kept once.

use std::collections::BTreeMap;

use runyard_types::{Digest, Parent, ProjectName, TaskKey, decode, encode};
use serde::{Deserialize, Serialize};

use crate::contentkey::Components;
use crate::core::Core;

/// Tasks that share an object.
const TASKS: u32 = 64;

/// What is known of earlier runs, loaded as it is asked for, and kept by [`Latest::store`].
#[derive(Debug, Default)]
pub(crate) struct Latest {
    known: BTreeMap<(ProjectName, Digest), (Kept, bool)>,
}

/// What is kept of some tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    common: Components,
    /// How each differs from that; `None`: it lacks the component.
    tasks: BTreeMap<u32, BTreeMap<String, Option<String>>>,
}

impl Latest {
    /// The components with which the task ran before.
    pub(crate) fn get(&mut self, core: &Core, task: &TaskKey) -> Option<Components> {
        self.load(core, task).0.get(place(task).1)
    }

    /// Notes the components with which the task is about to run.
    pub(crate) fn set(&mut self, core: &Core, task: &TaskKey, components: &Components) {
        let (kept, changed) = self.load(core, task);
        if !*changed {
            kept.rebase(components);
        }
        *changed = true;
        kept.set(place(task).1, components);
    }

    /// Puts what was noted into the store. What can't be kept costs a reason, nothing more.
    pub(crate) fn store(self, core: &Core) {
        for ((project, key), (kept, _)) in
            self.known.into_iter().filter(|(_, (_, changed))| *changed)
        {
            if let Err(error) = core.store.ac_put(&project, &key, &encode(&kept)) {
                tracing::debug!(%project, %error, "what tasks depend on could not be kept");
            }
        }
    }

    fn load(&mut self, core: &Core, task: &TaskKey) -> &mut (Kept, bool) {
        let key = (task.project.clone(), place(task).0);
        self.known.entry(key).or_insert_with_key(|(project, key)| {
            let bytes = core.store.ac_get(project, key);
            let kept = bytes.and_then(|bytes| decode("the latest components", &bytes).ok());
            (kept.unwrap_or_default(), false)
        })
    }
}

impl Kept {
    fn get(&self, task: u32) -> Option<Components> {
        let mut components = self.common.clone();
        for (name, value) in self.tasks.get(&task)? {
            match value {
                Some(value) => drop(components.0.insert(name.clone(), value.clone())),
                None => drop(components.0.remove(name)),
            }
        }
        Some(components)
    }

    fn set(&mut self, task: u32, components: &Components) {
        let names = self.common.0.keys().chain(components.0.keys());
        let differs = names
            .filter(|name| self.common.0.get(*name) != components.0.get(*name))
            .map(|name| (name.clone(), components.0.get(name).cloned()));
        self.tasks.insert(task, differs.collect());
    }

    /// From now on these are what is common: as a rule they differ least from those that follow.
    fn rebase(&mut self, common: &Components) {
        let before = self.clone();
        self.common = common.clone();
        for task in before.tasks.keys() {
            if let Some(components) = before.get(*task) {
                self.set(*task, &components);
            }
        }
    }
}

/// Under which key a task's are kept, whatever its run, and its place there.
fn place(task: &TaskKey) -> (Digest, u32) {
    let index = task.index.unwrap_or(0);
    let name = match &task.parent {
        Parent::Stage { run, stage } => {
            format!("latest components {} {stage} {}", run.pipeline, index / TASKS)
        }
        Parent::Revision { .. } => format!("latest components {task}"),
    };
    (Digest::of(name.as_bytes()), index % TASKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(pairs: &[(&str, &str)]) -> Components {
        Components(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn what_tasks_share_is_kept_once_and_each_is_found_again() {
        let code = "x".repeat(10_000);
        let of = |seed: &str| components(&[("code", &code), ("seed", seed)]);
        let mut kept = Kept::default();
        kept.rebase(&of("0"));
        for seed in 0..TASKS {
            kept.set(seed, &of(&seed.to_string()));
        }
        kept.set(7, &components(&[("seed", "7"), ("file", "new")]));
        assert!(encode(&kept).len() < 20_000, "{}", encode(&kept).len());
        let read: Kept = decode("it", &encode(&kept)).expect("readable");
        assert_eq!(read.get(3), Some(of("3")));
        assert_eq!(read.get(7), Some(components(&[("seed", "7"), ("file", "new")])));
        assert_eq!(read.get(TASKS), None);
        // The code changed, and one of them runs anew: the others are as they were.
        let mut next = read;
        next.rebase(&components(&[("code", "y"), ("seed", "5")]));
        next.set(5, &components(&[("code", "y"), ("seed", "5")]));
        assert_eq!(next.get(3), Some(of("3")));
        assert_eq!(next.get(5), Some(components(&[("code", "y"), ("seed", "5")])));
    }

    #[test]
    fn runs_of_a_pipeline_share_a_place_and_tasks_do_not() {
        let project = ProjectName::default_project();
        let of = |text: &str| place(&TaskKey::parse(&project, text).expect("a key"));
        assert_eq!(of("d-1/train[3]"), of("d-2/train[3]"));
        assert_eq!(of("d-1/train[3]").0, of("d-1/train[4]").0);
        assert_ne!(of("d-1/train[3]"), of("d-1/train[4]"));
        assert_ne!(of("d-1/train[3]").0, of("d-1/train[67]").0);
        assert_ne!(of("d-1/train").0, of("d-1/eval").0);
    }
}
