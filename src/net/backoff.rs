//! Growing pauses between tries.

use std::time::Duration;

/// `min(max, base * factor^n)`, plus or minus a share of it at random. The random source is its own and begins at a
/// seed, so a run can be repeated.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    factor: f64,
    max: Duration,
    jitter: f64,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// `jitter` 0.2 means ± 20 %.
    pub fn new(base: Duration, factor: f64, max: Duration, jitter: f64, seed: u64) -> Backoff {
        Backoff { base, factor, max, jitter, tries: 0, random: seed }
    }

    /// How long to wait after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        // The exponent is bounded, so the power is finite for every sensible factor.
        let grown = self.base.as_secs_f64() * self.factor.powi(self.tries.min(64) as i32);
        self.tries = self.tries.saturating_add(1);
        let share = 1.0 + self.jitter * (2.0 * self.random() - 1.0);
        Duration::from_secs_f64(grown.min(self.max.as_secs_f64()) * share)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Splitmix64, as a number in 0..1.
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: f64, seed: u64) -> Backoff {
        Backoff::new(Duration::from_secs(1), 1.8, Duration::from_secs(30), jitter, seed)
    }

    #[test]
    fn pauses_grow_to_the_maximum_and_begin_anew_after_a_success() {
        let mut b = backoff(0.0, 1);
        let pauses: Vec<_> = (0..8).map(|_| b.next_pause().as_millis()).collect();
        assert_eq!(pauses, [1000, 1800, 3240, 5832, 10497, 18895, 30000, 30000]);
        for _ in 0..1000 {
            assert_eq!(b.next_pause(), Duration::from_secs(30));
        }
        b.reset();
        assert_eq!(b.next_pause(), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_its_share_uses_all_of_it_and_repeats_with_its_seed() {
        let firsts = |seed| {
            let mut b = backoff(0.2, seed);
            (0..1000)
                .map(|_| {
                    b.reset();
                    b.next_pause().as_secs_f64()
                })
                .collect::<Vec<_>>()
        };
        let (a, b) = (firsts(7), firsts(8));
        assert!(a.iter().all(|p| (0.8..=1.2).contains(p)));
        assert!(a.iter().any(|p| *p < 0.85) && a.iter().any(|p| *p > 1.15));
        assert_ne!(a, b);
        assert_eq!(a, firsts(7));
    }
}
