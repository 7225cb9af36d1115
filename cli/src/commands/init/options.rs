//! The options of a script: argparse's and click's.

use runyard_types::Name;

use super::python::{Call, Value, calls};

/// The type of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

/// An option of a script.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Opt {
    /// As it is written on the command line, `--lr`; empty for a positional argument.
    pub(super) flag: String,
    /// Its name as a parameter's.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// `None` if there is none, or it is not written as a literal.
    pub(super) default: Option<Value>,
    pub(super) required: bool,
    pub(super) choices: Vec<Value>,
    pub(super) help: String,
    /// A switch without a value.
    pub(super) switch: bool,
}

/// The options that a script declares, in order, each once.
pub(super) fn options(text: &str) -> Vec<Opt> {
    let mut options: Vec<Opt> = Vec::new();
    for call in calls(text) {
        let option = match call.method() {
            "add_argument" => argparse(&call),
            "option" if is_click(&call) => click(&call, false),
            "argument" if is_click(&call) => click(&call, true),
            _ => None,
        };
        let Some(option) = option else { continue };
        if !options.iter().any(|known| known.name == option.name) {
            options.push(option);
        }
    }
    options
}

fn is_click(call: &Call) -> bool {
    matches!(call.name.as_str(), "click.option" | "click.argument" | "option" | "argument")
}

fn argparse(call: &Call) -> Option<Opt> {
    let names = texts(&call.positional);
    let long = names.iter().find(|name| name.starts_with("--"));
    let flag = long.or_else(|| names.iter().find(|name| name.starts_with('-')));
    let bare = names.iter().find(|name| !name.starts_with('-'));
    if flag.is_none() && bare.is_none() {
        return None;
    }
    // Several values have no parameter of one value.
    if call.keyword("nargs").is_some() {
        return None;
    }
    let action = match call.keyword("action") {
        Some(Value::Text(action)) => action.as_str(),
        Some(Value::Code(action)) => action.as_str(),
        _ => "store",
    };
    if matches!(action, "version" | "help" | "append" | "count") {
        return None;
    }
    let switch = action != "store";
    build(call, flag.cloned(), bare.cloned(), switch, flag.is_none())
}

fn click(call: &Call, positional: bool) -> Option<Opt> {
    let names = texts(&call.positional);
    let flag = names.iter().find(|name| name.starts_with("--")).cloned();
    // `--shout/--no-shout` is a switch with two names.
    let pair = flag.as_ref().is_some_and(|flag| flag.contains('/'));
    let flag = flag.map(|flag| flag.split('/').next().unwrap_or_default().to_owned());
    let bare = names.iter().find(|name| !name.starts_with('-')).cloned();
    if call.keyword("nargs").is_some() || call.keyword("multiple").is_some() {
        return None;
    }
    let switch = pair || call.keyword("is_flag") == Some(&Value::Bool(true));
    match positional {
        true => build(call, None, bare, false, true),
        false => build(call, flag, bare, switch, false),
    }
}

fn build(
    call: &Call,
    flag: Option<String>,
    bare: Option<String>,
    switch: bool,
    positional: bool,
) -> Option<Opt> {
    let word = match &flag {
        Some(flag) => flag.trim_start_matches('-').to_owned(),
        None => bare?,
    };
    let name = word.to_ascii_lowercase();
    Name::new(&name).ok()?;
    let default = call
        .keyword("default")
        .cloned()
        .filter(|default| !matches!(default, Value::Code(_) | Value::None));
    let choices = match (call.keyword("choices"), call.keyword("type")) {
        (Some(Value::List(items)), _) => items.clone(),
        // click.Choice(["a", "b"]) stays code; its words are taken from it.
        (_, Some(Value::Code(code))) if code.contains("Choice") => quoted(code),
        _ => Vec::new(),
    };
    let kind = if switch { Kind::Bool } else { kind(call.keyword("type"), default.as_ref()) };
    let help = match call.keyword("help") {
        Some(Value::Text(help)) => help.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let required = call.keyword("required") == Some(&Value::Bool(true))
        || positional && call.keyword("default").is_none();
    let flag = if positional { String::new() } else { flag.unwrap_or_default() };
    Some(Opt { flag, name, kind, default, required, choices, help, switch })
}

fn kind(declared: Option<&Value>, default: Option<&Value>) -> Kind {
    match (declared, default) {
        (Some(Value::Code(word)), _) => match word.rsplit('.').next().unwrap_or_default() {
            "int" | "INT" => Kind::Int,
            "float" | "FLOAT" => Kind::Float,
            "bool" | "BOOL" => Kind::Bool,
            _ => Kind::Text,
        },
        // argparse leaves a default as it is; without `type` a value from outside is text.
        (_, Some(Value::Int(_))) => Kind::Int,
        (_, Some(Value::Float(_))) => Kind::Float,
        (_, Some(Value::Bool(_))) => Kind::Bool,
        _ => Kind::Text,
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    let texts = values.iter().filter_map(|value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

/// The quoted words of code.
fn quoted(code: &str) -> Vec<Value> {
    code.split('"').skip(1).step_by(2).map(|word| Value::Text(word.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argparse_options() {
        let text = r#"
parser = argparse.ArgumentParser(description="--fake")
parser.add_argument("data_dir")
parser.add_argument("-l", "--learning-rate", type=float, default=1e-3, help="step  "
    "size")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--opt", choices=["adam", "sgd"], default="adam")
parser.add_argument("--amp", action="store_true")
parser.add_argument("--layers", nargs="+", type=int)
parser.add_argument("--out", required=True, type=pathlib.Path)
parser.add_argument("--seed", default=SEED, type=int)
"#;
        let found = options(text);
        let names: Vec<&str> = found.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["data_dir", "learning-rate", "epochs", "opt", "amp", "out", "seed"]);
        assert_eq!((found[0].flag.as_str(), found[0].required), ("", true));
        let lr = &found[1];
        assert_eq!((lr.flag.as_str(), lr.kind), ("--learning-rate", Kind::Float));
        assert_eq!((&lr.default, lr.help.as_str()), (&Some(Value::Float(1e-3)), "step size"));
        assert_eq!(found[3].choices.len(), 2);
        assert!(found[4].switch && found[5].required && found[6].default.is_none());
    }

    #[test]
    fn click_options() {
        let text = r#"
@click.command()
@click.option("--lr", default=0.1, show_default=True, help="rate")
@click.option("--mode", type=click.Choice(["fast", "slow"]), default="fast")
@click.option("--shout/--no-shout", default=False)
@click.option("--n", "count", type=int, required=True)
@click.argument("path", type=click.Path())
def main(lr, mode, shout, count, path): ...
"#;
        let found = options(text);
        let names: Vec<&str> = found.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["lr", "mode", "shout", "n", "path"]);
        assert_eq!(found[0].kind, Kind::Float);
        assert_eq!(found[1].choices, [Value::Text("fast".into()), Value::Text("slow".into())]);
        assert!(found[2].switch && found[3].required && found[4].flag.is_empty());
    }

    #[test]
    fn names_that_are_no_parameters_are_passed_over() {
        assert!(
            options("p.add_argument('--Ünder')\np.add_argument()\np.add_argument(NAME)").is_empty()
        );
    }
}
