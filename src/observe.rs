//! The newest things that happened, for operators (gateway-api.md 1.8 "Observability"). In memory only, bounded,
//! and nothing is allocated before something happens.
//!
//! The port owns the ring; the gateway hands in what the mind and the operator report.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{json, Map, Value};

use crate::message::{Area, Frame, Level, Observation, Wall};

/// Events kept; the oldest leaves for a new one.
pub const KEPT: usize = 500;
/// Longest message kept, bytes.
const MESSAGE: usize = 500;
const RECENT_ERRORS: usize = 10;
const TOP_ACTIONS: usize = 8;

#[derive(Debug, Default)]
pub struct Observer(Mutex<VecDeque<Kept>>);

#[derive(Debug)]
struct Kept {
    at: Wall,
    random: u32,
    what: Observation,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub level: Option<Level>,
    pub category: Option<Area>,
    /// Not older than that, ms.
    pub window: Option<i64>,
    /// Only events before the one with this id; none, if that one has left.
    pub before: Option<String>,
}

/// `5m 15m 1h 6h 24h 7d` or a number of milliseconds above 0; anything else is no window.
pub fn window(text: &str) -> Option<i64> {
    let minutes = |n: i64| Some(n * 60_000);
    match text {
        "5m" => minutes(5),
        "15m" => minutes(15),
        "1h" => minutes(60),
        "6h" => minutes(360),
        "24h" => minutes(1440),
        "7d" => minutes(10_080),
        other => other.parse().ok().filter(|ms| *ms > 0),
    }
}

impl Kept {
    fn id(&self) -> String {
        format!("{}-{:08x}", self.at, self.random)
    }

    fn json(&self) -> Value {
        let w = &self.what;
        let mut o = json!({
            "id": self.id(), "ts": self.at, "level": w.level.as_str(), "category": w.category.as_str(),
            "action": w.action, "message": w.message,
        });
        if let Some(session) = &w.session {
            o["meta"] = json!({"sessionKey": session});
        }
        o
    }
}

impl Filter {
    fn takes(&self, kept: &Kept, now: Wall) -> bool {
        self.level.is_none_or(|l| l == kept.what.level)
            && self.category.is_none_or(|c| c == kept.what.category)
            && self.window.is_none_or(|ms| kept.at >= now.saturating_sub(ms))
    }
}

impl Observer {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Keeps it; a long message is cut.
    pub fn note(&self, at: Wall, mut what: Observation) {
        if what.message.len() > MESSAGE {
            let end = (0..=MESSAGE).rev().find(|at| what.message.is_char_boundary(*at)).unwrap_or(0);
            what.message.truncate(end);
            what.message.push('…');
        }
        let mut random = [0; 4];
        let _ = SystemRandom::new().fill(&mut random); // only makes two ids of one millisecond differ
        let mut ring = self.lock();
        if ring.len() >= KEPT {
            ring.pop_front();
        }
        ring.push_back(Kept { at, random: u32::from_le_bytes(random), what });
    }

    /// The newest `limit` events that are asked for, newest first; and whether there are more.
    /// `None`: `filter.before` is not the id of an event.
    pub fn events(&self, now: Wall, filter: &Filter, limit: usize) -> Option<(Vec<Value>, bool)> {
        let ring = self.lock();
        let end = match &filter.before {
            Some(id) => match ring.iter().position(|k| k.id() == *id) {
                Some(at) => at,
                None => {
                    let at: Wall = id.split_once('-')?.0.parse().ok()?;
                    ring.front().filter(|oldest| at <= oldest.at)?; // it has left, and all before it
                    0
                }
            },
            None => ring.len(),
        };
        let mut wanted = ring.iter().take(end).rev().filter(|k| filter.takes(k, now));
        let events: Vec<Value> = wanted.by_ref().take(limit).map(Kept::json).collect();
        let more = wanted.next().is_some();
        Some((events, more))
    }

    /// Counts of the events in that window.
    pub fn summary(&self, now: Wall, window: Option<i64>) -> Value {
        let ring = self.lock();
        let filter = Filter { window, ..Filter::default() };
        let all: Vec<&Kept> = ring.iter().rev().filter(|k| filter.takes(k, now)).collect();
        let count = |is: &dyn Fn(&Observation) -> bool| all.iter().filter(|k| is(&k.what)).count();
        let levels = Level::ALL.into_iter().map(|l| (l.as_str().to_owned(), json!(count(&|w| w.level == l))));
        let categories = Area::ALL.into_iter();
        let categories = categories.map(|c| (c.as_str().to_owned(), json!(count(&|w| w.category == c))));
        let is_error = |w: &Observation| w.level == Level::Error;
        let errors = count(&is_error);
        let recent = all.iter().filter(|k| is_error(&k.what)).take(RECENT_ERRORS);
        let mut actions: Vec<(&str, usize)> = Vec::new();
        for kept in &all {
            match actions.iter_mut().find(|(a, _)| *a == kept.what.action) {
                Some((_, n)) => *n += 1,
                None => actions.push((kept.what.action, 1)),
            }
        }
        actions.sort_by_key(|(_, n)| std::cmp::Reverse(*n)); // stable: the newer one first
        let top = actions.iter().take(TOP_ACTIONS).map(|(action, count)| json!({"action": action, "count": count}));
        let rate = if all.is_empty() { 0.0 } else { (errors as f64 * 10_000.0 / all.len() as f64).round() / 100.0 };
        json!({
            "total": all.len(), "byLevel": levels.collect::<Map<_, _>>(),
            "byCategory": categories.collect::<Map<_, _>>(),
            "recentErrors": recent.map(|k| k.json()).collect::<Vec<_>>(), "topActions": top.collect::<Vec<_>>(),
            "errorRatePct": rate, "windowMs": window,
        })
    }
}

