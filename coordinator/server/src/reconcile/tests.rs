//! What the reconcilers make of a state.

use runyard_state::entity::{ResolvedInput, ResolvedSource};

use super::demands;
use super::testing::{Env, task};

#[test]
fn a_task_that_reads_a_mount_goes_only_where_that_is_given() {
    let mut env = Env::new();
    env.node("n1", &["/data"]);
    env.node("n2", &["/database", "/other"]);
    env.node("n3", &[]);
    env.submit(
        "version: 1\nname: read\nstages:\n  a: { run: 'true', inputs: { rows: 'mount:/data/rows' } }\n  b: { run: 'true' }\n",
    );
    let source = ResolvedSource::Mount { path: "/data/rows".into(), digest: false };
    let input = ResolvedInput {
        name: "rows".into(),
        from: "mount:/data/rows".into(),
        source,
        at: None,
        folder: None,
    };
    env.queue("read-1/a", vec![input]);
    env.queue("read-1/b", Vec::new());
    let list = demands(&env.state, env.state.clock.elapsed, usize::MAX).list;
    let avoids = |key: &str| {
        let demand = list.iter().find(|demand| demand.key == task(key)).expect("it is queued");
        demand.avoid.iter().map(|(node, _)| node.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(avoids("read-1/a"), ["n2", "n3"], "/database is not in /data");
    assert!(avoids("read-1/b").is_empty());
}
