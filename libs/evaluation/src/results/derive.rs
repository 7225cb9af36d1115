//! Metrics per example from predictions.

use std::collections::BTreeMap;

use super::cell::{Cell, Kind};
use super::columns::Roles;

/// The least probability that a log loss takes, as scikit-learn clips it: one double's precision.
const PROBABILITY_MIN: f64 = f64::EPSILON;

/// Values per row by metric.
pub(crate) fn derive(
    roles: &Roles,
    columns: &BTreeMap<String, Vec<Cell>>,
) -> BTreeMap<&'static str, Vec<f64>> {
    let mut derived = BTreeMap::new();
    let Some(truth) = roles.truth.as_ref().map(|name| &columns[name]) else {
        return derived;
    };
    if let Some(prediction) = roles.prediction.as_ref().map(|name| &columns[name]) {
        from_predictions(truth, prediction, &mut derived);
    }
    if let Some(score) = roles.score.as_ref().map(|name| &columns[name]) {
        from_scores(truth, score, &mut derived);
    }
    if roles.probabilities.len() >= 2 {
        let classes: Vec<(String, &Vec<Cell>)> = roles
            .probabilities
            .iter()
            .map(|(class, name)| {
                let class = Cell::new(Kind::Text, class).label().unwrap_or_else(|| class.clone());
                (class, &columns[name])
            })
            .collect();
        from_probabilities(truth, &classes, &mut derived);
    }
    derived
}

/// `correct` for labels; errors for numbers. Whole numbers may be either, and get both.
fn from_predictions(
    truth: &[Cell],
    prediction: &[Cell],
    derived: &mut BTreeMap<&'static str, Vec<f64>>,
) {
    let numbers = |cells: &[Cell]| cells.iter().map(Cell::number).collect::<Option<Vec<f64>>>();
    let pair = numbers(truth).zip(numbers(prediction));
    let whole = |values: &[f64]| values.iter().all(|v| !v.is_finite() || v.fract() == 0.0);
    if pair.as_ref().is_none_or(|(t, p)| whole(t) && whole(p)) {
        let correct = truth.iter().zip(prediction).map(|(t, p)| match (t.label(), p.label()) {
            (Some(t), Some(p)) => f64::from(u8::from(t == p)),
            _ => f64::NAN,
        });
        derived.insert("correct", correct.collect());
    }
    if let Some((truth, prediction)) = pair {
        let errors: Vec<f64> = truth.iter().zip(&prediction).map(|(t, p)| p - t).collect();
        derived.insert("absolute_error", errors.iter().map(|e| e.abs()).collect());
        derived.insert("squared_error", errors.iter().map(|e| e * e).collect());
    }
}

/// `y_score` is the probability of class 1; where the truth is not 0 or 1 it says nothing.
fn from_scores(truth: &[Cell], score: &[Cell], derived: &mut BTreeMap<&'static str, Vec<f64>>) {
    let binary = truth.iter().all(|cell| {
        cell.number().is_some_and(|number| number.is_nan() || number == 0.0 || number == 1.0)
    });
    let scores: Option<Vec<f64>> = score.iter().map(Cell::number).collect();
    let (true, Some(scores)) = (binary, scores) else {
        return;
    };
    if scores.iter().any(|p| *p < 0.0 || *p > 1.0) {
        return;
    }
    let rows = || truth.iter().filter_map(Cell::number).zip(scores.iter().copied());
    let keep_nan =
        |y: f64, p: f64, value: f64| if y.is_nan() || p.is_nan() { f64::NAN } else { value };
    derived.entry("correct").or_insert_with(|| {
        rows().map(|(y, p)| keep_nan(y, p, f64::from(u8::from((p >= 0.5) == (y == 1.0))))).collect()
    });
    derived.insert("brier", rows().map(|(y, p)| keep_nan(y, p, (p - y) * (p - y))).collect());
    let loss = |y: f64, p: f64| ln_loss(if y == 1.0 { p } else { 1.0 - p });
    derived.insert("log_loss", rows().map(|(y, p)| keep_nan(y, p, loss(y, p))).collect());
}

fn from_probabilities(
    truth: &[Cell],
    classes: &[(String, &Vec<Cell>)],
    derived: &mut BTreeMap<&'static str, Vec<f64>>,
) {
    let (mut correct, mut brier, mut loss) = (Vec::new(), Vec::new(), Vec::new());
    for (row, truth) in truth.iter().enumerate() {
        let p: Vec<f64> =
            classes.iter().map(|(_, cells)| cells[row].number().unwrap_or(f64::NAN)).collect();
        let class = truth.label().and_then(|y| classes.iter().position(|(class, _)| *class == y));
        let valid = p.iter().all(|p| (0.0..=1.0).contains(p));
        // A truth outside the named classes has no probability: its row cannot be scored.
        let Some(class) = class.filter(|_| valid) else {
            for column in [&mut correct, &mut brier, &mut loss] {
                column.push(f64::NAN);
            }
            continue;
        };
        // The first of equal maxima, as argmax has it.
        let mut best = 0;
        for (index, value) in p.iter().enumerate() {
            if *value > p[best] {
                best = index;
            }
        }
        correct.push(f64::from(u8::from(best == class)));
        let square = |(i, p): (usize, &f64)| {
            let hit = f64::from(u8::from(i == class));
            (p - hit) * (p - hit)
        };
        brier.push(p.iter().enumerate().map(square).sum());
        loss.push(ln_loss(p[class]));
    }
    derived.entry("correct").or_insert(correct);
    derived.insert("brier", brier);
    derived.insert("log_loss", loss);
}

fn ln_loss(probability: f64) -> f64 {
    -probability.clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN).ln()
}
