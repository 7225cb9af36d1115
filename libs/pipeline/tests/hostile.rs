//! Hostile files (RELIABILITY A1, A2, A3, A4, A6, A8) are refused quickly, with a place.

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::{codes, only, refused, with_stages, with_task};
use proptest::prelude::*;
use runyard_pipeline::parse;

/// The bound of RELIABILITY A1 for a release build; an unoptimised one gets ten times as much.
const REFUSED_WITHIN: Duration =
    Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

fn refused_quickly(source: &str, code: &str) {
    let start = Instant::now();
    let found = refused(source);
    let took = start.elapsed();
    assert_eq!(found[0].code.as_str(), code, "{found:?}");
    assert!(took < REFUSED_WITHIN, "it took {took:?}");
}

#[test]
fn a1_an_alias_bomb_is_refused_by_its_expansion() {
    let mut bomb = "version: 1\nx-a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in
        ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].iter().zip("abcdefghij".chars())
    {
        let items = vec![format!("*{of}"); 9].join(",");
        let _ = writeln!(bomb, "x-{name}: &{name} [{items}]");
    }
    refused_quickly(&bomb, "RY0103");
}

#[test]
fn a1_merge_and_scalar_bombs_are_refused_by_their_expansion() {
    let long = "y".repeat(100_000);
    let bomb = format!("x-a: &a {long}\nx-b: [{}]\n", vec!["*a"; 900].join(","));
    refused_quickly(&bomb, "RY0103");
    let mut merges = "x-a0: &a0 { k: 1 }\n".to_owned();
    for i in 1..900 {
        let _ = writeln!(merges, "x-a{i}: &a{i} {{ <<: *a{}, k{i}: 1 }}", i - 1);
    }
    refused_quickly(&merges, "RY0103");
    let mut tower = "x-a0: &a0 [1]\n".to_owned();
    for i in 1..100 {
        let _ = writeln!(tower, "x-a{i}: &a{i} [*a{}]", i - 1);
    }
    refused_quickly(&tower, "RY0103");
}

#[test]
fn a1_nesting_of_any_style_is_refused() {
    refused_quickly(&"[".repeat(10_000), "RY0103");
    refused_quickly(&format!("a: {}{}", "{a: ".repeat(10_000), "}".repeat(10_000)), "RY0103");
    let block: String = (0..900).fold(String::new(), |mut text, depth| {
        let _ = writeln!(text, "{}a:", " ".repeat(depth));
        text
    });
    refused_quickly(&block, "RY0103");
    refused_quickly(&"- ".repeat(10_000), "RY0103");
}

#[test]
fn a1_a_large_file_is_not_read() {
    let start = Instant::now();
    let found = refused(&" ".repeat((1 << 20) + 1));
    assert_eq!(found[0].code.as_str(), "RY0102");
    assert!(start.elapsed() < REFUSED_WITHIN);
    assert!(refused("a: 1\n---\nb: 1\n")[0].message.contains("second document"));
    let many = format!("x-a: [{}]", "1,".repeat(30_000));
    refused_quickly(&many, "RY0103");
}

#[test]
fn a1_duplicate_keys_are_errors_everywhere_all_at_once() {
    let source =
        "version: 1\nversion: 1\nname: t\nstages:\n  a: { run: x, run: y }\n  a: { run: z }\n";
    assert_eq!(codes(source), ["RY0104", "RY0104", "RY0104"]);
    let outputs = with_task("outputs:\n  model: out\n  model: out2");
    assert_eq!(only(&outputs), "8:7 RY0104 `model` stands twice in `outputs`");
}

