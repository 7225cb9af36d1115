//! Gates: verdicts, approvals, and what they move.

use runyard_pipeline::Inconclusive;
use runyard_state::entity::GateVerdict;
use runyard_state::{ApproveGate, Command, DecideGate, FailTask, Promotion};
use runyard_types::{Cause, Digest, Outcome};

use super::env::{TestEnv, model_root, task};
use super::pipelines::DIGITS;

/// A run whose gate is to be decided.
pub(crate) fn before_gate(env: &mut TestEnv) -> String {
    let run = env.submit(DIGITS).to_string();
    for stage in ["train", "eval"] {
        env.resolve();
        let key = format!("{run}/{stage}");
        env.work(&key, &["n1"], Outcome::Succeeded);
    }
    env.resolve();
    assert_eq!(env.state_of(&format!("{run}/gate")), "running");
    run
}

pub(crate) fn promotion(run: &str) -> Promotion {
    Promotion {
        model: "digits".parse().expect("a name"),
        alias: "champion".parse().expect("a name"),
        from: task(&format!("{run}/train")),
        root: model_root(&format!("{run}/train")),
    }
}

/// A verdict against the champion of now.
pub(crate) fn decide(env: &TestEnv, run: &str, verdict: GateVerdict) -> DecideGate {
    DecideGate {
        task: task(&format!("{run}/gate")),
        verdict,
        record: Digest::of(b"record"),
        summary: "0.91 against 0.90".into(),
        inconclusive: Inconclusive::Ask,
        promote: Some(promotion(run)),
        champion: env.state.champion_of(&task(&format!("{run}/gate"))),
    }
}

fn approve(run: &str, approve: bool, reason: &str) -> Command {
    Command::ApproveGate(ApproveGate {
        task: task(&format!("{run}/gate")),
        approve,
        principal: "eve".into(),
        reason: reason.into(),
        promote: Some(promotion(run)),
    })
}

fn decided(verdict: GateVerdict, inconclusive: Inconclusive) -> TestEnv {
    let mut env = TestEnv::with_nodes(1, 1);
    let run = before_gate(&mut env);
    let decision = DecideGate { inconclusive, ..decide(&env, &run, verdict) };
    env.ok(Command::DecideGate(Box::new(decision)));
    env
}

#[test]
fn a_verdict_leads_to_its_decision() {
    use GateVerdict::{CannotTest, Fail, Inconclusive as Unclear, Pass};
    use Inconclusive::{Allow, Ask, Block};
    for (verdict, policy, state, champion) in [
        (Pass, Block, "succeeded", Some(1)),
        (Pass, Ask, "succeeded", Some(1)),
        (Fail, Allow, "failed", None),
        (CannotTest, Allow, "failed", None),
        (Unclear, Block, "failed", None),
        (Unclear, Allow, "succeeded", Some(1)),
        (Unclear, Ask, "running", None),
    ] {
        let env = decided(verdict, policy);
        assert_eq!(env.state_of("digits-1/gate"), state, "{verdict:?} {policy:?}");
        assert_eq!(env.champion(), champion, "{verdict:?} {policy:?}");
    }
}

#[test]
fn a_promotion_registers_the_version_with_its_lineage() {
    let env = decided(GateVerdict::Pass, Inconclusive::Block);
    let model = env.state.models.first().expect("a model").1;
    let version = model.version(1).expect("a version");
    assert_eq!(version.root, model_root("digits-1/train"));
    assert_eq!(version.task, task("digits-1/train"));
    assert_eq!(version.gate, Some(task("digits-1/gate")));
    assert!(model.aliases["champion"].protected);
}

#[test]
fn a_gate_is_decided_once() {
    let mut env = decided(GateVerdict::Inconclusive, Inconclusive::Ask);
    let again = decide(&env, "digits-1", GateVerdict::Pass);
    let again = env.refused(Command::DecideGate(Box::new(again)));
    assert_eq!(again, "digits-1/gate is no gate that waits for its verdict");
    env.ok(approve("digits-1", true, "looked at the errors"));
    assert_eq!((env.state_of("digits-1/gate"), env.champion()), ("succeeded", Some(1)));
    let version = env.state.models.first().expect("a model").1.version(1).expect("one").clone();
    assert_eq!(version.approver.as_deref(), Some("eve"));
    let again = env.refused(approve("digits-1", false, "on second thoughts"));
    assert_eq!(again, "gate digits-1/gate does not wait for an approver");
}

#[test]
fn an_approver_may_refuse_and_must_say_why() {
    let mut env = decided(GateVerdict::Inconclusive, Inconclusive::Ask);
    let refused = env.refused(approve("digits-1", true, "  "));
    assert_eq!(refused, "an approval needs a reason, which is recorded");
    env.ok(approve("digits-1", false, "too close"));
    assert_eq!((env.state_of("digits-1/gate"), env.champion()), ("failed", None));
}

