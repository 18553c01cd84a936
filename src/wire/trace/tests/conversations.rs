//! Whole conversations, recorded from PostgreSQL 15.
//!
//! `golden/*.hex` hold the bytes, a line for each turn. `golden/*.trace` is what libpq 15 itself
//! wrote about them with `PQtrace`, except where that says less: it leaves CopyData out, and
//! starts after the startup phase.

use super::{super::Trace, started};

/// Renders a recording, turn by turn.
fn rendered(mut trace: Trace, recording: &str) -> String {
    let mut text = String::new();
    for turn in recording.lines() {
        let (side, hex) = turn.split_at(2);
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let mut line = |line: &str| text.extend([line, "\n"]);
        let taken = match (side, &bytes[..]) {
            ("F ", bytes) => trace.sent(bytes, &mut line),
            (_, [answer]) => {
                line(&trace.ssl_response(*answer));
                1
            }
            (_, bytes) => trace.received(bytes, &mut line),
        };
        assert_eq!(taken, bytes.len());
    }
    text
}

macro_rules! conversation {
    ($name:ident) => {
        #[test]
        fn $name() {
            let recording = include_str!(concat!("../golden/", stringify!($name), ".hex"));
            let golden = include_str!(concat!("../golden/", stringify!($name), ".trace"));
            assert_eq!(rendered(started(&[]), recording), golden);
        }
    };
}

conversation!(copy_in);
conversation!(copy_out);
conversation!(extended_query);
conversation!(failed_query);
conversation!(replication);
conversation!(simple_query);

#[test]
fn startup() {
    let (recording, golden) =
        (include_str!("../golden/startup.hex"), include_str!("../golden/startup.trace"));
    assert_eq!(rendered(Trace::new(Vec::new()), recording), golden);
}
