//! The expression language: values, types, errors with places, limits, and texts with `${{ }}`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use runyard_pipeline::expr::{
    DEPTH_MAX, Env, Expr, ExprErrorKind, Reference, STRING_BYTES_MAX, Status, Template, Type, Value,
};

#[derive(Default)]
struct Names {
    values: BTreeMap<Reference, Value>,
    failed: bool,
}

impl Env for Names {
    fn get(&self, reference: &Reference) -> Option<Value> {
        self.values.get(reference).cloned()
    }
    fn status(&self, status: Status) -> bool {
        match status {
            Status::Success => !self.failed,
            Status::Failure => self.failed,
        }
    }
}

fn names() -> Names {
    let metric =
        |stage: &str, name: &str| Reference::Metric { stage: stage.into(), name: name.into() };
    let values = [
        (Reference::Param("lr".into()), Value::Float(0.1)),
        (Reference::Param("epochs".into()), Value::Int(10)),
        (Reference::Param("evil".into()), Value::String("${{ params.lr }}".into())),
        (Reference::Git("branch".into()), Value::String("main".into())),
        (metric("train", "val/acc"), Value::Float(0.93)),
        (metric("train-big", "nan"), Value::Float(f64::NAN)),
        (
            Reference::StageValue { stage: "train".into(), key: "rows".into() },
            Value::String("899".into()),
        ),
    ];
    Names { values: values.into(), failed: false }
}