#[test]
fn a2_circles_selves_and_strangers_are_named() {
    let circle = with_stages(
        "  a: { run: x, needs: c }\n  b: { run: x, needs: a, outputs: { o: o } }\n  c: { run: x, inputs: { i: b.o } }\n",
    );
    assert_eq!(only(&circle), "4:23 RY0202 stages need each other: a -> c -> b -> a");
    let found = refused(&circle);
    assert_eq!(found[0].labels.len(), 3, "each edge has its place");
    let own = with_stages("  a: { run: x, needs: [a] }\n");
    assert_eq!(only(&own), "4:24 RY0202 the stage `a` needs itself");
    let stranger = with_stages("  train: { run: x }\n  b: { run: x, needs: trian }\n");
    assert_eq!(only(&stranger), "5:23 RY0201 there is no stage `trian`");
    assert_eq!(refused(&stranger)[0].help.as_deref(), Some("did you mean `train`?"));
}

#[test]
fn a2_a_long_circle_through_a_file_is_shown_in_part() {
    let mut stages = String::new();
    for i in 0..2_000 {
        let _ = writeln!(stages, "  s{i}: {{ run: x, needs: s{} }}", (i + 1) % 2_000);
    }
    let found = refused(&with_stages(&stages));
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("more) -> s1999 -> s0"), "{}", found[0].message);
}

#[test]
fn a3_matrices_are_counted_before_they_are_expanded() {
    let values = |n: u32| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let big = with_task(&format!("matrix: {{ axes: {{ a: [{0}], b: [{0}] }} }}", values(100)));
    assert!(
        only(&big).contains("RY0206 the matrix of `a` has 10000 tasks; a stage has at most 4096")
    );
    let axes: Vec<_> = (0..12).map(|i| format!("a{i}: [{}]", values(100))).collect();
    let huge = with_task(&format!("matrix: {{ axes: {{ {} }} }}", axes.join(", ")));
    assert!(only(&huge).contains("more than 2^64 tasks"));
    let four = format!("{{ run: x, matrix: {{ axes: {{ a: [{}] }} }} }}", values(4_000));
    let run = with_stages(&format!("  a: {four}\n  b: {four}\n  c: {four}\n"));
    assert!(only(&run).contains("RY0207 the run has 12000 tasks; at most 10000"));
}

#[test]
fn a4_expressions_are_bounded_and_never_reach_a_shell() {
    let deep = format!("if: {}true{}", "(".repeat(33), ")".repeat(33));
    assert!(only(&with_task(&deep)).contains("RY0305"));
    let long = format!("if: \"{}true\"", "true && ".repeat(600));
    assert!(only(&with_task(&long)).contains("RY0305"));
    let run = with_stages("  a:\n    run: echo ${{ params.x }} done\n");
    assert_eq!(only(&run), "5:15 RY0304 `${{ params.x }}` in a command would become shell code");
    assert_eq!(refused(&run)[0].help.as_deref(), Some("write `\"$RUNYARD_PARAM_X\"`"));
    let deploy =
        with_stages("  a: { deploy: { name: d, model: d@c, run: 'x ${{ git.branch }}' } }\n");
    assert!(only(&deploy).contains("RY0304"));
    let input = with_task("inputs: { i: 'file:${{ params.x }}' }");
    assert!(only(&input).contains("RY0304"));
}

#[test]
fn a6_quantities_out_of_bounds_are_refused_with_their_place() {
    for (lines, code) in [
        ("resources: { cpu: 9223372036854775808 }", "RY0110"),
        ("resources: { cpu: 0.0005 }", "RY0110"),
        ("resources: { cpu: -1 }", "RY0110"),
        ("resources: { cpu: 0 }", "RY0113"),
        ("resources: { memory: 9e99Gi }", "RY0110"),
        ("resources: { memory: 99999999999999999999TB }", "RY0110"),
        ("resources: { memory: 0GB }", "RY0113"),
        ("resources: { gpu: -1 }", "RY0110"),
        ("resources: { gpu: 0 }", "RY0113"),
        ("resources: { gpu: 1e99 }", "RY0110"),
        ("resources: { gpu: 4294967297 }", "RY0113"),
        ("resources: { gpu: 'H100:99999999999999999999' }", "RY0110"),
        ("resources: { gpu: .nan }", "RY0110"),
        ("resources: { gpu: { count: 0 } }", "RY0113"),
        ("nodes: 0", "RY0113"),
        ("nodes: 99999999999999999999", "RY0113"),
        ("timeout: 99999999999999999999d", "RY0110"),
        ("timeout: 0s", "RY0113"),
        ("timeout: 10", "RY0110"),
        ("retry: -1", "RY0113"),
    ] {
        let found = only(&with_task(lines));
        assert!(found.starts_with("6:") && found.contains(code), "{lines}: {found}");
    }
}

