//! How many tasks a run would have, counted before anything is expanded (RELIABILITY A3).

use crate::codes::Code;
use crate::matrix::{MatrixError, RUN_TASKS_MAX, STAGE_TASKS_MAX, expand, points_before_exclude};
use crate::read::{Cx, Draft, Spot};

pub(super) fn check(cx: &mut Cx<'_>, draft: &Draft) {
    let mut total: u64 = 0;
    let mut largest = None;
    for stage in &draft.stages {
        let tasks = match &stage.stage.matrix {
            None => Some(1),
            Some(matrix) => points_before_exclude(matrix),
        };
        match tasks.filter(|tasks| *tasks <= STAGE_TASKS_MAX) {
            Some(tasks) => {
                // At most 20,000 stages of 4,096 tasks.
                total += tasks;
                if let Some(Err(MatrixError::Empty)) = stage.stage.matrix.as_ref().map(expand) {
                    let message = format!("`exclude` leaves no task of `{}`", stage.stage.name);
                    cx.error(Code::OutOfRange, &stage.spot(&Spot::Matrix), message);
                }
                if largest.is_none_or(|(most, _)| tasks > most) {
                    largest = Some((tasks, stage));
                }
            }
            None => {
                let count = tasks.map_or("more than 2^64".into(), |tasks| tasks.to_string());
                let message = format!(
                    "the matrix of `{}` has {count} tasks; a stage has at most {STAGE_TASKS_MAX}",
                    stage.stage.name
                );
                cx.error(Code::MatrixTooLarge, &stage.spot(&Spot::Matrix), message);
                cx.help("counted as the product of the axes, before `exclude`");
            }
        }
    }
    if let (true, Some((most, stage))) = (total > RUN_TASKS_MAX, largest) {
        let message = format!("the run has {total} tasks; at most {RUN_TASKS_MAX} are allowed");
        cx.error(Code::RunTooLarge, &stage.spot(&Spot::Matrix), message);
        cx.note(format!("the largest stage, with {most}"));
    }
}
