//! Connection settings, read by pghost and by libpq itself: the same string, environment and files
//! through `psql` and through [`Config::parse`](pghost::config::Config::parse), to the same server.
//!
//! Both must get the same session, or be refused for the same reason and warn of the same files.
//! Where pghost means to differ, a case says why; one that no longer differs fails. What is newer
//! than the libpq of this machine is left out. Without a `psql` nothing is compared: a loud skip,
//! and a failure where `CI` is set.
//!
//! `{sock}`, `{port}` and the like in a case are filled in from the stage, see [`stage::Stage`].

mod case;
mod environment;
mod hosts;
mod key_value;
mod ours;
mod outcome;
mod passwords;
mod psql;
mod services;
mod stage;
mod uri;
mod values;

use std::collections::HashSet;

use self::{
    case::{Case, Expected, Need},
    outcome::Outcome,
    stage::{Inputs, Stage},
};

/// Runs every case both ways, and panics with all that went wrong.
fn compare(cases: &[Case]) {
    let Some(stage) = Stage::get() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut wrong = Vec::new();
    let mut left_out = Vec::new();
    for case in cases {
        if let Some(why) = stage.lacks(case) {
            left_out.push(format!("{}: {why}", case.name));
            continue;
        }
        let inputs = stage.inputs(case);
        let theirs = stage.psql.run(&inputs);
        let ours = runtime.block_on(ours::run(&inputs, &stage.os_user));
        if let Some(problem) = judge(case, &inputs, &theirs, &ours) {
            wrong.push(format!(
                "{}: {problem}\n  settings: {}\n  libpq:    {theirs}\n  pghost:   {ours}",
                case.name, inputs.dsn
            ));
        }
    }
    if !left_out.is_empty() {
        eprintln!("\n=== SKIPPED: {} cases ===\n{}\n", left_out.len(), left_out.join("\n"));
    }
    let all = cases.len();
    assert!(wrong.is_empty(), "{} of {all} cases:\n\n{}\n", wrong.len(), wrong.join("\n\n"));
}

/// What is wrong with a case, if anything is.
fn judge(case: &Case, inputs: &Inputs, theirs: &Outcome, ours: &Outcome) -> Option<String> {
    let as_expected = match (&case.expected, &theirs.end) {
        (Expected::Session(_), Ok(answer)) => {
            inputs.answer.split('|').all(|word| answer.lines().any(|line| line == word))
        }
        (Expected::Refusal(refusal), Err(refused)) => refusal == refused,
        _ => false,
    };
    if !as_expected {
        return Some(format!("libpq does not do what the case says: {:?}", case.expected));
    }
    match (case.diverges, theirs == ours) {
        (None, false) => Some("they differ".to_owned()),
        (Some(why), true) => Some(format!("they no longer differ; declared: {why}")),
        _ => None,
    }
}

/// No two cases of a table have the same name, and every difference has its sentence.
fn check_table(cases: &[Case]) {
    let mut names = HashSet::new();
    for case in cases {
        assert!(names.insert(case.name), "two cases are called {:?}", case.name);
    }
    assert!(cases.iter().all(|case| case.diverges.is_none_or(|why| why.len() > 20)));
}

macro_rules! tables {
    ($($table:ident => $test:ident),+ $(,)?) => {$(
        #[test]
        fn $test() {
            let cases = $table::cases();
            check_table(&cases);
            compare(&cases);
        }
    )+};
}

tables! {
    environment => the_environment_is_read_as_libpq_reads_it,
    hosts => hosts_ports_and_addresses_are_tried_as_libpq_tries_them,
    key_value => key_value_strings_are_read_as_libpq_reads_them,
    passwords => passwords_are_found_where_libpq_finds_them,
    services => services_are_looked_up_as_libpq_looks_them_up,
    uri => uris_are_read_as_libpq_reads_them,
    values => values_are_taken_and_refused_as_libpq_does,
}
