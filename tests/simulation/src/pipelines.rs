//! What the simulated users submit.

/// Chains, gangs, matrices, retries, and a gate that promotes.
pub(crate) const ALL: [&str; 6] = [
    r"
version: 1
name: chain
stages:
  prepare: { run: 'true' }
  train: { run: 'true', needs: prepare, resources: { gpu: 1 } }
  report: { run: 'true', needs: train }
",
    r"
version: 1
name: stubborn
stages:
  train: { run: 'true', resources: { gpu: 2 }, retry: { max: 3, on: [error, failure], backoff: 1s } }
",
    r"
version: 1
name: gang
stages:
  train: { run: 'true', nodes: 2, resources: { gpu: 2 }, retry: { max: 2, on: [error, failure] } }
  small: { run: 'true', nodes: 3, needs: train }
",
    r"
version: 1
name: grid
stages:
  sweep: { run: 'true', resources: { gpu: 1 }, matrix: { axes: { seed: [0, 1, 2, 3, 4, 5] }, fail-fast: true } }
  pick: { run: 'true', needs: sweep }
",
    r"
version: 1
name: many
stages:
  sweep: { run: 'true', resources: { cpu: 2 }, retry: { max: 2, on: [error] }, matrix: { axes: { seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] } } }
",
    r"
version: 1
name: digits
stages:
  train: { run: 'true', resources: { gpu: 1 }, outputs: { model: { path: out, type: model } } }
  eval: { evaluates: { model: train.model }, run: 'true', results: rows.csv }
  gate:
    gate:
      results: eval
      against: { model: digits@champion, if-none: absolute }
      checks: { accuracy: { metric: correct, min: 0.85, margin: 2pt } }
      promote: { model: train.model, to: digits@champion }
",
];
