//! The command line as a whole.

use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn a_connection_string_is_not_shown_by_debug() {
    let line = ["pghost", "migrate", "--source", "host=h password=hunter2"];
    let args = Args::try_parse_from(line).unwrap();
    assert!(!format!("{args:?}").contains("hunter2"), "{args:?}");
}

#[test]
fn global_options_may_stand_on_either_side_of_the_command() {
    for line in [["pghost", "--progress", "json", "demo"], ["pghost", "demo", "--progress", "json"]]
    {
        let args = Args::try_parse_from(line).unwrap();
        assert_eq!(args.progress, Progress::Json);
    }
}
