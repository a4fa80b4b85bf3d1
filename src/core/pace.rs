//! How often a platform may be called: token buckets as pure state.

use crate::message::Mono;
use crate::rules::Rate;

/// What was sent lately. Of each rate the moment at which everything sent so far is paid for.
#[derive(Debug, Default)]
pub struct Spent(Vec<Mono>);

impl Spent {
    /// When the next one may go.
    pub fn next(&self, rates: &[Rate]) -> Mono {
        self.free(rates, |rate| rate.burst)
    }

    /// When the next one may go that is worth less than what the kept ones are for.
    pub fn next_passing(&self, rates: &[Rate]) -> Mono {
        self.free(rates, |rate| rate.burst.saturating_sub(rate.kept))
    }

    fn free(&self, rates: &[Rate], burst: impl Fn(&Rate) -> u64) -> Mono {
        let free = |(rate, paid): (&Rate, &Mono)| paid.saturating_sub(rate.every * burst(rate).saturating_sub(1));
        rates.iter().zip(&self.0).map(free).max().unwrap_or(0)
    }

    pub fn spend(&mut self, rates: &[Rate], now: Mono) {
        self.0.resize(rates.len(), 0);
        for (rate, paid) in rates.iter().zip(&mut self.0) {
            *paid = now.max(*paid) + rate.every;
        }
    }

    /// Everything is paid for: nothing to remember.
    pub fn over(&self, now: Mono) -> Option<Mono> {
        self.0.iter().copied().max().filter(|paid| *paid > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let rates = [Rate { every: 1000, burst: 3, kept: 0 }];
        let mut spent = Spent::default();
        for _ in 0..3 {
            assert!(spent.next(&rates) <= 5_000);
            spent.spend(&rates, 5_000);
        }
        assert_eq!(spent.next(&rates), 6_000);
        spent.spend(&rates, 6_000);
        assert_eq!(spent.next(&rates), 7_000);
        assert!(spent.over(8_999).is_some() && spent.over(9_000).is_none());
    }

    #[test]
    fn what_passes_by_leaves_the_kept_ones_and_a_minute_has_no_more_than_its_share() {
        let rates = [Rate { every: 4_000, burst: 5, kept: 4 }];
        let (mut spent, mut now, mut passed) = (Spent::default(), 100_000, 0);
        while now < 160_000 {
            if spent.next_passing(&rates) <= now {
                spent.spend(&rates, now);
                passed += 1;
            }
            assert!(spent.next(&rates) <= now, "an answer could go at any time");
            now += 100;
        }
        assert_eq!(passed, 15);
        for _ in 0..5 {
            assert!(spent.next(&rates) <= now);
            spent.spend(&rates, now);
        }
        assert!(spent.next(&rates) > now && spent.next_passing(&rates) >= now + 16_000);
    }

    #[test]
    fn every_rate_counts() {
        let rates = [Rate { every: 1000, burst: 1, kept: 0 }, Rate { every: 3000, burst: 2, kept: 0 }];
        let mut spent = Spent::default();
        spent.spend(&rates, 10_000);
        assert_eq!(spent.next(&rates), 11_000);
        spent.spend(&rates, 11_000);
        assert_eq!(spent.next(&rates), 13_000);
    }
}
