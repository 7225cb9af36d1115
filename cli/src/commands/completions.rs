//! `runyard completions`: for a shell.

use clap_complete::Shell;

use crate::context::Env;
use crate::errors::{Exit, Result};

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Does what the verb says.
pub(crate) async fn run(args: Args, env: &Env) -> Result<Exit> {
    let script = script(args.shell);
    if env.printer.structured() {
        let text = String::from_utf8_lossy(&script);
        let answer = serde_json::json!({ "shell": args.shell.to_string(), "script": text });
        env.printer.answer(&answer)?;
        return Ok(Exit::OK);
    }
    env.printer.data(&script)?;
    Ok(Exit::OK)
}

/// The script of a shell.
fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::app::command(), "runyard", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn each_shell_gets_a_script_that_knows_the_verbs() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).expect("UTF-8");
            for verb in ["artifacts", "rollback", "uncordon"] {
                assert!(text.contains(verb), "{shell} lacks {verb}");
            }
        }
    }
}