#[test]
fn a_cancelled_gate_can_no_longer_be_approved() {
    let mut env = decided(GateVerdict::Inconclusive, Inconclusive::Ask);
    env.cancel("digits-1");
    assert_eq!(env.run_state("digits-1"), "cancelled");
    let refused = env.refused(approve("digits-1", true, "too late"));
    assert_eq!(refused, "gate digits-1/gate is cancelled already");
    assert_eq!(env.champion(), None);
}

#[test]
fn a16_only_what_the_gate_judged_is_promoted() {
    let mut env = TestEnv::with_nodes(1, 1);
    let run = before_gate(&mut env);
    env.submit(DIGITS);
    env.resolve();
    env.work("digits-2/train", &["n1"], Outcome::Succeeded);
    let forged = [
        Promotion { root: Digest::of(b"another"), ..promotion(&run) },
        Promotion {
            from: task("digits-2/train"),
            root: model_root("digits-2/train"),
            ..promotion(&run)
        },
        Promotion { from: task("digits-1/eval"), ..promotion(&run) },
        Promotion { alias: "live".parse().expect("a name"), ..promotion(&run) },
        Promotion { model: "churn".parse().expect("a name"), ..promotion(&run) },
    ];
    for promote in forged {
        let decision =
            DecideGate { promote: Some(promote), ..decide(&env, &run, GateVerdict::Pass) };
        env.refused(Command::DecideGate(Box::new(decision)));
    }
    for other in ["digits-1/train", "digits-2/train", "digits-2/gate", "digits-1/serve"] {
        let decision = DecideGate { task: task(other), ..decide(&env, &run, GateVerdict::Pass) };
        let refused = env.refused(Command::DecideGate(Box::new(decision)));
        assert_eq!(refused, format!("{other} is no gate that waits for its verdict"));
    }
    assert!(env.state.models.is_empty());
    let decision = decide(&env, &run, GateVerdict::Pass);
    env.ok(Command::DecideGate(Box::new(decision)));
}

#[test]
fn a_gate_that_cant_be_carried_out_fails() {
    let mut env = TestEnv::with_nodes(1, 1);
    let run = before_gate(&mut env);
    let fail = |key: &str| {
        Command::FailTask(FailTask {
            task: task(key),
            cause: Cause::Error,
            reason: "no rows".into(),
        })
    };
    let refused = env.refused(fail(&format!("{run}/train")));
    assert!(refused.contains("is not carried out by the leader now"), "{refused}");
    env.ok(fail(&format!("{run}/gate")));
    assert_eq!(env.state_of("digits-1/gate"), "error");
}

/// A second run, as far as its gate.
fn second_gate(env: &mut TestEnv) -> String {
    let run = before_gate(env);
    assert_eq!(run, "digits-2");
    run
}

#[test]
fn a16_of_two_candidates_judged_against_one_champion_only_the_first_replaces_it() {
    let mut env = TestEnv::with_nodes(1, 1);
    let first = before_gate(&mut env);
    let second = second_gate(&mut env);
    // Both were judged while there was no champion.
    let verdicts = [&first, &second].map(|run| decide(&env, run, GateVerdict::Pass));
    let [one, other] = verdicts.map(|verdict| Command::DecideGate(Box::new(verdict)));
    env.ok(one);
    assert_eq!(env.champion(), Some(1));
    let refused = env.refused(other);
    assert!(refused.contains("judged against the champion none"), "{refused}");
    assert_eq!((env.state_of("digits-2/gate"), env.champion()), ("running", Some(1)));
    // Judged again, against the one that came between.
    let again = decide(&env, &second, GateVerdict::Pass);
    assert_eq!(again.champion, Some(model_root("digits-1/train")));
    env.ok(Command::DecideGate(Box::new(again)));
    assert_eq!((env.state_of("digits-2/gate"), env.champion()), ("succeeded", Some(2)));
}

#[test]
fn a16_a_verdict_that_waits_for_approval_falls_with_its_champion() {
    let mut env = decided(GateVerdict::Inconclusive, Inconclusive::Ask);
    let second = second_gate(&mut env);
    let verdict = decide(&env, &second, GateVerdict::Pass);
    env.ok(Command::DecideGate(Box::new(verdict)));
    assert_eq!(env.champion(), Some(1), "that of digits-2");
    assert!(env.state.is_undecided(env.task("digits-1/gate")), "its verdict is due again");
    let refused = env.refused(approve("digits-1", true, "looked at the errors"));
    assert!(refused.contains("it is judged again"), "{refused}");
    assert_eq!(env.champion(), Some(1));
    // To refuse needs no champion; to judge again does what the new verdict says.
    let mut refusing = env;
    let again = decide(&refusing, "digits-1", GateVerdict::Fail);
    refusing.ok(Command::DecideGate(Box::new(again)));
    assert_eq!((refusing.state_of("digits-1/gate"), refusing.champion()), ("failed", Some(1)));
}
