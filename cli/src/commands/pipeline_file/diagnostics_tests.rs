use super::*;

const SOURCE: &str =
    "version: 1\nname: demo\nstages:\n  train:\n    run: python train.py\n    gpu: 4\n";

fn found() -> Vec<Diagnostic> {
    runyard_pipeline::parse("dir/runyard.yaml", SOURCE).expect_err("`gpu` is no key of a stage")
}

#[test]
fn people_see_file_place_and_the_text_underlined() {
    insta::assert_snapshot!(human("dir/runyard.yaml", SOURCE, &found()[0], false, 100));
}

#[test]
fn a_long_line_is_cut_around_the_place_to_the_terminals_width() {
    let wide = "x".repeat(3_000);
    let text = format!(
        "version: 1\nname: demo\nstages:\n  train: {{ run: \"{wide}\", gpu: 4, env: {{ A: \"{wide}\" }} }}\n"
    );
    let found = runyard_pipeline::parse("runyard.yaml", &text).expect_err("`gpu` is no key");
    for width in [60, 100] {
        let shown = human("runyard.yaml", &text, &found[0], false, width);
        let widest = shown.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= width, "{widest} columns of {width}:\n{shown}");
        // The place is in sight, underlined, and named by its column in the file.
        assert!(shown.contains("gpu: 4") && shown.contains("─┬─"), "{shown}");
        let column = text.lines().nth(3).expect("line 4").find("gpu").expect("is there") + 1;
        assert!(shown.contains(&format!("[runyard.yaml:4:{column}]")), "{shown}");
    }
}

#[test]
fn forges_get_annotations_that_text_cannot_break_out_of() {
    let mut diagnostic = found().remove(0);
    diagnostic.message = "50%\n::error::fake".into();
    diagnostic.help = None;
    let line = github("a,b:c.yaml", &diagnostic);
    assert!(line.starts_with("::error file=a%2Cb%3Ac.yaml,line=6,col=5,title=RY"), "{line}");
    assert!(line.ends_with("::50%25%0A::error::fake\n"), "{line}");
}

#[test]
fn programs_get_sarif() {
    let value = sarif("runyard.yaml", &found());
    let region = &value["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"];
    assert_eq!(region["startLine"], 6);
}

#[test]
fn a35_a_source_cannot_drive_the_terminal_and_spans_keep_their_place() {
    let text = "a: \u{1b}]52;c;x\u{7}\u{202e}\nb: é\n";
    let shown = harmless(text);
    assert_eq!(shown.len(), text.len());
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']));
    assert_eq!(shown.find('é'), text.find('é'));
}
