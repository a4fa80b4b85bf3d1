//! What `/api/metrics` tells of the past (1.3). Samples are taken when somebody asks, not by a timer: an idle
//! gateway does not wake for figures that nobody reads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Samples kept, and their least distance.
const KEPT: usize = 360;
const APART: Duration = Duration::from_secs(10);
/// Messages are counted over about that time.
const SPAN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    samples: VecDeque<Value>,
    last: Option<Instant>,
    /// Messages accepted since the start, at moments a second or more apart.
    accepted: VecDeque<(Instant, u64)>,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds a sample if the last one is old enough; all of them, oldest first, this one included.
    pub fn put(&self, sample: Value) -> Vec<Value> {
        let mut h = self.lock();
        let mut all: Vec<Value> = h.samples.iter().cloned().collect();
        all.push(sample.clone());
        if h.last.is_none_or(|at| at.elapsed() >= APART) {
            h.last = Some(Instant::now());
            h.samples.push_back(sample);
            if h.samples.len() > KEPT {
                h.samples.pop_front();
            }
        }
        all
    }

    pub fn accepted(&self, count: u64) {
        self.counted(Instant::now(), count);
    }

    fn counted(&self, now: Instant, count: u64) {
        let mut h = self.lock();
        h.accepted.push_back((now, count));
        // One that is older than the span is kept: the rate is over at least that time.
        while h.accepted.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= SPAN) {
            h.accepted.pop_front();
        }
        if h.accepted.len() > 2 * SPAN.as_secs() as usize {
            h.accepted.pop_front();
        }
    }

    /// Messages accepted per minute lately, two decimals; 0 before there are two counts.
    pub fn rate(&self) -> f64 {
        let h = self.lock();
        let (Some((from, few)), Some((to, many))) = (h.accepted.front(), h.accepted.back()) else { return 0.0 };
        let seconds = to.duration_since(*from).as_secs_f64();
        if seconds < 1.0 {
            return 0.0;
        }
        (many.saturating_sub(*few) as f64 * 60.0 / seconds * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_over_the_last_minute() {
        let h = History::default();
        assert_eq!(h.rate(), 0.0);
        let start = Instant::now();
        for (second, count) in [(0, 0), (30, 5), (60, 30), (90, 30), (150, 35)] {
            h.counted(start + Duration::from_secs(second), count);
        }
        assert_eq!(h.rate(), 5.0); // from second 90 to 150
    }

    #[test]
    fn samples_that_come_too_soon_are_shown_but_not_kept() {
        let h = History::default();
        assert_eq!(h.put(1.into()), [1]);
        assert_eq!(h.put(2.into()), [1, 2]);
        assert_eq!(h.put(3.into()), [1, 3]);
    }
}
