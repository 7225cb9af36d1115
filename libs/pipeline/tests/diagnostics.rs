//! How findings look.

mod common;

use common::{refused, rendered, with_stages, with_task};

fn shown(source: &str) -> String {
    rendered(source, &refused(source))
}

#[test]
fn an_unknown_key_is_underlined_with_a_suggestion() {
    insta::assert_snapshot!(shown(&with_task("resources: { gpus: 4 }")), @r#"
    error[RY0105]: `resources` has no key `gpus`
      --> runyard.yaml:6:18
      |
    6 |     resources: { gpus: 4 }
      |                  ^^^^ unknown key
      = help: did you mean `gpu`?
    "#);
}

#[test]
fn a_circle_shows_every_edge() {
    insta::assert_snapshot!(shown(&with_stages(
        "  prepare:\n    run: x\n    needs: train\n    outputs: { data: d }\n  train:\n    run: x\n    inputs: { data: prepare.data }\n"
    )), @r#"
    error[RY0202]: stages need each other: prepare -> train -> prepare
       --> runyard.yaml:6:12
       |
     6 |     needs: train
       |            ^^^^^ `prepare` needs `train`
       ::: runyard.yaml:10:21
       |
    10 |     inputs: { data: prepare.data }
       |                     ^^^^^^^^^^^^ `train` takes an output of `prepare`
       = help: remove one of these needs
    "#);
}

#[test]
fn a_fault_in_an_expression_is_underlined_inside_it() {
    insta::assert_snapshot!(shown(&with_task("if: git.branch == \"main\" && git.tga != ''")), @r#"
    error[RY0302]: there is no `git.tga`
      --> runyard.yaml:6:33
      |
    6 |     if: git.branch == "main" && git.tga != ''
      |                                 ^^^^^^^
      = help: did you mean `tag`?
    "#);
}

#[test]
fn what_is_not_built_says_so() {
    insta::assert_snapshot!(shown(&with_task("checkpoint: { path: ckpt/ }\nresources: { gpu: 0.5 }")), @r#"
    error[RY0910]: `checkpoint` is not built yet
      --> runyard.yaml:6:5
      |
    6 |     checkpoint: { path: ckpt/ }
      |     ^^^^^^^^^^
      = help: `runyard explain RY0910` says what works in its place

    error[RY0909]: a share (`0.5`) is not built yet
      --> runyard.yaml:7:23
      |
    7 |     resources: { gpu: 0.5 }
      |                       ^^^
      = help: `runyard explain RY0909` says what works in its place
    "#);
}

#[test]
fn a_duplicate_shows_both_places() {
    insta::assert_snapshot!(shown(&with_task("outputs:\n  model: out\n  model: out2")), @r#"
    error[RY0104]: `model` stands twice in `outputs`
      --> runyard.yaml:8:7
      |
    8 |       model: out2
      |       ^^^^^ again here
      ::: runyard.yaml:7:7
      |
    7 |       model: out
      |       ^^^^^ first here
      = help: remove or rename one of them
    "#);
}

#[test]
fn text_that_is_not_yaml_has_a_place() {
    insta::assert_snapshot!(shown("version: 1\nstages:\n  a: [1, 2\n  b: }\n"), @r#"
    error[RY0101]: this is not YAML: illegal placement of ':' indicator
      --> runyard.yaml:4:4
      |
    4 |   b: }
      |    ^
    "#);
    insta::assert_snapshot!(shown("version: 1\n\tname: t\n"), @r#"
    error[RY0101]: this is not YAML: while scanning a plain scalar, found a tab
      --> runyard.yaml:1:10
      |
    1 | version: 1
      |          ^
    "#);
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let source = with_task(&format!("env: {{ A: \"{}\", b-c: 1 }}", "x".repeat(400)));
    insta::assert_snapshot!(shown(&source), @r#"
    error[RY0109]: `b-c` is no name of a variable
      --> runyard.yaml:6:419
      |
    6 | …xxxxxxxxxxxxxxxxx", b-c: 1 }
      |                      ^^^
      = help: letters, digits and `_`, no digit first
    "#);
}