#[test]
fn a8_names_that_look_alike_are_refused_and_shown_escaped() {
    for name in ["Train", "a\u{202e}b", "ａ", "é", "a\u{200b}", "..", "-a", "a.b"] {
        let found = refused(&with_stages(&format!("  \"{name}\": {{ run: x }}\n")));
        assert_eq!(found[0].code.as_str(), "RY0109", "{name:?}");
        let shown = found[0].render(&with_stages(&format!("  \"{name}\": {{ run: x }}\n")));
        assert!(!shown.contains(['\u{202e}', '\u{200b}']), "{shown}");
    }
    assert!(only("version: 1\nname: 'x\\u{202e}'\nstages: { a: { run: x } }\n").contains("RY0109"));
}

#[test]
fn findings_are_capped() {
    let mut source = with_task("");
    for i in 0..5_000 {
        let _ = writeln!(source, "    key{i}: 1");
    }
    assert!(refused(&source).len() <= 200);
}

#[test]
fn a_thread_with_a_small_stack_reads_the_deepest_file_that_is_allowed() {
    let nested = format!("x-a: {}1{}\n", "[".repeat(62), "]".repeat(62));
    let source =
        format!("{nested}{}", with_task(&format!("if: {}true{}", "(".repeat(32), ")".repeat(32))));
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let parsed = thread.spawn(move || parse("f", &source).is_ok()).expect("a thread");
    assert!(parsed.join().expect("no overflow"));
}

/// Words that a file is made of, so that random files go deeper than the first check.
fn soup() -> impl Strategy<Value = String> {
    let words = [
        "version: 1\n",
        "name: t\n",
        "stages:\n",
        "  a:\n",
        "  b:\n",
        "    run: x\n",
        "    needs: a\n",
        "    inputs: { i: a.o }\n",
        "    outputs: { o: out }\n",
        "    gate:\n",
        "      results: b\n",
        "      checks: { c: { metric: m, min: 1pt } }\n",
        "    if: a.metrics['x'] > 1\n",
        "    matrix: { axes: { s: [1, 2] } }\n",
        "    results: r.csv\n",
        "    deploy: { name: d }\n",
        "params: { p: 1 }\n",
        "    env: { E: '${{ params.p }}' }\n",
        "    resources: { gpu: H100:2 }\n",
        "&a ",
        "*a ",
        "<<: ",
        "? ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "|\n",
        "\t",
        "!!int ",
        "\u{feff}",
        "é",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..24).prop_map(|w| w.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_parse_panic(text in "\\PC{0,200}") {
        let _ = parse("f", &text);
    }

    #[test]
    fn no_mix_of_the_files_words_makes_parse_panic(text in soup()) {
        if let Err(found) = parse("f", &text) {
            for diagnostic in found {
                prop_assert!(text.get(diagnostic.labels[0].span.clone()).is_some());
                let _ = diagnostic.render(&text);
            }
        }
    }

    #[test]
    fn no_change_of_a_good_file_makes_parse_panic(at in 0_usize..1_500, len in 0_usize..20, new in "\\PC{0,3}") {
        let digits = include_str!("files/digits.yaml");
        let at = at.min(digits.len());
        let end = (at + len).min(digits.len());
        let text = format!("{}{new}{}", &digits[..at], &digits[end..]);
        for diagnostic in parse("f", &text).err().into_iter().flatten() {
            prop_assert!(diagnostic.render(&text).contains(diagnostic.code.as_str()));
        }
    }
}