fn value(source: &str) -> Value {
    let expr = Expr::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    expr.eval(&names()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn fault(source: &str) -> (ExprErrorKind, String) {
    let error = match Expr::parse(source) {
        Err(error) => error,
        Ok(expr) => expr.eval(&names()).expect_err(source),
    };
    (error.kind, source[error.span].to_owned())
}

#[test]
fn operators_bind_as_in_cel() {
    for (source, expected) in [
        ("1 + 2 * 3 == 7", true),
        ("(1 + 2) * 3 == 9", true),
        ("10 - 2 - 3 == 5", true),
        ("7 / 2 == 3 && -7 % 3 == -1", true),
        ("7 / 2.0 == 3.5", true),
        ("true || false && false", true),
        ("!(1 > 2) && !false", true),
        ("1 < 2 == true", true),
        ("2 in [1, 2, 3] && !('x' in ['y'])", true),
        ("\"a\" + 'b' == 'ab' && 'a' < 'b'", true),
        ("[1, [2, 3]][1][0] == 2", true),
        ("true ? false : true", false),
        ("false ? 1 > 2 : true ? 2 > 1 : false", true),
        ("1e-5 < 1e-4 && 9223372036854775807 > 9.2e18", true),
        ("size('abc') == 3 && [1, 2].size() == 2", true),
        ("'abc'.startsWith('ab') && 'abc'.endsWith('bc') && contains('abc', 'b')", true),
        ("int('12') == 12 && int(3.9) == 3 && float(2) == 2.0 && string(0.5) == '0.5'", true),
        ("\"q\\\"\\n\" == '\\q' || true", true),
    ] {
        if source.contains("\\q") {
            assert_eq!(fault(source).0, ExprErrorKind::Syntax, "{source}");
            continue;
        }
        assert_eq!(value(source), Value::Bool(expected), "{source}");
    }
}

#[test]
fn names_are_looked_up_and_listed_with_their_places() {
    assert_eq!(value("params.lr * 2 == 0.2"), Value::Bool(true));
    assert_eq!(value("git.branch == \"main\" && params[\"epochs\"] >= 10"), Value::Bool(true));
    assert_eq!(value("train.metrics[\"val/acc\"] >= 0.9"), Value::Bool(true));
    assert_eq!(value("int(train.values.rows) == 899"), Value::Bool(true));
    let source = "params.lr < train.metrics[\"a\"] && stages[\"train-big\"].metrics.nan > 0";
    let expr = Expr::parse(source).expect("an expression");
    let found: Vec<_> =
        expr.references().map(|(name, span)| (name.to_string(), &source[span])).collect();
    assert_eq!(
        found,
        [
            ("params.lr".to_owned(), "params.lr"),
            ("train.metrics[\"a\"]".to_owned(), "train.metrics[\"a\"]"),
            ("train-big.metrics[\"nan\"]".to_owned(), "stages[\"train-big\"].metrics.nan"),
        ]
    );
}

#[test]
fn what_is_undefined_or_of_another_type_is_an_error_and_never_false() {
    use ExprErrorKind::{Arithmetic, Limit, Syntax, Type, Undefined};
    for (source, kind, place) in [
        ("params.absent == 1", Undefined, "params.absent"),
        ("'abc' >= 1", Type, "'abc' >= 1"),
        ("'1' == 1", Type, "'1' == 1"),
        ("1 && true", Type, "1 && true"),
        ("true && 1", Type, "true && 1"),
        ("!1", Type, "1"),
        ("-'a'", Type, "'a'"),
        ("1 in 2", Type, "1 in 2"),
        ("1 % 2.0", Type, "1 % 2.0"),
        ("size(1)", Type, "size(1)"),
        ("1 / 0", Arithmetic, "1 / 0"),
        ("1.0 / 0", Arithmetic, "1.0 / 0"),
        ("1 % 0", Arithmetic, "1 % 0"),
        ("9223372036854775807 + 1", Arithmetic, "9223372036854775807 + 1"),
        ("1e308 * 10", Arithmetic, "1e308 * 10"),
        ("int('x')", Arithmetic, "int('x')"),
        ("int(1e300)", Arithmetic, "int(1e300)"),
        ("[1][1]", Undefined, "1"),
        ("[1][-1]", Undefined, "-1"),
        ("", Syntax, ""),
        ("1 +", Syntax, ""),
        ("1 2", Syntax, "2"),
        ("(1", Syntax, ""),
        ("'abc", Syntax, "'abc"),
        ("99999999999999999999", Syntax, "99999999999999999999"),
        ("1e999", Syntax, "1e999"),
        ("1x", Syntax, "1x"),
        ("branch == 'main'", Syntax, "=="),
        ("exec('rm')", Syntax, "exec"),
        ("size()", Syntax, "size"),
        ("a = 1", Syntax, "="),
        ("param.lr > 1", Syntax, "param.lr"),
    ] {
        let found = fault(source);
        assert_eq!((found.0, found.1.as_str()), (kind, place), "{source}");
    }
    assert_eq!(fault(&"x".repeat(5_000)).0, Limit);
}

#[test]
fn a7_nan_compares_as_nothing_and_spreads_without_a_panic() {
    for source in ["> 0", "< 0", "== 0", ">= 0.0"] {
        let source = format!("stages['train-big'].metrics.nan {source}");
        assert_eq!(value(&source), Value::Bool(false), "{source}");
    }
    assert_eq!(value("stages['train-big'].metrics.nan + 1 > 0"), Value::Bool(false));
}

#[test]
fn what_is_not_needed_is_not_looked_at() {
    assert_eq!(value("true || params.absent == 1"), Value::Bool(true));
    assert_eq!(value("false && params.absent == 1"), Value::Bool(false));
    assert_eq!(value("true ? 1 : params.absent"), Value::Int(1));
}

#[test]
fn a_condition_implies_success_unless_it_asks() {
    let holds = |source: &str, failed| {
        let env = Names { failed, ..names() };
        Expr::parse(source).expect("an expression").holds(&env)
    };
    assert_eq!(holds("git.branch == 'main'", false), Ok(true));
    assert_eq!(holds("git.branch == 'main'", true), Ok(false));
    assert_eq!(holds("failure()", true), Ok(true));
    assert_eq!(holds("failure()", false), Ok(false));
    assert_eq!(holds("always()", true), Ok(true));
    assert_eq!(holds("success() || git.branch == 'main'", true), Ok(true));
    assert_eq!(holds("1", false).expect_err("no bool").kind, ExprErrorKind::Type);
}

#[test]
fn types_are_inferred_before_there_are_values() {
    let types = |reference: &Reference| match reference {
        Reference::Param(name) if name == "n" => Type::Int,
        Reference::Param(_) => Type::Any,
        Reference::Metric { .. } => Type::Float,
        _ => Type::String,
    };
    let infer = |source: &str| Expr::parse(source).expect("an expression").infer(&types);
    assert_eq!(infer("params.n + 1"), Ok(Type::Int));
    assert_eq!(infer("params.n + a.metrics.x"), Ok(Type::Float));
    assert_eq!(infer("params.other > 1 && git.branch == 'x'"), Ok(Type::Bool));
    assert_eq!(infer("true ? 1 : 'x'"), Ok(Type::Any));
    for source in
        ["git.branch > 1", "params.n && true", "a.metrics.x == 'x'", "size(params.n)", "!git.tag"]
    {
        assert_eq!(infer(source).expect_err(source).kind, ExprErrorKind::Type, "{source}");
    }
}

#[test]
fn a4_nesting_is_limited_and_chains_are_not_nesting() {
    let nested =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (open, close) in
        [("(", ")"), ("[", "]"), ("-", ""), ("[", "][0]"), ("int(", ")"), ("true?1:", "")]
    {
        assert!(Expr::parse(&nested(open, close, DEPTH_MAX / 2)).is_ok(), "{open}");
        let error = Expr::parse(&nested(open, close, 400)).expect_err("too deep");
        assert_eq!(error.kind, ExprErrorKind::Limit, "{open}");
    }
    let indexes = format!("params.x{}", "[0]".repeat(400));
    assert_eq!(Expr::parse(&indexes).expect_err("too deep").kind, ExprErrorKind::Limit);
    let chain = format!("1{}", " + 1".repeat(900));
    assert_eq!(Expr::parse(&chain).expect("a chain").eval(&names()), Ok(Value::Int(901)));
}

#[test]
fn a4_strings_do_not_grow_without_bound() {
    let mut env = names();
    let long = "x".repeat(STRING_BYTES_MAX / 2);
    env.values.insert(Reference::Param("long".into()), Value::String(long));
    let expr = Expr::parse("params.long + params.long + 'x'").expect("an expression");
    assert_eq!(expr.eval(&env).expect_err("too long").kind, ExprErrorKind::Limit);
    let template =
        Template::parse("${{ params.long }}${{ params.long }}x${{ 1 }}").expect("a text");
    assert_eq!(template.render(&env).expect_err("too long").kind, ExprErrorKind::Limit);
}

#[test]
fn a4_substituted_text_is_never_read_again() {
    let render = |text: &str| Template::parse(text).expect("a text").render(&names());
    assert_eq!(render("lr=${{ params.lr }}, ${{ git.branch }}"), Ok("lr=0.1, main".into()));
    assert_eq!(render("${{ params.evil }}"), Ok("${{ params.lr }}".into()));
    assert_eq!(render("$HOME {{ x }} }}"), Ok("$HOME {{ x }} }}".into()));
    assert_eq!(render("${{ '}}' + \"\\\"}}\" }}"), Ok("}}\"}}".into()));
    let open = Template::parse("ab ${{ 1").expect_err("not closed");
    assert_eq!((open.kind, open.span), (ExprErrorKind::Syntax, 3..8));
    let bad = Template::parse("ab ${{ 1 + }}").expect_err("no value");
    assert_eq!(bad.span, 11..11);
    assert_eq!(render("x ${{ [1] }}").expect_err("a list").kind, ExprErrorKind::Type);
}

/// Expressions by their grammar, so that most are valid.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "2.5",
        "'a'",
        "true",
        "false",
        "params.lr",
        "params.epochs",
        "git.branch",
        "train.metrics['val/acc']",
        "params.absent",
        "success()",
        "9223372036854775807",
        "[1, 'a']",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("contains({a}, {b})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        if let Err(error) = Expr::parse(&text) {
            prop_assert!(text.get(error.span).is_some());
        }
        let _ = Template::parse(&text);
    }

    #[test]
    fn no_symbols_make_the_evaluator_panic(text in "[-+*/%<>=!&|?:()\\[\\],.'\"0-9a-e \\\\$\\{\\}]{0,60}") {
        if let Ok(expr) = Expr::parse(&text) { let _ = expr.eval(&names()); }
        if let Ok(template) = Template::parse(&text) { let _ = template.render(&names()); }
    }

    /// A type that is inferred is the type of the value, and a value is never refused by inference.
    #[test]
    fn inference_agrees_with_evaluation(text in expression()) {
        let Ok(expr) = Expr::parse(&text) else { return Ok(()) };
        let env = names();
        let types = |name: &Reference| env.get(name).map_or(Type::Any, |value| value.kind());
        match (expr.infer(&types), expr.eval(&env)) {
            (Ok(Type::Any), Ok(_)) | (_, Err(_)) => {}
            (Ok(kind), Ok(value)) => prop_assert_eq!(kind, value.kind(), "{}", text),
            // What is skipped at evaluation is still checked.
            (Err(_), Ok(_)) => prop_assert!(text.contains("&&") || text.contains("||") || text.contains('?')),
        }
    }
}
