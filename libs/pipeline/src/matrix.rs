//! The tasks of a matrix.

use std::collections::BTreeMap;

use runyard_types::Name;
use serde::{Deserialize, Serialize};

use crate::model::{Matrix, Stage};

/// The most tasks of a stage.
pub const STAGE_TASKS_MAX: u64 = 4_096;
/// The most tasks of a run.
pub const RUN_TASKS_MAX: u64 = 10_000;
/// The longest label: it is the name of a folder.
const LABEL_BYTES_MAX: usize = 200;

/// A task of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The task's id, `train[3]`; counted from 0 over the points that are left.
    pub index: u32,
    /// `seed=0,suite=ood`, axes sorted by name; empty for a stage without a matrix. Unique in the
    /// stage and fit to be a folder's name.
    pub label: String,
    pub values: BTreeMap<Name, String>,
}

/// Why a matrix has no tasks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// More points than a stage may have; `None` beyond 64 bits.
    #[error("the matrix has {} tasks; a stage has at most {STAGE_TASKS_MAX}", .0.map_or("more than 2^64".into(), |n| n.to_string()))]
    TooLarge(Option<u64>),
    /// `exclude` leaves nothing.
    #[error("`exclude` leaves no task of the matrix")]
    Empty,
}

/// The product of the axes, or `None` beyond 64 bits.
pub(crate) fn points_before_exclude(matrix: &Matrix) -> Option<u64> {
    matrix
        .axes
        .values()
        .try_fold(1_u64, |product, values| product.checked_mul(u64::try_from(values.len()).ok()?))
}

/// The tasks of a stage: one, or one for each point of its matrix that `exclude` leaves. The last
/// axis by name changes fastest, values keep the order of the file.
///
/// # Errors
/// [`MatrixError`]; never for a stage of a parsed [`Pipeline`](crate::Pipeline).
pub fn expand_matrix(stage: &Stage) -> Result<Vec<Point>, MatrixError> {
    match &stage.matrix {
        None => Ok(vec![Point { index: 0, label: String::new(), values: BTreeMap::new() }]),
        Some(matrix) => expand(matrix),
    }
}

/// As [`expand_matrix`], for a matrix alone.
pub(crate) fn expand(matrix: &Matrix) -> Result<Vec<Point>, MatrixError> {
    let count = points_before_exclude(matrix);
    let Some(count) = count.filter(|count| *count <= STAGE_TASKS_MAX) else {
        return Err(MatrixError::TooLarge(count));
    };
    let mut points = Vec::new();
    let mut labels = std::collections::BTreeSet::new();
    for number in 0..count {
        let values = point(matrix, number);
        let is_excluded = |excluded: &BTreeMap<Name, String>| {
            excluded.iter().all(|(axis, value)| values.get(axis) == Some(value))
        };
        if matrix.exclude.iter().any(is_excluded) {
            continue;
        }
        let index = u32::try_from(points.len()).expect("at most 4,096 points");
        let plain = label(&values);
        // Values that differ only in what a folder's name cannot hold.
        let label = if labels.insert(plain.clone()) { plain } else { format!("{plain}~{index}") };
        points.push(Point { index, label, values });
    }
    if points.is_empty() { Err(MatrixError::Empty) } else { Ok(points) }
}

/// The values of the point `number`, which counts through the axes like digits.
fn point(matrix: &Matrix, mut number: u64) -> BTreeMap<Name, String> {
    let mut values = BTreeMap::new();
    for (axis, choices) in matrix.axes.iter().rev() {
        // An axis without values makes the product 0, and this is not reached.
        let len = choices.len() as u64;
        values.insert(axis.clone(), choices[(number % len) as usize].clone());
        number /= len;
    }
    values
}

fn label(values: &BTreeMap<Name, String>) -> String {
    let parts: Vec<_> = values.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
    let safe = |c: char| c.is_ascii_alphanumeric() || "=,._+-".contains(c);
    let label: String = parts.join(",").chars().map(|c| if safe(c) { c } else { '_' }).collect();
    label.chars().take(LABEL_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn axes(axes: &[(&str, &[&str])]) -> Matrix {
        let axes = axes.iter().map(|(axis, values)| {
            (name(axis), values.iter().map(|value| (*value).to_owned()).collect())
        });
        Matrix { axes: axes.collect(), ..Matrix::default() }
    }

    #[test]
    fn points_are_labelled_by_sorted_axes_and_counted_without_the_excluded() {
        let mut matrix = axes(&[("suite", &["clean", "ood"]), ("seed", &["0", "1"])]);
        matrix.exclude =
            vec![BTreeMap::from([(name("suite"), "ood".into()), (name("seed"), "0".into())])];
        let points = expand(&matrix).unwrap();
        let labels: Vec<_> = points.iter().map(|p| (p.index, p.label.as_str())).collect();
        assert_eq!(
            labels,
            [(0, "seed=0,suite=clean"), (1, "seed=1,suite=clean"), (2, "seed=1,suite=ood")]
        );
    }

    #[test]
    fn labels_are_folder_names_and_unique() {
        let points = expand(&axes(&[("model", &["meta/llama", "meta_llama", ".."])])).unwrap();
        let labels: Vec<_> = points.iter().map(|p| p.label.as_str()).collect();
        assert_eq!(labels, ["model=meta_llama", "model=meta_llama~1", "model=.."]);
        assert!(labels.iter().all(|label| !label.contains('/')));
    }

    #[test]
    fn a3_products_are_counted_before_they_are_made() {
        let values: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
        let axis = |i: u32| (name(&format!("a{i}")), values.clone());
        let matrix = Matrix { axes: (0..2).map(axis).collect(), ..Matrix::default() };
        assert_eq!(expand(&matrix), Err(MatrixError::TooLarge(Some(100_000_000))));
        let matrix = Matrix { axes: (0..9).map(axis).collect(), ..Matrix::default() };
        assert_eq!(expand(&matrix), Err(MatrixError::TooLarge(None)));
    }

    #[test]
    fn a_matrix_that_excludes_all_is_refused() {
        let mut matrix = axes(&[("a", &["1"])]);
        matrix.exclude = vec![BTreeMap::from([(name("a"), "1".into())])];
        assert_eq!(expand(&matrix), Err(MatrixError::Empty));
    }
}
