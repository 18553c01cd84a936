//! The journey: publication, slot, pages, checkpoint, catch-up, following; interrupted anywhere.

use std::rc::Rc;

use super::{
    Failure, Outcome, Row,
    applier::Applier,
    check,
    lanes::Lanes,
    mistake::Mistake,
    target::PageId,
    world::{Seen, World},
};
use crate::pg::Lsn;

/// No run needs as many.
const EVENTS_MAX: usize = 20_000;

/// Keys are digits behind a letter; each page but the last has this many.
const PAGE_KEYS: usize = 2;
const PAGES: usize = 3;

/// A page that was read and is not committed yet.
#[derive(Debug)]
struct InHand {
    id: PageId,
    rows: Vec<(String, Rc<Row>)>,
    lsn: Lsn,
}

/// Which page a key lies in.
fn page_number(key: &str) -> usize {
    let number: usize = key.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or_default();
    (number / PAGE_KEYS).min(PAGES - 1)
}

/// The position of the page that has this key.
pub(super) fn page_of(world: &World, table: usize, key: &str) -> Option<Lsn> {
    world.target.ledger.pages.get(&(table, page_number(key))).copied()
}

/// A whole run. Gives what happened in it, or why it failed.
pub(super) fn run(seed: u64, mistake: Option<Mistake>) -> Outcome<Seen> {
    let mut world = World::new(seed, mistake, false);
    journey(&mut world)?;
    Ok(world.seen)
}

/// The same run as lines for a person, the failure last.
pub(super) fn story(seed: u64, mistake: Option<Mistake>) -> Vec<String> {
    let mut world = World::new(seed, mistake, true);
    let outcome = journey(&mut world);
    world.note(|| format!("{outcome:?}"));
    world.history.unwrap_or_default()
}

fn journey(world: &mut World) -> Outcome<()> {
    steps(world, 12);
    if world.makes(Mistake::SlotBeforePublication) {
        world.source.make_slot();
        steps(world, 4);
        world.source.make_publication();
    } else {
        world.source.make_publication();
        steps(world, 4);
        world.source.make_slot();
    }
    world.target.ledger.applied = world.source.slot.start;
    steps(world, 6);
    backfill(world)?;
    if world.makes(Mistake::SlotAfterPages) {
        steps(world, 4);
        world.source.make_slot();
        world.target.ledger.applied = world.source.slot.start;
    }
    let most = world.busy * 10;
    steps(world, most);
    if world.target.ledger.checkpoint.is_none() {
        let flushed = world.source.flushed;
        let checkpoint = world.source.take_checkpoint();
        let by_mistake = world.makes(Mistake::CheckpointFromFlush).then_some(flushed);
        world.target.ledger.checkpoint = by_mistake.or(Some(checkpoint));
    }
    world.note(|| "the pages are copied".into());
    follow(world)?;
    check::equal(world, world.source.insert)?;
    world.seen.transactions = world.source.log.len() as u64;
    if world.mistake.is_none_or(|mistake| mistake == Mistake::CountsApart) {
        check::counted(world)?;
    }
    world.seen.changes = world.target.ledger.counts.iter().map(|counts| counts.total()).sum();
    world.seen.skipped = world.target.ledger.skipped;
    Ok(())
}

/// The source goes on for a while.
fn steps(world: &mut World, most: usize) {
    for _ in 0..world.rng.usize(..=most) {
        world.source.step();
    }
}

/// Copies all pages, several at a time and in any order.
fn backfill(world: &mut World) -> Outcome<()> {
    let tables = world.source.migrated();
    let mut hand: Vec<InHand> = Vec::new();
    while world.target.ledger.pages.len() < tables * PAGES {
        let most = world.busy;
        steps(world, most);
        match world.rng.u8(..100) {
            0..4 => {
                world.note(|| "crash".into());
                world.seen.crashes += 1;
                hand.clear();
            }
            4..7 => {
                source_crashes(world);
                if world.makes(Mistake::HalfPage) {
                    for mut page in hand.drain(..) {
                        page.rows.truncate(page.rows.len() / 2);
                        commit_page(world, &page)?;
                    }
                }
                hand.clear();
            }
            7..55 => {
                let id = (world.rng.usize(..tables), world.rng.usize(..PAGES));
                let is_done = world.target.ledger.pages.contains_key(&id);
                let is_locked = world.source.is_locked(None, id.0);
                if !is_done && !is_locked && hand.iter().all(|page| page.id != id) {
                    hand.push(read_page(world, id));
                }
            }
            _ if hand.is_empty() => {}
            _ => {
                let at = world.rng.usize(..hand.len());
                let flushed = world.source.flushed >= hand[at].lsn;
                let unflushed = [Mistake::UnflushedPage, Mistake::CheckpointFromFlush];
                if flushed || unflushed.iter().any(|mistake| world.makes(*mistake)) {
                    commit_page(world, &hand.remove(at))?;
                }
            }
        }
        let left = tables * PAGES - world.target.ledger.pages.len();
        if left == 1 && world.makes(Mistake::CheckpointBeforeLastPage) {
            let checkpoint = world.source.take_checkpoint();
            world.target.ledger.checkpoint.get_or_insert(checkpoint);
        }
    }
    Ok(())
}

