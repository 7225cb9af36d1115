//! The names of the variables that a stage's processes get.

use std::collections::BTreeMap;

use runyard_types::Name;

use crate::model::{Args, ParamValue};

/// Upper case, every other character `_`: `val-set` becomes `VAL_SET`.
pub fn variable_suffix(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}

/// `RUNYARD_INPUT_X`, which holds the path of the input.
pub fn input_variable(name: &Name) -> String {
    format!("RUNYARD_INPUT_{}", variable_suffix(name.as_str()))
}

/// `RUNYARD_PARAM_X`, which holds the value of the parameter.
pub fn param_variable(name: &Name) -> String {
    format!("RUNYARD_PARAM_{}", variable_suffix(name.as_str()))
}

/// `RUNYARD_MATRIX_X`, which holds the task's value on the axis.
pub fn matrix_variable(axis: &Name) -> String {
    format!("RUNYARD_MATRIX_{}", variable_suffix(axis.as_str()))
}

/// The variables of all parameters.
pub fn params_env(values: &BTreeMap<Name, ParamValue>) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (param_variable(name), value.to_string())).collect()
}

/// The command with the parameters appended, each as a reference to its variable, so that no value
/// is ever part of the shell's text.
pub fn command_with_args(run: &str, args: Option<Args>, params: &[Name]) -> String {
    let Some(args) = args else { return run.to_owned() };
    let mut command = run.trim_end().to_owned();
    for name in params {
        let variable = param_variable(name);
        command += &match args {
            Args::Flags => format!(" --{name} \"${variable}\""),
            Args::Hydra => format!(" {name}=\"${variable}\""),
        };
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variables() {
        let name = Name::new("val-set.2").unwrap();
        assert_eq!(input_variable(&name), "RUNYARD_INPUT_VAL_SET_2");
        assert_eq!(param_variable(&name), "RUNYARD_PARAM_VAL_SET_2");
        assert_eq!(matrix_variable(&name), "RUNYARD_MATRIX_VAL_SET_2");
    }

    #[test]
    fn a4_appended_parameters_never_carry_their_value() {
        let names = [Name::new("lr").unwrap()];
        let flags = command_with_args("python t.py\n", Some(Args::Flags), &names);
        assert_eq!(flags, "python t.py --lr \"$RUNYARD_PARAM_LR\"");
        let hydra = command_with_args("python t.py", Some(Args::Hydra), &names);
        assert_eq!(hydra, "python t.py lr=\"$RUNYARD_PARAM_LR\"");
        assert_eq!(command_with_args("x", None, &names), "x");
    }
}
