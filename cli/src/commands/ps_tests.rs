use super::*;

fn look(wide: bool, width: Option<u16>, color: bool) -> Look {
    Look { now_ms: 1_000_000, wide, width, color }
}

fn runs() -> Runs {
    let stage = |state: &str| v1::Stage { state: state.into(), ..Default::default() };
    let git = v1::Git {
        commit: "0123456789abcdef".into(),
        branch: "main".into(),
        dirty: true,
        ..Default::default()
    };
    let running = v1::Run {
        name: "digits-42".into(),
        uid: "01K0000000000000000000000A".into(),
        state: "running".into(),
        created_ms: 700_000,
        started_ms: 701_000,
        git: Some(git),
        principal: "ada".into(),
        stages: vec![stage("succeeded"), stage("running"), stage("waiting")],
        ..Default::default()
    };
    let failed = v1::Run {
        name: "churn-7".into(),
        state: "failed".into(),
        created_ms: 100_000,
        started_ms: 110_000,
        ended_ms: 120_000,
        reason: "stage `train` failed: exit status 1\u{1b}]52;c;x\u{7} =cmd()".into(),
        principal: "=HYPERLINK(\"http://evil\")".into(),
        stages: vec![stage("failed")],
        ..Default::default()
    };
    Runs { list: List { index: 77, items: vec![running, failed] }, all: true }
}

#[test]
fn a_table_on_a_pipe_is_whole() {
    insta::assert_snapshot!(
        runs().table(&look(false, None, false)).render(&look(false, None, false))
    );
}

#[test]
fn a_table_on_a_terminal_fits() {
    let look = look(false, Some(72), false);
    let text = runs().table(&look).render(&look);
    assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
    assert!(text.contains('…'), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn colour_is_added_to_the_word_and_takes_no_room() {
    let look = look(false, None, true);
    let text = runs().table(&look).render(&look);
    assert!(text.contains("\u{1b}[38;5;14m● running") || text.contains("● running"), "{text:?}");
    assert!(text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("\u{1b}[0m") || text.contains("\u{1b}[39m"), "{text:?}");
}

#[test]
fn csv_has_all_columns_and_raw_values_and_no_formulas() {
    insta::assert_snapshot!(runs().table(&look(true, None, false)).csv());
}

#[test]
fn json_lists_carry_version_and_index() {
    let value = runs().json().expect("json");
    assert_eq!(value["api_version"], "runyard.v1");
    assert_eq!(value["index"], 77);
    assert_eq!(value["items"][0]["name"], "digits-42");
    assert_eq!(value["items"][0]["created_ms"], 700_000);
    assert_eq!(value["items"][1]["ended_ms"], 120_000);
}

#[test]
fn markdown_cannot_be_broken_out_of() {
    insta::assert_snapshot!(
        runs().table(&look(false, None, false)).markdown(&look(false, None, false))
    );
}

#[test]
fn names_only() {
    assert_eq!(runs().names(), ["digits-42", "churn-7"]);
}
