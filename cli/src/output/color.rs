//! Whether to colour.

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR or TERM=dumb
    #[default]
    Auto,
    Always,
    Never,
}

/// Decides for one stream; `var` reads the environment.
///
/// The flag rules; then NO_COLOR, CLICOLOR_FORCE, TERM=dumb, CLICOLOR=0, and whether it is a terminal.
pub(crate) fn enabled(
    choice: ColorChoice,
    tty: bool,
    var: impl Fn(&str) -> Option<String>,
) -> bool {
    let set = |name| var(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto if var("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0") => {
            true
        }
        ColorChoice::Auto => {
            tty && var("TERM").as_deref() != Some("dumb") && var("CLICOLOR").as_deref() != Some("0")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(choice: ColorChoice, tty: bool, vars: &[(&str, &str)]) -> bool {
        enabled(choice, tty, |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_flag_rules_then_no_color_then_force_then_the_terminal() {
        use ColorChoice::*;
        assert!(with(Auto, true, &[]));
        assert!(!with(Auto, false, &[]));
        assert!(!with(Auto, true, &[("TERM", "dumb")]));
        assert!(!with(Auto, true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(with(Auto, true, &[("NO_COLOR", "")]), "an empty NO_COLOR is none");
        assert!(with(Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(with(Always, false, &[("NO_COLOR", "1")]));
        assert!(!with(Never, true, &[("CLICOLOR_FORCE", "1")]));
    }
}
