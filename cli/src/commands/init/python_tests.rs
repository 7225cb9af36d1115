use super::*;

fn one(text: &str) -> Call {
    calls(text).into_iter().next().expect("a call")
}

#[test]
fn arguments_of_all_kinds() {
    let call = one("p.add_argument('--lr', type=float, default=-1e-3, help='learning' ' rate')");
    assert_eq!(call.name, "p.add_argument");
    assert_eq!(call.method(), "add_argument");
    assert_eq!(call.positional, [Value::Text("--lr".into())]);
    assert_eq!(call.keyword("default"), Some(&Value::Float(-1e-3)));
    assert_eq!(call.keyword("type"), Some(&Value::Code("float".into())));
    assert_eq!(call.keyword("help"), Some(&Value::Text("learning rate".into())));
    let call = one("f(1_000, [\"a\", 'b'], Path('x/y'), None, True, 0x10, g(1, 2), k=(1, -2))");
    assert_eq!(call.positional[0], Value::Int(1_000));
    assert_eq!(
        call.positional[1],
        Value::List(vec![Value::Text("a".into()), Value::Text("b".into())])
    );
    assert_eq!(call.positional[2], Value::Text("x/y".into()));
    assert_eq!(call.positional[3..5], [Value::None, Value::Bool(true)]);
    assert_eq!(call.keyword("k"), Some(&Value::List(vec![Value::Int(1), Value::Int(-2)])));
}

#[test]
fn comments_strings_and_definitions_are_no_calls() {
    let text = "# f(1)\n\"\"\"\nf(2)\n\"\"\"\ndef f(x): pass\nx = 'f(3)'\nf(4)\n";
    let found = calls(text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].positional, [Value::Int(4)]);
}

#[test]
fn nested_and_broken_over_lines() {
    let text = "joblib.dump(\n    make(a, b),  # the model\n    os.path.join('out', 'm.pkl'),\n)\n";
    let names: Vec<String> = calls(text).into_iter().map(|call| call.name).collect();
    assert_eq!(names, ["joblib.dump", "make", "os.path.join"]);
}

#[test]
fn whatever_it_is_given_it_ends() {
    for text in [
        "f(", "f((((", "f('", "f(\"\"\"", "f(r'\\", ")", "f(a=", "f(=)", "f(,,)", "é(ü)", "f'{",
        "1e+", "f(x==1)",
    ] {
        calls(text);
        strings(text);
    }
    let deep = "f(".repeat(5_000);
    assert_eq!(calls(&deep).len(), 5_000);
}
