//! Which test provokes which line of the table of verdicts: a line without one is found here.

use std::{fs, path::Path};

use pghost::migrate::verdict::{
    Place::{self, Anywhere, Slot},
    RULES,
    Sign::{self, State},
};

/// A server's codes are raised one after the other, wherever they may come from.
const EVERY_CODE: &str = "fault::every_code::every_code_has_the_verdict_that_the_table_says";

const TAKEN_AWAY: &str =
    "fault::errors_by_cause::what_is_taken_away_or_too_narrow_stops_the_run_until_it_is_mended";

/// The others, each by its module and name.
const PROVOKED: &[(Sign, Place, &str)] = &[
    (
        State("42704"),
        Slot,
        "fault::verdicts_by_cause::a_slot_that_is_dropped_before_it_is_read_cannot_be_made_good",
    ),
    (State("55000"), Slot, "fault::verdicts_by_cause::a_slot_that_is_of_another_kind_is_not_ours"),
    (
        State("55006"),
        Slot,
        "fault::verdicts_by_cause::a_slot_that_another_session_reads_is_waited_for",
    ),
    (
        State("3D000"),
        Anywhere,
        "fault::verdicts_by_cause::a_database_that_is_dropped_in_mid_run_stops_it",
    ),
    // Codes by their genuine causes.
    (
        State("57P01"),
        Anywhere,
        "fault::sessions_ended::sessions_that_somebody_ends_or_cancels_are_opened_again",
    ),
    (
        State("57014"),
        Anywhere,
        "fault::sessions_ended::sessions_that_somebody_ends_or_cancels_are_opened_again",
    ),
    (State("57P02"), Anywhere, "fault::sessions_ended::a_server_process_that_dies_is_outlived"),
    (
        State("57P04"),
        Anywhere,
        "copy::standby::words_cross_bounds_and_the_database_goes_while_pages_come_from_the_standby",
    ),
    (State("40"), Anywhere, "fault::locks::a_deadlock_is_tried_again"),
    (State("55P03"), Anywhere, "fault::locks::a_lock_timeout_is_waited_out"),
    (
        State("53100"),
        Anywhere,
        "fault::disk_full::a_disk_that_is_full_in_the_backfill_stops_the_run_and_room_mends_it",
    ),
    (
        State("53200"),
        Anywhere,
        "fault::refused_sessions::a_server_that_turns_the_run_away_stops_it_or_is_waited_for",
    ),
    (
        State("53"),
        Anywhere,
        "fault::errors_by_cause::an_index_that_cannot_be_built_stops_the_run_until_it_can",
    ),
    (State("42501"), Anywhere, TAKEN_AWAY),
    (State("22"), Anywhere, TAKEN_AWAY),
    (State("23"), Anywhere, TAKEN_AWAY),
    (State("42"), Anywhere, TAKEN_AWAY),
    (State("53300"), Anywhere, "fault::verdicts::too_many_connections_are_waited_out"),
    (
        State("25006"),
        Anywhere,
        "fault::verdicts::a_target_that_is_read_only_after_a_failover_is_waited_for",
    ),
    (State("28"), Anywhere, "fault::verdicts::a_login_that_fails_in_mid_run_stops_it"),
    (Sign::Unreachable, Anywhere, "fault::restarts::a_run_outlives_fast_restarts_of_either_server"),
    (Sign::Lost, Anywhere, "fault::restarts::a_run_outlives_crashes_of_either_server"),
    (Sign::Silent, Anywhere, "fault::stalls::a_page_that_stands_still_does_not_hold_its_snapshot"),
    (
        Sign::NotShown,
        Anywhere,
        "fault::verdicts_by_cause::a_commit_that_the_source_does_not_show_is_waited_for",
    ),
    (Sign::Login, Anywhere, "fault::verdicts::a_login_that_fails_on_our_side_in_mid_run_stops_it"),
    (
        Sign::Garbled,
        Anywhere,
        "fault::verdicts_by_cause::what_was_damaged_on_the_way_stops_the_run",
    ),
    (
        Sign::Counts,
        Anywhere,
        "fault::verdicts_by_cause::a_trigger_that_keeps_rows_away_stops_the_run",
    ),
    (
        Sign::Diverged,
        Anywhere,
        "fault::verdicts_by_cause::a_target_that_somebody_else_writes_to_stops_the_run",
    ),
    (
        Sign::Gap,
        Anywhere,
        "check::ledger::gaps::a_table_is_not_whole_while_its_pages_leave_keys_out",
    ),
    (
        Sign::Emptied,
        Anywhere,
        "fault::changed_between_runs::a_target_that_was_emptied_or_made_again_is_recognised",
    ),
    (
        Sign::SearchPath,
        Anywhere,
        "check::foreign_keys::a_function_that_finds_others_by_the_search_path_is_named",
    ),
    (
        Sign::Reshaped,
        Anywhere,
        "fault::verdicts_by_cause::a_trigger_that_keeps_rows_away_stops_the_run",
    ),
    (Sign::Altered, Anywhere, "run::state::a_table_that_was_altered_ends_the_migration"),
    (Sign::Slot, Slot, "fault::slot_watch::a_slot_that_is_dropped_ends_the_backfill_at_once"),
    (
        Sign::OtherServer,
        Anywhere,
        "fault::ledger_identity::what_the_state_does_not_belong_to_is_recognised",
    ),
    (
        Sign::Ledger,
        Anywhere,
        "fault::ledger_identity::what_the_state_does_not_belong_to_is_recognised",
    ),
    (
        Sign::AtFirst,
        Anywhere,
        "fault::verdicts_by_cause::what_fails_before_anything_was_made_is_refused",
    ),
    (Sign::Other, Anywhere, EVERY_CODE),
];

#[test]
fn every_line_of_the_table_of_verdicts_is_provoked() {
    for rule in RULES {
        let by_code = rule.place == Anywhere && matches!(rule.sign, State(_));
        let own =
            PROVOKED.iter().any(|(sign, place, _)| (rule.sign, rule.place) == (*sign, *place));
        assert!(by_code || own, "nothing provokes {rule:?}");
    }
    for (sign, place, test) in PROVOKED.iter().chain([&(State("57P01"), Anywhere, EVERY_CODE)]) {
        assert!(RULES.iter().any(|rule| (rule.sign, rule.place) == (*sign, *place)), "{sign:?}");
        let (module, name) = test.rsplit_once("::").unwrap();
        let module = module.replace("::", "/");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("]\nasync fn {name}() {{")), "there is no test {test}");
    }
}
