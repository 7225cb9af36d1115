//! Workers' folders that are used again: nothing of one worker is there for the next, and a crash
//! at any moment leaves nothing.

mod common;

use std::path::Path;
use std::time::Duration;

use common::Group;
use runyard_proto::agent::Channel;

/// What a stage can see of its folders. The first line names the working directory's inode.
const LOOK: &str = "stat -c %i .; \
    find . /tmp /dev/shm $RUNYARD_RESULTS $RUNYARD_CHECKPOINT_DIR -mindepth 1; \
    ls -A $(dirname $RUNYARD_METRICS); cat $RUNYARD_METRICS $RUNYARD_OUTPUT $RUNYARD_SUMMARY; \
    stat -c '%a %u %g %h %s' . /tmp $RUNYARD_RESULTS $RUNYARD_CHECKPOINT_DIR $RUNYARD_METRICS; \
    ls -d /proc/[0-9]* | wc -l; pwd | wc -l; cat /proc/sys/kernel/pid_max";

/// What a stage can leave.
const LEAVE: [&str; 5] = [
    "echo secret >x; mkdir -p deep/er",
    "echo secret >/tmp/x; rm /tmp/x; echo secret >/dev/shm/x",
    "chmod 777 .; chmod 755 .",
    "ln -s /etc $RUNYARD_RESULTS/x; (setsid sleep 1000 &)",
    "rm $RUNYARD_SUMMARY; cp $RUNYARD_OUTPUT $RUNYARD_SUMMARY",
];

fn visible(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root).expect("there").map(|one| one.expect("one").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Runs a worker to its end, and until it is forgotten; answers what it said.
async fn run(group: &Group, name: &str, command: &str) -> String {
    let mut worker = group.worker(name, command);
    worker.go = true;
    worker.spec.as_mut().expect("it has one").collect_outputs = false;
    group.heard.want(|set| set.workers = vec![worker.clone()]).await;
    let done = group.released(&worker.key).await;
    assert!(done.result.as_ref().expect("a result").succeeded, "{done:?}");
    let said = group.sealed(&worker.key, Channel::Log).await;
    group.heard.want(|set| set.workers.clear()).await;
    all_gone(group).await;
    String::from_utf8(said).expect("text")
}

async fn all_gone(group: &Group) {
    let left = || {
        let dir = group.state_dir("a");
        visible(&dir.join("spaces")).len() + visible(&dir.join("workers")).len()
    };
    group.wait("the folders to go", |_| (left() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_worker_is_there_for_the_next_in_its_folder() {
    let group = Group::start().await;
    let _agent = group.agent("a");
    let (mut inodes, mut views) = (Vec::new(), Vec::new());
    for (round, leave) in LEAVE.iter().cycle().take(10).enumerate() {
        run(&group, &format!("leave[{round}]"), &format!("{leave}; echo left")).await;
        let view = run(&group, &format!("look[{round}]"), LOOK).await;
        let (inode, rest) = view.split_once('\n').expect("lines");
        inodes.push(inode.to_owned());
        views.push(rest.to_owned());
    }
    for view in &views {
        assert_eq!(view, &views[0]);
        assert!(!view.contains("secret"), "{view}");
    }
    inodes.sort();
    inodes.dedup();
    assert!(inodes.len() < views.len(), "no folder was used again: nothing was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_an_agent_killed_while_folders_change_hands_leaves_none() {
    let group = Group::start().await;
    for round in 0..8u64 {
        let agent = group.agent("a");
        let names = (0..6).map(|n| format!("t{round}[{n}]"));
        let workers = names.map(|name| group.worker(&name, "/bin/true"));
        let mut workers: Vec<_> = workers.collect();
        workers.iter_mut().for_each(|one| one.go = true);
        group.heard.want(|set| set.workers = workers.clone()).await;
        group.released(&workers[0].key).await;
        // While some are started, some end and some are taken back.
        group.heard.want(|set| drop(set.workers.drain(..3))).await;
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        agent.kill();
        group.heard.want(|set| set.workers.clear()).await;
    }
    let _agent = group.agent("a");
    all_gone(&group).await;
    assert_eq!(run(&group, "after", "echo fine").await, "fine\n");
}
