//! Any valid interleaving comes out as the plain order.

use proptest::prelude::*;

use crate::replication::transaction::{
    Limits,
    simulated::{self, Choices, Step},
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_comes_out_in_the_order_of_commits(
        limits in prop::collection::vec(any::<u8>(), 2),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let script = simulated::script(Choices(&bytes));
        let limits = Choices(&limits).limits();
        let out = simulated::assemble(&script, limits);
        prop_assert_eq!(out.map_err(|error| error.to_string()), Ok(script.plain));
    }

    #[test]
    fn any_messages_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        simulated::torment(Choices(&bytes));
    }
}

/// What a generator never makes is never tested: each thing must occur, and often.
#[test]
fn the_simulated_server_does_everything() {
    let mut seen = [0_usize; 256];
    let mut reconnects = 0;
    let mut state = 1_u32;
    for _ in 0..200 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(600)
        .collect();
        let script = simulated::script(Choices(&bytes));
        for step in &script.steps {
            match step {
                Step::Message(payload) => seen[usize::from(payload[0])] += 1,
                Step::Reconnect => reconnects += 1,
            }
        }
        assert_eq!(simulated::assemble(&script, Limits::default()).unwrap(), script.plain);
    }
    for tag in b"BCORYIUDTMSEcAbPKrp" {
        let times = seen[usize::from(*tag)];
        assert!(times >= 50, "{}: {times}", char::from(*tag));
    }
    assert!(reconnects >= 50);
}
