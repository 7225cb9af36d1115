//! The arguments of a script that takes them from `sys.argv` itself: by the names that it gives them.

use std::collections::BTreeMap;

use runyard_types::Name;

use super::options::{Kind, Opt};
use super::python::{Value, assigned_arguments};

/// The arguments in their order, from the first on without a gap: what lies behind one that has no name
/// could not be given.
pub(super) fn arguments(text: &str) -> Vec<Opt> {
    let mut found: BTreeMap<usize, Opt> = BTreeMap::new();
    for argument in assigned_arguments(text) {
        let name = argument.name.to_ascii_lowercase();
        let name = name.trim_matches('_').to_owned();
        if Name::new(&name).is_err() || argument.index == 0 {
            continue;
        }
        let kind = match (argument.converted.as_deref(), &argument.default) {
            (Some("int"), _) => Kind::Int,
            (Some("float"), _) => Kind::Float,
            (None, Some(Value::Int(_))) => Kind::Int,
            (None, Some(Value::Float(_))) => Kind::Float,
            _ => Kind::Text,
        };
        found.entry(argument.index).or_insert_with(|| Opt {
            flag: String::new(),
            name,
            kind,
            required: argument.default.is_none(),
            default: argument.default,
            choices: Vec::new(),
            help: String::new(),
            switch: false,
        });
    }
    let mut in_order = Vec::new();
    for (expected, (index, option)) in (1..).zip(found) {
        if index != expected || in_order.iter().any(|known: &Opt| known.name == option.name) {
            break;
        }
        in_order.push(option);
    }
    in_order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        arguments(text).into_iter().map(|option| option.name).collect()
    }

    #[test]
    fn arguments_have_the_names_that_the_script_gives_them() {
        let text = "import sys\nmodel_path = sys.argv[1]\nn = int(sys.argv[2])\n\
                    out = Path(sys.argv[3]) if len(sys.argv) > 3 else \"predictions.csv\"\n";
        let found = arguments(text);
        let names: Vec<&str> = found.iter().map(|option| option.name.as_str()).collect();
        assert_eq!(names, ["model_path", "n", "out"]);
        assert_eq!((found[0].required, found[1].kind, found[2].required), (true, Kind::Int, false));
        assert_eq!(found[2].default, Some(Value::Text("predictions.csv".into())));
    }

    #[test]
    fn several_at_once() {
        assert_eq!(names("_, model, data = sys.argv\n"), ["model", "data"]);
        assert_eq!(names("from sys import argv\nmodel, data = argv[1:]\n"), ["model", "data"]);
        assert_eq!(names("model, data, out = sys.argv[1:4]\n"), ["model", "data", "out"]);
    }

    #[test]
    fn what_has_no_name_ends_the_list() {
        assert_eq!(names("a = sys.argv[1]\nf(sys.argv[2])\nc = sys.argv[3]\n"), ["a"]);
        assert!(names("f(sys.argv[1])\nx = sys.argv\nif len(sys.argv) == 2: pass\n").is_empty());
        assert!(names("a == sys.argv[1]\nsys.argv[1] = 'x'\n").is_empty());
    }

    #[test]
    fn calls_nested_without_end_and_indices_beyond_all_numbers_are_read_like_any_other() {
        assert!(names(&format!("x = {}", "a(".repeat(400_000))).is_empty());
        assert!(names(&format!("a, b = sys.argv[{}:]\n", usize::MAX)).is_empty());
    }
}