/// What of the mind's frames an operator may want to know of.
pub fn of_frame(frame: &Frame) -> Option<Observation> {
    let session = |level, action, message: String, key: &str| {
        Some(Observation::new(level, Area::Session, action, message).of(key))
    };
    match frame {
        Frame::Reset { session: s } => session(Level::Info, "reset", "Session reset".into(), s),
        Frame::Deleted { session: s } => session(Level::Info, "delete", "Session deleted".into(), s),
        Frame::RoleChanged { session: s, role } => session(Level::Info, "role", format!("Role set to {role}"), s),
        Frame::Error { session: s, message, .. } => session(Level::Error, "turn_failed", message.clone(), s),
        Frame::Notice { session: s, level, message } if level != "info" => {
            session(Level::Warn, "notice", message.clone(), s)
        }
        Frame::Channel { channel, account, state, error } => {
            let level = if error.is_some() { Level::Warn } else { Level::Info };
            let why = error.as_ref().map_or(String::new(), |why| format!(": {why}"));
            Some(Observation::new(level, Area::Channel, "status", format!("{channel} {account} is {state}{why}")))
        }
        Frame::RoleCreated { role } => {
            Some(Observation::new(Level::Info, Area::System, "role_created", format!("Role {role} created")))
        }
        Frame::RoleDeleted { role } => {
            Some(Observation::new(Level::Info, Area::System, "role_deleted", format!("Role {role} deleted")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(level: Level, action: &'static str, message: &str) -> Observation {
        Observation::new(level, Area::Api, action, message)
    }

    #[test]
    fn the_newest_five_hundred_are_kept_and_come_newest_first() {
        let ring = Observer::default();
        assert_eq!(ring.lock().capacity(), 0, "nothing happened: no memory");
        for n in 0..KEPT as i64 + 7 {
            ring.note(n, some(Level::Info, "a", &n.to_string()));
        }
        let (events, more) = ring.events(1000, &Filter::default(), 10_000).unwrap();
        assert_eq!((events.len(), more), (KEPT, false));
        assert_eq!((events[0]["message"].as_str(), events[KEPT - 1]["message"].as_str()), (Some("506"), Some("7")));
    }

    #[test]
    fn filters_windows_and_pages_take_what_they_say() {
        let ring = Observer::default();
        for (at, level) in [(1000, Level::Info), (2000, Level::Error), (3000, Level::Info), (4000, Level::Info)] {
            ring.note(at, some(level, "a", "m"));
        }
        let times = |f: Filter, limit| -> Vec<i64> {
            ring.events(4000, &f, limit).unwrap().0.iter().map(|e| e["ts"].as_i64().unwrap()).collect()
        };
        let all = Filter::default();
        assert_eq!(times(Filter { level: Some(Level::Error), ..all.clone() }, 9), [2000]);
        assert_eq!(times(Filter { category: Some(Area::Cron), ..all.clone() }, 9), [0; 0]);
        assert_eq!(times(Filter { window: Some(1500), ..all.clone() }, 9), [4000, 3000]);
        let (page, more) = ring.events(4000, &all, 2).unwrap();
        assert!(more);
        let before = page[1]["id"].as_str().map(str::to_owned);
        assert_eq!(times(Filter { before, ..all.clone() }, 9), [2000, 1000]);
        assert_eq!(times(Filter { before: Some("5-gone".into()), ..all.clone() }, 9), [0; 0]);
        assert_eq!(ring.events(4000, &Filter { before: Some("another's".into()), ..all }, 9), None);
        for (text, ms) in
            [("5m", Some(300_000)), ("7d", Some(604_800_000)), ("1500", Some(1500)), ("0", None), ("x", None)]
        {
            assert_eq!(window(text), ms, "{text}");
        }
    }

    #[test]
    fn a_summary_counts_and_long_messages_are_cut_at_a_character() {
        let ring = Observer::default();
        ring.note(1, some(Level::Error, "crash", &"ü".repeat(400)));
        ring.note(2, some(Level::Info, "reload", "ok"));
        ring.note(3, some(Level::Info, "reload", "ok"));
        let s = ring.summary(10, None);
        assert_eq!(s["total"], 3);
        assert_eq!(s["byLevel"], json!({"debug": 0, "info": 2, "warn": 0, "error": 1}));
        assert_eq!(s["byCategory"]["api"], 3);
        assert_eq!(s["topActions"], json!([{"action": "reload", "count": 2}, {"action": "crash", "count": 1}]));
        assert_eq!((s["errorRatePct"].as_f64(), s["windowMs"].is_null()), (Some(33.33), true));
        assert_eq!(s["recentErrors"][0]["message"].as_str().unwrap(), "ü".repeat(250) + "…");
        assert_eq!(ring.summary(10, Some(8))["total"], 2);
    }
}
