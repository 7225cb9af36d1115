//! Aliases moved by hand.

use runyard_state::{Command, SetAlias};

use super::deployments::promoted;
use super::env::{TestEnv, project};

fn set(alias: &str, version: Option<u64>, reason: Option<&str>) -> Command {
    Command::SetAlias(SetAlias {
        project: project(),
        model: "digits".parse().expect("a name"),
        alias: alias.parse().expect("a name"),
        version,
        principal: "ann".into(),
        override_reason: reason.map(str::to_owned),
    })
}

fn two_versions() -> TestEnv {
    let mut env = TestEnv::with_nodes(1, 1);
    promoted(&mut env);
    promoted(&mut env);
    env
}

#[test]
fn a_protected_alias_moves_by_hand_only_with_a_reason() {
    let mut env = two_versions();
    assert_eq!(env.champion(), Some(2));
    for reason in [None, Some(""), Some("  ")] {
        for version in [Some(1), None] {
            let refused = env.refused(set("champion", version, reason));
            assert!(refused.contains("digits@champion is protected"), "{refused}");
        }
    }
    env.ok(set("champion", Some(1), Some("the labels were wrong")));
    assert_eq!(env.champion(), Some(1));
    let moves = &env.state.models.first().expect("one").1.aliases["champion"].moves;
    assert_eq!(moves.last().expect("a move").by, "ann, overriding: the labels were wrong");
}

#[test]
fn a_free_alias_comes_moves_and_goes() {
    let mut env = two_versions();
    env.ok(set("latest", Some(1), None));
    env.ok(set("latest", Some(2), None));
    env.ok(set("latest", None, None));
    assert_eq!(env.refused(set("latest", None, None)), "there is no alias `digits@latest`");
    assert_eq!(env.refused(set("latest", Some(3), None)), "there is no model version `digits@3`");
    assert_eq!(env.refused(set("latest", Some(0), None)), "there is no model version `digits@0`");
}
