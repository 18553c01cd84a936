//! Runs as they must be, and runs with a mistake.

use super::{
    mistake::Mistake,
    run::{run, story},
};

#[test]
fn every_run_ends_equal() {
    for seed in 0..3000 {
        if let Err(failure) = run(seed, None) {
            let story = story(seed, None);
            panic!("seed {seed}: {failure:?}\n{}", story.join("\n"));
        }
    }
}

#[test]
fn zz_stats() {
    let mut total: Vec<super::world::Seen> = Vec::new();
    for seed in 0..1000 {
        total.push(run(seed, None).unwrap());
    }
    macro_rules! sum { ($($f:ident),*) => { $( println!("{} {} runs {}", stringify!($f), total.iter().map(|s| s.$f as u64).sum::<u64>(), total.iter().filter(|s| s.$f > 0).count()); )* } }
    sum!(
        transactions,
        changes,
        crashes,
        source_crashes,
        hidden_changes,
        fetched,
        fetched_none,
        raised,
        moved,
        moved_lax,
        truncates,
        parts,
        ahead,
        exact,
        skipped
    );
}

#[test]
fn zz_mistakes() {
    use Mistake::*;
    for m in [CheckpointFromFlush, UnflushedPage] {
        let mut first = None;
        let mut kinds = std::collections::BTreeMap::new();
        for seed in 0..1000 {
            if let Err(f) = run(seed, Some(m)) {
                first.get_or_insert(seed);
                let k = format!("{f:?}");
                let k = k.split('(').next().unwrap().to_owned();
                *kinds.entry(k).or_insert(0) += 1;
            }
        }
        println!("{m:?} first {first:?} {kinds:?}");
    }
}
