//! What is printed of the command line itself: completions for shells, and the manual.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::{self, Args};
use crate::migrate::Failure;

/// The completions for a shell.
pub(super) fn completions(args: &args::Completions) -> String {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "pghost", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The manual: of pghost, or of one of its commands.
pub(super) fn man(args: &args::Man) -> Result<String, Failure> {
    let mut whole = Args::command();
    whole.build();
    let page = match &args.command {
        None => Man::new(whole),
        Some(name) => {
            let Some(command) = whole.find_subcommand(name) else {
                return Err(Failure::refused(
                    "there is no such command",
                    format!("name one of {}", names(&whole).join(", ")),
                ));
            };
            // As man(1) finds it.
            Man::new(command.clone()).title(format!("pghost-{}", command.get_name()))
        }
    };
    let mut bytes = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = page.render(&mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn names(whole: &Command) -> Vec<String> {
    let names = whole.get_subcommands().map(|command| command.get_name().to_owned());
    names.filter(|name| name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_all_its_options() {
        let mut whole = Args::command();
        whole.build();
        for name in names(&whole) {
            let page = man(&args::Man { command: Some(name.clone()) }).unwrap();
            let command = whole.find_subcommand(&name).unwrap();
            for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                let spelled = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(page.contains(&spelled), "{name}: no {spelled}");
            }
        }
        let page = man(&args::Man { command: None }).unwrap();
        assert!(page.contains(".TH pghost 1"), "{page}");
        for name in names(&whole) {
            let spelled = format!("pghost\\-{}", name.replace('-', "\\-"));
            assert!(page.contains(&spelled), "no {spelled}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_has_no_page() {
        let failure = man(&args::Man { command: Some("nonsense".into()) }).unwrap_err();
        assert!(failure.hint.contains("check, migrate"), "{failure}");
    }
}
