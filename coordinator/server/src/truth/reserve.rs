//! What may still be written when the log's disk is full (F8): the reserve is for ends, not for beginnings.

use runyard_state::{Command, RevisionStep};

/// Whether a command ends work, gives back what it holds, or tells what happened, so that it may go into the
/// log's reserve.
pub(super) fn may_use(command: &Command) -> bool {
    match command {
        Command::CancelRun(_)
        | Command::ReportWorkers(_)
        | Command::FinishAttempt(_)
        | Command::LoseAttempt(_)
        | Command::StopAttempt(_)
        | Command::FailTask(_)
        | Command::Seal(_)
        | Command::ReportRevision(_)
        | Command::Rollback(_)
        | Command::RemoveDeployment(_)
        | Command::NodeHello(_)
        | Command::SetLiveness(_)
        | Command::SetEligibility(_)
        | Command::SetOrphans(_)
        | Command::StopOrphan(_)
        | Command::RemoveNode(_)
        | Command::RevokeToken(_) => true,
        Command::AdvanceRevision(step) => step.to == RevisionStep::Retire,
        Command::SubmitRun(_)
        | Command::RetryRun(_)
        | Command::ResolveTasks(_)
        | Command::AddReferenceTask(_)
        | Command::Place(_)
        | Command::DecideGate(_)
        | Command::ApproveGate(_)
        | Command::SetAlias(_)
        | Command::Deploy(_)
        | Command::JoinNode(_)
        | Command::CreateToken(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use runyard_consensus::{Config, DiskState, Founding, GroupId, PeerId, sim::SimDisk};
    use runyard_state::entity::TokenKind;
    use runyard_state::{CreateToken, RevokeToken};
    use runyard_types::Digest;

    use crate::truth::{Denied, Machine, Published, Truth};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn create(number: u32) -> Command {
        Command::CreateToken(CreateToken {
            id: format!("token-{number}"),
            kind: TokenKind::User,
            name: "ada".into(),
            hash: Digest::of(&number.to_be_bytes()),
            ttl: None,
            principal: "test".into(),
        })
    }

    fn revoke(number: u32) -> Command {
        let (id, principal) = (format!("token-{number}"), "test".into());
        Command::RevokeToken(RevokeToken { id, principal })
    }

    async fn until(truth: &Truth, disk: DiskState) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while truth.status().disk != disk {
            assert!(tokio::time::Instant::now() < end, "never {disk:?}: {:?}", truth.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn f8_on_a_full_disk_only_ends_go_into_the_reserve_and_it_heals() {
        let (dir, disk) = (PathBuf::from("/data/raft"), SimDisk::new());
        let (group, peer) = (GroupId(7), PeerId(1));
        let segment_bytes = 64 << 10;
        let founding = Founding { group, peer, generation: 1, voters: vec![peer], segment_bytes };
        runyard_consensus::init(&dir, &disk, &founding).expect("founded");
        let published = Published::new();
        let config =
            Config { segment_bytes, max_entry_bytes: 16 << 10, ..Config::new(dir, group, peer) };
        let machine = Machine::new(Arc::clone(&published));
        let handle = runyard_consensus::start(config, Arc::new(disk.clone()), machine);
        let handle = handle.expect("started");
        assert!(handle.wait_ready(PATIENCE));
        let truth = Truth::new(handle, published);
        until(&truth, DiskState::Ready).await;

        // The last segment is begun, and the one behind it cannot be made.
        disk.set_capacity(Some(disk.used()));
        let mut made = 0;
        let denied = loop {
            match truth.propose(create(made)).await {
                Ok(_) => made += 1,
                Err(denied) => break denied,
            }
            if disk.bytes("/data/raft/0000000000000002.log".as_ref()).is_ok() {
                until(&truth, DiskState::Reserve).await;
            }
        };
        assert!(matches!(denied, Denied::NoRoom { reserve: true, .. }), "{denied:?}");
        let status = crate::errors::status(denied);
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        for part in ["/data/raft", "only what ends work", "free some there"] {
            assert!(status.message().contains(part), "`{part}` is missing in {}", status.message());
        }
        // What ends something is taken, until the reserve is used up.
        assert_eq!(truth.status().disk, DiskState::Reserve);
        let mut ended = 0;
        let denied = loop {
            match truth.propose(revoke(ended)).await {
                Ok(_) => ended += 1,
                Err(Denied::Refused(_)) if ended < 10_000 => ended += 1,
                Err(denied) => break denied,
            }
        };
        assert!(ended > 10, "{ended} ends went into the reserve");
        assert!(matches!(denied, Denied::NoRoom { reserve: false, .. }), "{denied:?}");
        let status = crate::errors::status(denied);
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("only read"), "{}", status.message());
        // Reads go on; with room all goes on.
        truth.read().await.expect("a read");
        disk.set_capacity(None);
        until(&truth, DiskState::Ready).await;
        truth.propose(create(made)).await.expect("there is room again");
    }
}
