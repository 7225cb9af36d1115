use clap::CommandFactory;

use super::*;

#[test]
fn the_tree_of_commands_is_sound() {
    App::command().debug_assert();
}

/// The help of a verb and of all below it.
fn help(command: &mut clap::Command, path: &str, out: &mut Vec<(String, String)>) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    out.push((path.clone(), command.render_long_help().to_string()));
    for sub in command.get_subcommands_mut() {
        help(sub, &path, out);
    }
}

#[test]
fn the_help_of_each_verb() {
    let mut pages = Vec::new();
    let mut command = App::command().term_width(100);
    command.build();
    help(&mut command, "", &mut pages);
    // The flags of every verb are shown once, at the top.
    for (path, page) in &mut pages {
        if path != "runyard"
            && let Some(global) = page.find("\nGlobal options:")
        {
            page.truncate(global);
        }
    }
    let all: String =
        pages.iter().map(|(path, page)| format!("==== {path}\n{}\n\n", page.trim_end())).collect();
    let tidy: String = all.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    insta::assert_snapshot!(tidy);
}

fn exit(arguments: &[&str]) -> u8 {
    match parse(arguments.iter().map(OsString::from)) {
        Ok(_) => 0,
        Err(exit) => exit.0,
    }
}

#[test]
fn wrong_usage_is_exit_code_3_and_help_is_0() {
    assert_eq!(exit(&["runyard", "ps", "--nope"]), 3);
    assert_eq!(exit(&["runyard", "nope"]), 3);
    assert_eq!(exit(&["runyard", "ps", "--json", "-o", "csv"]), 3);
    assert_eq!(exit(&["runyard", "run", "-d", "--wait"]), 3);
    assert_eq!(exit(&["runyard", "ps", "-o", "name"]), 0, "the format that scripts use");
    assert_eq!(exit(&["runyard", "ps", "-o", "template={name}"]), 0);
    assert_eq!(exit(&["runyard", "ps", "-o", "template={name"]), 3);
    assert_eq!(exit(&["runyard", "ps", "-o", "template=TEXT"]), 0);
    assert_eq!(exit(&["runyard", "ps", "-o", "jsn"]), 3);
    assert_eq!(exit(&["runyard", "run", "--gpus", "1"]), 3, "GPUs of a file are in the file");
    assert_eq!(exit(&["runyard", "--help"]), 0);
    assert_eq!(exit(&["runyard", "--version"]), 0);
    assert_eq!(exit(&["runyard", "run", "--gpus", "1", "--", "python3", "t.py", "--lr", "1"]), 0);
}

#[test]
fn a41_no_flag_takes_a_token() {
    let mut command = App::command();
    command.build();
    fn check(command: &clap::Command) {
        for argument in command.get_arguments() {
            let name = argument.get_long().unwrap_or_default();
            let takes_file = name.ends_with("-file");
            assert!(!name.contains("token") || takes_file, "{} --{name}", command.get_name());
            assert!(!name.contains("password") && !name.contains("secret"), "--{name}");
        }
        command.get_subcommands().for_each(check);
    }
    check(&command);
}
