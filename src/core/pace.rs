//! How often a platform may be called: token buckets as pure state.

use crate::message::Mono;
use crate::rules::Rate;

/// What was sent lately. Of each rate the moment at which everything sent so far is paid for.
#[derive(Debug, Default)]
pub struct Spent(Vec<Mono>);

impl Spent {
    /// When the next one may go.
    pub fn next(&self, rates: &[Rate]) -> Mono {
        let free = |(rate, paid): (&Rate, &Mono)| paid.saturating_sub(rate.every * rate.burst.saturating_sub(1));
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
        let rates = [Rate { every: 1000, burst: 3 }];
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
    fn every_rate_counts() {
        let rates = [Rate { every: 1000, burst: 1 }, Rate { every: 3000, burst: 2 }];
        let mut spent = Spent::default();
        spent.spend(&rates, 10_000);
        assert_eq!(spent.next(&rates), 11_000);
        spent.spend(&rates, 11_000);
        assert_eq!(spent.next(&rates), 13_000);
    }
}
