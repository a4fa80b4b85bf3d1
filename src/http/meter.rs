//! What the port counts about itself and the turns it sees: for `/metrics` and `/api/metrics`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::message::Frame;

/// Upper bounds of the message duration histogram, seconds (R60).
pub const BOUNDS: [f64; 9] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Durations kept for percentiles.
const KEPT: usize = 1000;
/// Sessions whose turn is being timed.
const TIMED: usize = 4096;

/// Why WebSockets were dropped.
pub const REASONS: [&str; 3] = ["silent", "slow", "stalled"];

#[derive(Debug, Default)]
pub struct Meter(Mutex<Figures>);

#[derive(Debug, Default)]
pub struct Figures {
    /// (route pattern, method, status) -> (count, seconds).
    pub requests: BTreeMap<(String, String, u16), (u64, f64)>,
    pub dropped: BTreeMap<&'static str, u64>,
    pub events: u64,
    /// Counts per bound, the last one is "longer".
    pub durations: [u64; BOUNDS.len() + 1],
    pub seconds: f64,
    pub last: VecDeque<u64>,
    begun: HashMap<String, Instant>,
}

impl Meter {
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn request(&self, route: &str, method: &str, status: u16, seconds: f64) {
        let mut f = self.figures();
        let entry = f.requests.entry((route.to_owned(), method.to_owned(), status)).or_default();
        entry.0 += 1;
        entry.1 += seconds;
    }

    pub fn dropped(&self, reason: &'static str) {
        *self.figures().dropped.entry(reason).or_default() += 1;
    }

    /// Times turns by the frames that begin and end them.
    pub fn frame(&self, frame: &Frame) {
        let mut f = self.figures();
        f.events += 1;
        match frame {
            Frame::Typing { session, on: true, .. } if f.begun.len() < TIMED => {
                f.begun.entry(session.clone()).or_insert_with(Instant::now);
            }
            Frame::Reply { session, last: true, .. } => {
                if let Some(since) = f.begun.remove(session) {
                    f.took(since.elapsed().as_millis() as u64);
                }
            }
            Frame::Typing { session, on: false, .. } | Frame::Reset { session } | Frame::Deleted { session } => {
                // the reply, if there is one, may still come: it no longer counts as waiting
                if let Some(since) = f.begun.remove(session) {
                    if matches!(frame, Frame::Typing { .. }) {
                        f.took(since.elapsed().as_millis() as u64);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Figures {
    fn took(&mut self, ms: u64) {
        let seconds = ms as f64 / 1000.0;
        let at = BOUNDS.iter().position(|b| seconds <= *b).unwrap_or(BOUNDS.len());
        self.durations[at] += 1;
        self.seconds += seconds;
        self.last.push_back(ms);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// p50, p95, p99 in milliseconds and how many they are of.
    pub fn percentiles(&self) -> ([u64; 3], usize) {
        let mut sorted: Vec<u64> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        let n = sorted.len();
        let at = |p: usize| if n == 0 { 0 } else { sorted[(p * n / 100).min(n - 1)] };
        ([at(50), at(95), at(99)], n)
    }
}

/// Resident memory of a process, KiB.
pub fn rss_kb(pid: Option<u32>) -> u64 {
    let file = pid.map_or("/proc/self/status".into(), |p| format!("/proc/{p}/status"));
    let text = std::fs::read_to_string(file).unwrap_or_default(); // gone meanwhile: nothing resident
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}