fn read_page(world: &mut World, id: PageId) -> InHand {
    let (table, number) = id;
    let lsn = world.source.insert;
    let rows = world.source.visible[table].iter();
    let rows: Vec<_> = rows
        .filter(|(key, _)| page_number(key) == number)
        .map(|(key, row)| (key.clone(), row.clone()))
        .collect();
    world.note(|| format!("page {id:?} read at {lsn}: {rows:?}"));
    InHand { id, rows, lsn }
}

fn commit_page(world: &mut World, page: &InHand) -> Outcome<()> {
    world.note(|| format!("page {:?} committed", page.id));
    world.target.copy(page.id.0, &page.rows)?;
    if world.makes(Mistake::LineAfterPage) && world.chance(10) {
        world.note(|| "crash".into());
        return Ok(());
    }
    world.target.ledger.pages.insert(page.id, page.lsn);
    Ok(())
}

fn source_crashes(world: &mut World) {
    let flushed = world.source.flushed;
    world.note(|| format!("the source crashes, flushed to {flushed}"));
    world.seen.source_crashes += 1;
    world.source.crash();
}

/// Up to where changes are written one at a time: `Careful` of `apply::run`.
#[derive(Debug, Default)]
struct Careful {
    until: Lsn,
    bytes: u64,
}

impl Careful {
    fn widen(&mut self, received: Lsn) -> bool {
        if received <= self.until {
            return false;
        }
        self.until = Lsn(received.0 + self.bytes);
        self.bytes = (self.bytes * 2).clamp(64, 1024);
        true
    }
}

/// Applies until the source has come to rest and the target has all of it.
fn follow(world: &mut World) -> Outcome<()> {
    let mut applier = Applier::start(world, Lsn::INVALID);
    let mut careful = Careful::default();
    // Lanes of former runs that are not at their end, by mistake.
    let mut lingering: Vec<Lanes> = Vec::new();
    let mut steps_left = world.rng.usize(..=120);
    if world.chance(30) {
        // The source comes to rest before the catch-up.
        world.source.settle();
        steps_left = 0;
    }
    world.crashes_left = world.rng.usize(..=10);
    for _ in 0..EVENTS_MAX {
        lingering.retain_mut(|lanes| lanes.advance_any(world).is_ok());
        let done = match event(world, &mut applier, &mut steps_left) {
            Ok(Next::Go) => continue,
            Ok(Next::Done) => return Ok(()),
            Ok(Next::Crash) => {
                careful = Careful::default();
                Ok(())
            }
            Err(Failure::Conflict(_)) if careful.widen(applier.conflicts_until(world)) => {
                world.seen.conflicts += 1;
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        done?;
        world.note(|| format!("once more, carefully up to {}", careful.until));
        world.seen.ahead += u64::from(applier.lanes.is_ahead());
        if world.makes(Mistake::WritersLinger) {
            lingering.push(std::mem::replace(&mut applier.lanes, Lanes::new(1, false)));
        } else {
            applier.lanes.abandon(world)?;
        }
        applier = Applier::start(world, careful.until);
    }
    Err(Failure::Endless)
}

enum Next {
    Go,
    /// The run is over, and another one begins.
    Crash,
    Done,
}

/// Something happens.
fn event(world: &mut World, applier: &mut Applier, steps_left: &mut usize) -> Outcome<Next> {
    match world.rng.u8(..120) {
        0..30 if *steps_left > 0 => {
            *steps_left -= 1;
            world.source.step();
            if *steps_left == 0 {
                world.source.settle();
            }
        }
        30..78 if !applier.is_stopping() => applier.receive(world)?,
        78..91 => applier.advance(world)?,
        91..95 => applier.hand_over(world)?,
        100..115 if world.hasty => applier.hand_over(world)?,
        95 if world.may_crash() => {
            world.note(|| "crash".into());
            world.seen.crashes += 1;
            return Ok(Next::Crash);
        }
        96 if world.may_crash() => {
            world.note(|| "the target crashes".into());
            world.seen.target_crashes += 1;
            world.target.crash(&mut world.rng);
            applier.lanes.are_gone();
            return Ok(Next::Crash);
        }
        97 if *steps_left > 0 && world.may_crash() => {
            source_crashes(world);
            return Ok(Next::Crash);
        }
        98 | 118.. => applier.acknowledge(world),
        99 if world.rng.bool() => world.source.slot.saved = world.source.slot.confirmed,
        97 if applier.stop.is_none() => {
            // As a run is asked to stop that begins when the checkpoint is passed.
            let stop = world.source.take_checkpoint();
            applier.stop = Some(stop).filter(|_| applier.lanes.is_strict());
        }
        115..118 if applier.is_in_the_middle() && world.may_crash() => {
            world.note(|| "crash".into());
            world.seen.crashes += 1;
            return Ok(Next::Crash);
        }
        _ => {}
    }
    if applier.is_stopping() {
        applier.drain(world)?;
        world.seen.stops += 1;
        return Ok(Next::Crash);
    }
    if *steps_left == 0 && applier.has_taken(world.source.insert) {
        applier.hand_over(world)?;
        applier.drain(world)?;
        if applier.lanes.is_strict() && world.target.ledger.applied >= world.source.insert {
            return Ok(Next::Done);
        }
    }
    Ok(Next::Go)
}
