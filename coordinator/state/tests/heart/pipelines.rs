//! Pipelines that the tests submit.

/// A stage that trains on one device, and one that needs it.
pub(crate) const TWO: &str = r"
version: 1
name: two
stages:
  train: { run: 'true', resources: { gpu: 1 }, outputs: { model: { path: out, type: model } } }
  report: { run: 'true', needs: train }
";

/// One stage that is tried again whatever it fails by.
pub(crate) const STUBBORN: &str = r"
version: 1
name: stubborn
stages:
  train: { run: 'true', resources: { gpu: 1 }, retry: { max: 2, on: [error, failure], backoff: 1s } }
";

/// Two nodes with two devices each.
pub(crate) const GANG: &str = r"
version: 1
name: gang
stages:
  train: { run: 'true', nodes: 2, resources: { gpu: 2 } }
";

/// Four tasks, the first failure of which ends the rest.
pub(crate) const GRID: &str = r"
version: 1
name: grid
stages:
  sweep: { run: 'true', matrix: { axes: { seed: [0, 1, 2, 3] }, fail-fast: true } }
  pick: { run: 'true', needs: sweep }
";

/// From training to traffic.
pub(crate) const DIGITS: &str = r"
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
      inconclusive: ask
      promote: { model: train.model, to: digits@champion }
  serve:
    needs: gate
    deploy:
      name: digits
      model: digits@champion
      run: python serve.py
      ready: { path: /ready, within: 2m }
      rollout: { strategy: canary, steps: [20%, 100%], hold: 5s }
";
