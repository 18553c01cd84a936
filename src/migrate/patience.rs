//! How long a run waits for a server, and how often it knocks.
//!
//! Pure: the time and the randomness are handed in. What a run has got done is `headway`'s to say.

use std::time::{Duration, Instant};

use super::headway::Headway;

/// The first pause, which doubles with each try.
const FIRST: Duration = Duration::from_millis(250);
/// The longest: somebody who has just started a server should not wait for us much longer.
const LONGEST: Duration = Duration::from_secs(10);
/// How often in a row patience is renewed by what the next attempt has to do over again. A large
/// transaction over a bad line may need some; a fault that always comes back must come to its end.
const RENEWALS_MAX: u32 = 3;

/// How much patience is left.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When the trouble began, and how often it has been tried since.
    trouble: Option<(Instant, u32)>,
    /// How often it was renewed since something was made that stays.
    renewed: u32,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// How long the trouble lasts already.
    pub(super) waited: Duration,
    /// How long until the next try.
    pub(super) pause: Duration,
}

impl Patience {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, trouble: None, renewed: 0 }
    }

    /// It has failed once more. `headway` is what was done since the failure before: with any, the
    /// trouble is a new one. `jitter` is between 0 and 1, so that many who were cut off at once do
    /// not come back at once.
    ///
    /// `None` if there is no patience left.
    pub(super) fn failed(&mut self, now: Instant, headway: Headway, jitter: f64) -> Option<Pause> {
        let well = match headway {
            Headway::None => false,
            Headway::Passing => {
                self.renewed += 1;
                self.renewed <= RENEWALS_MAX
            }
            Headway::Lasting => {
                self.renewed = 0;
                true
            }
        };
        let (since, tries) = match self.trouble {
            Some(trouble) if !well => trouble,
            _ => (now, 0),
        };
        self.trouble = Some((since, tries.saturating_add(1)));
        let waited = now.saturating_duration_since(since);
        let left = self.limit.saturating_sub(waited);
        if left.is_zero() {
            return None;
        }
        let pause = FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST);
        let pause = pause.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        // The last try is when the time is over, not long before.
        Some(Pause { waited, pause: pause.min(left) })
    }

    /// How long the trouble lasts already.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.trouble.map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_and_the_last_one_ends_with_the_limit() {
        let (mut patience, start) = (Patience::new(60 * SECOND), Instant::now());
        let (mut now, mut pauses) = (start, Vec::new());
        while let Some(pause) = patience.failed(now, Headway::None, 1.0) {
            assert_eq!(pause.waited, now - start);
            pauses.push(pause.pause);
            now += pause.pause;
        }
        assert_eq!(now - start, 60 * SECOND);
        let begin = [250, 500, 1000, 2000, 4000, 8000, 10_000].map(Duration::from_millis);
        assert_eq!(pauses[..7], begin);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST && !pause.is_zero()));
    }

    #[test]
    fn jitter_halves_at_most() {
        let pause = |jitter| {
            let mut patience = Patience::new(SECOND);
            patience.failed(Instant::now(), Headway::None, jitter).map(|p| p.pause)
        };
        assert_eq!(pause(0.0), Some(FIRST / 2));
        assert_eq!(pause(1.0), Some(FIRST));
        assert_eq!(pause(7.0), Some(FIRST));
    }

    #[test]
    fn what_moves_forward_gives_new_patience() {
        let (mut patience, start) = (Patience::new(10 * SECOND), Instant::now());
        for times in 0..100 {
            let pause = patience.failed(start + 9 * SECOND * times, Headway::Lasting, 1.0).unwrap();
            assert_eq!((pause.waited, pause.pause), (Duration::ZERO, FIRST));
        }
        let last = start + 9 * SECOND * 99;
        assert!(patience.failed(last + 9 * SECOND, Headway::None, 1.0).is_some());
        assert!(patience.failed(last + 10 * SECOND, Headway::None, 1.0).is_none());
        assert_eq!(patience.waited(last + 10 * SECOND), 10 * SECOND);
    }

    #[test]
    fn no_patience_is_none() {
        let mut patience = Patience::new(Duration::ZERO);
        assert_eq!(patience.failed(Instant::now(), Headway::Lasting, 1.0), None);
    }

    /// How many failures are outlived that come later than the limit allows, each after this.
    fn late_failures(headway: Headway) -> usize {
        let (mut patience, start) = (Patience::new(10 * SECOND), Instant::now());
        let late = |times| start + 11 * SECOND * times;
        (0..50).take_while(|n| patience.failed(late(*n), headway, 1.0).is_some()).count()
    }

    #[test]
    fn a_fault_that_always_comes_back_comes_to_its_end() {
        // The first one is new whatever was done before it.
        assert_eq!(late_failures(Headway::None), 1);
        assert_eq!(late_failures(Headway::Passing), RENEWALS_MAX as usize);
        assert_eq!(late_failures(Headway::Lasting), 50);
    }

    #[test]
    fn what_stays_gives_back_what_was_used_up() {
        let (mut patience, start) = (Patience::new(10 * SECOND), Instant::now());
        for times in 0..40 {
            let headway = if times % 4 == 3 { Headway::Lasting } else { Headway::Passing };
            assert!(patience.failed(start + 11 * SECOND * times, headway, 1.0).is_some());
        }
    }
}
