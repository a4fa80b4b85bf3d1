//! When a job is due (core.md 13): `at`, `every`, `cron`, in a time zone. Pure; moments are Unix milliseconds.
//!
//! A time of the calendar that does not exist (the clock is put forward) is due at the first instant after the gap;
//! one that comes twice is due once, the first time.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::expr::Expr;
use crate::config::{duration, types};
use crate::message::Wall;

/// Shortest interval.
const SHORTEST: Duration = Duration::from_secs(10);
/// A due time that was missed is made up for within that time, ms.
pub const CATCH_UP: i64 = 86_400_000;

/// A schedule as people write it, and as the API gives it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    pub kind: Kind,
    pub expr: String,
    /// IANA name; `None`: the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

impl Written {
    /// By which a changed one is known.
    pub fn as_text(&self) -> String {
        format!("{}|{}|{}", self.kind.as_str(), self.expr, self.timezone.as_deref().unwrap_or_default())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Cron,
    Every,
    At,
}

impl Kind {
    pub fn parse(word: &str) -> Option<Kind> {
        [Kind::Cron, Kind::Every, Kind::At].into_iter().find(|kind| kind.as_str() == word)
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Cron => "cron",
            Kind::Every => "every",
            Kind::At => "at",
        }
    }
    /// What somebody means who gives only the expression.
    pub fn guess(expr: &str) -> Kind {
        let expr = expr.trim();
        if duration(expr).is_some() {
            Kind::Every
        } else if at(expr).is_some() {
            Kind::At
        } else {
            Kind::Cron
        }
    }
}

/// A schedule that is understood.
#[derive(Clone, Debug)]
pub struct Schedule {
    form: Form,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    At(At),
    /// Milliseconds.
    Every(i64),
    Cron(Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum At {
    /// With an offset of its own.
    Instant(Wall),
    Local(DateTime),
    /// That long after its job was made, ms.
    After(i64),
}

/// What becomes of a due time that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// One run makes up for it.
    Run,
    Missed,
}

impl From<&types::Schedule> for Written {
    fn from(s: &types::Schedule) -> Written {
        let kind = match s.kind {
            types::ScheduleKind::Cron => Kind::Cron,
            types::ScheduleKind::Every => Kind::Every,
            types::ScheduleKind::At => Kind::At,
        };
        Written { kind, expr: s.expr.clone(), timezone: s.timezone.clone() }
    }
}

impl Schedule {
    /// `zone`: the system's. `Err`: what is wrong with the expression or the zone.
    pub fn parse(written: &Written, zone: &TimeZone) -> Result<Schedule, String> {
        let zone = match &written.timezone {
            Some(name) => TimeZone::get(name)
                .map_err(|_| format!("unknown time zone \"{name}\" (names look like \"Europe/Berlin\")"))?,
            None => zone.clone(),
        };
        let expr = written.expr.trim();
        let form = match written.kind {
            Kind::Every => match duration(expr) {
                Some(every) if every >= SHORTEST => Form::Every(every.as_millis() as i64),
                Some(_) => return Err("must be at least 10s".into()),
                None => return Err("must be a number with s, m, h or d, such as \"15m\" (at most 36500d)".into()),
            },
            Kind::At => Form::At(
                at(expr).ok_or("must be a time such as \"2026-03-01 10:00\", \"2026-03-01T10:00:00Z\" or \"+20m\"")?,
            ),
            Kind::Cron => Form::Cron(Box::new(Expr::parse(expr)?)),
        };
        Ok(Schedule { form, zone })
    }

    /// It is due once.
    pub fn once(&self) -> bool {
        matches!(self.form, Form::At(_))
    }

    /// It goes by the time that passes, not by the calendar.
    pub fn by_interval(&self) -> Option<i64> {
        match self.form {
            Form::Every(every) => Some(every),
            _ => None,
        }
    }

    /// Its due times hang on the moment it was made.
    pub fn anchored(&self) -> bool {
        matches!(self.form, Form::Every(_) | Form::At(At::After(_)))
    }

    /// The first due time after a moment; of `at` the only one, whenever that is. `anchor`: when the job was made.
    pub fn next(&self, anchor: Wall, after: Wall) -> Option<Wall> {
        match &self.form {
            Form::At(At::Instant(at)) => Some(*at),
            Form::At(At::Local(at)) => instant(&self.zone, *at),
            Form::At(At::After(wait)) => Some(anchor.saturating_add(*wait)),
            Form::Every(every) => {
                let passed = after.saturating_sub(anchor).div_euclid(*every);
                Some(anchor.saturating_add((passed + 1).max(1).saturating_mul(*every)))
            }
            Form::Cron(expr) => {
                let here = Timestamp::from_millisecond(after).ok()?.to_zoned(self.zone.clone()).datetime();
                let mut local = here;
                // Moments of the calendar rise, and so do the instants they stand for: none before this one is later.
                loop {
                    local = expr.next(local)?;
                    match instant(&self.zone, local)? {
                        at if at > after => return Some(at),
                        _ => local = local.checked_add(1.second()).ok()?,
                    }
                }
            }
        }
    }

    /// The last due time up to now, at or behind `due`, which has passed.
    pub fn latest(&self, anchor: Wall, due: Wall, now: Wall) -> Wall {
        match &self.form {
            Form::At(_) => due,
            Form::Every(every) => due + (now - due).max(0) / every * every,
            Form::Cron(_) => {
                // Not further back than what would be made up for; from the last minute on if there was one in it.
                let since = |ms: i64| self.next(anchor, (now - ms).max(due)).filter(|at| *at <= now);
                let mut latest = [60_000, 3_600_000, CATCH_UP + 1].into_iter().find_map(since).unwrap_or(due);
                while let Some(next) = self.next(anchor, latest).filter(|next| *next <= now) {
                    latest = next;
                }
                latest
            }
        }
    }

    /// What becomes of a due time that has passed unnoticed.
    pub fn late(&self, anchor: Wall, due: Wall, now: Wall) -> Late {
        let interval = match self.form {
            Form::At(_) => CATCH_UP,
            _ => self.next(anchor, due).map_or(CATCH_UP, |next| next - due),
        };
        match now - due > interval.min(CATCH_UP) {
            true => Late::Missed,
            false => Late::Run,
        }
    }
}

/// What is wrong with a schedule, if anything.
pub fn problem(written: &Written) -> Option<String> {
    Schedule::parse(written, &TimeZone::UTC).err()
}

fn at(expr: &str) -> Option<At> {
    if let Some(wait) = expr.strip_prefix('+') {
        return duration(wait.trim()).map(|wait| At::After(wait.as_millis() as i64));
    }
    if let Ok(instant) = expr.parse::<Timestamp>() {
        return Some(At::Instant(instant.as_millisecond()));
    }
    expr.parse().ok().map(At::Local)
}

/// The instant of a time of the calendar.
fn instant(zone: &TimeZone, local: DateTime) -> Option<Wall> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let at = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            // By the old offset it lies behind the change, by less than the gap is long.
            let behind = before.to_timestamp(local).ok()?.checked_add(1.second()).ok()?;
            zone.preceding(behind).next()?.timestamp()
        }
    };
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: Kind, expr: &str, zone: &str) -> Schedule {
        let written = Written { kind, expr: expr.into(), timezone: Some(zone.into()) };
        Schedule::parse(&written, &TimeZone::UTC).unwrap()
    }

    fn ms(text: &str) -> Wall {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn shown(at: Wall) -> String {
        Timestamp::from_millisecond(at).unwrap().to_string()
    }

    /// The first few due times after a moment.
    fn dues(s: &Schedule, after: &str, count: usize) -> Vec<String> {
        let mut at = ms(after);
        (0..count)
            .map(|_| {
                at = s.next(0, at).unwrap();
                shown(at)
            })
            .collect()
    }

    #[test]
    fn a_time_that_does_not_exist_is_due_after_the_gap_and_one_that_comes_twice_once() {
        for (zone, expr, after, want) in [
            // Berlin puts its clocks from 2:00 to 3:00 on 29 March 2026, and from 3:00 to 2:00 on 25 October.
            (
                "Europe/Berlin",
                "30 2 * * *",
                "2026-03-28T12:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"][..],
            ),
            ("Europe/Berlin", "0 2 * * *", "2026-03-28T12:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]),
            ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
            // In the second of the two hours nothing is due that was due in the first.
            ("Europe/Berlin", "30 * * * *", "2026-10-25T00:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"]),
            (
                "Europe/Berlin",
                "*/20 * * * *",
                "2026-10-25T01:10:00Z",
                &["2026-10-25T02:00:00Z", "2026-10-25T02:20:00Z"],
            ),
            (
                "Europe/Berlin",
                "*/20 2,3 * * *",
                "2026-03-29T00:00:00Z",
                &["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"],
            ),
            (
                "America/New_York",
                "30 2 * * *",
                "2026-03-07T12:00:00Z",
                &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
            ),
            (
                "America/New_York",
                "30 1 * * *",
                "2026-10-31T12:00:00Z",
                &["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"],
            ),
            // Half an hour only.
            (
                "Australia/Lord_Howe",
                "15 2 * * *",
                "2026-10-03T00:00:00Z",
                &["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
            ),
            // At midnight: that day begins at one.
            (
                "America/Santiago",
                "0 0 * * *",
                "2026-09-05T12:00:00Z",
                &["2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"],
            ),
            // A whole day that never was.
            ("Pacific/Apia", "0 12 30 12 *", "2011-12-29T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"]),
            ("Asia/Kolkata", "@daily", "2026-01-01T00:00:00Z", &["2026-01-01T18:30:00Z", "2026-01-02T18:30:00Z"]),
            ("UTC", "0 0 29 2 *", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ] {
            assert_eq!(dues(&schedule(Kind::Cron, expr, zone), after, 2), want, "{zone} {expr}");
        }
    }

    #[test]
    fn a_time_of_the_calendar_is_of_the_jobs_zone() {
        for (expr, want) in [
            ("2026-03-01 10:00", "2026-03-01T09:00:00Z"),
            ("2026-07-01T10:00", "2026-07-01T08:00:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
            ("2026-03-01T10:00:00+05:30", "2026-03-01T04:30:00Z"),
            ("2026-03-29 02:30", "2026-03-29T01:00:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
            ("+20m", "1970-01-01T00:20:01Z"),
        ] {
            let s = schedule(Kind::At, expr, "Europe/Berlin");
            assert!(s.once());
            assert_eq!(shown(s.next(1000, 5).unwrap()), want, "{expr}");
        }
    }

    #[test]
    fn an_interval_keeps_its_grid_whatever_the_clock_does() {
        let s = schedule(Kind::Every, "15m", "UTC");
        let quarter = 900_000;
        for (after, want) in [
            (0, 1),
            (1, 1),
            (quarter - 1, 1),
            (quarter, 2), // the due time itself is over
            (10 * quarter + 5, 11),
            (-50 * quarter, 1), // the clock was set back to before the job was made: one interval, no more
        ] {
            assert_eq!(s.next(7, 7 + after), Some(7 + want * quarter), "{after}");
        }
        // 25 days are more than 32 bits of milliseconds.
        let s = schedule(Kind::Every, "25d", "UTC");
        assert_eq!(s.next(0, 0), Some(25 * 86_400_000));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_if_it_is_young_enough() {
        let (hour, day) = (3_600_000, 86_400_000);
        let noon = ms("2026-06-01T12:00:00Z");
        for (kind, expr, due, late_by, latest_by, want) in [
            (Kind::At, "2026-06-01T12:00:00Z", noon, 23 * hour, 23 * hour, Late::Run),
            (Kind::At, "2026-06-01T12:00:00Z", noon, 24 * hour, 24 * hour, Late::Run),
            (Kind::At, "2026-06-01T12:00:00Z", noon, 24 * hour + 1, 24 * hour + 1, Late::Missed),
            // Ten missed: the last one counts.
            (Kind::Every, "1h", noon, 10 * hour + 5, 5, Late::Run),
            (Kind::Every, "3d", noon, 25 * hour, 25 * hour, Late::Missed),
            (Kind::Every, "3d", noon, 3 * day + hour, hour, Late::Run),
            (Kind::Cron, "0 * * * *", noon, 300 * day + 5, 5, Late::Run),
            (Kind::Cron, "0 12 * * *", noon, 2 * day + 8 * hour, 8 * hour, Late::Run),
            (Kind::Cron, "0 12 * * 1", noon, 2 * day, 2 * day, Late::Missed),
            (Kind::Cron, "0 12 * * 1", noon, 9 * day, 2 * day, Late::Missed),
            (Kind::Cron, "0 12 * * 1", noon, 14 * day + hour, hour, Late::Run),
        ] {
            let s = schedule(kind, expr, "UTC");
            let now = due + late_by;
            let latest = s.latest(noon, due, now);
            let expected = if want == Late::Missed && latest_by > day { due.max(latest) } else { now - latest_by };
            assert_eq!(shown(latest), shown(expected), "{expr} {late_by}");
            assert_eq!(s.late(noon, latest, now), want, "{expr} {late_by}");
        }
    }

    #[test]
    fn kinds_are_guessed_and_wrong_ones_refused() {
        for (expr, kind) in [
            ("15m", Kind::Every),
            ("+15m", Kind::At),
            ("2026-03-01 10:00", Kind::At),
            ("0 9 * * *", Kind::Cron),
            ("@daily", Kind::Cron),
            ("tomorrow", Kind::Cron),
        ] {
            assert_eq!(Kind::guess(expr), kind, "{expr}");
        }
        let parse = |kind, expr: &str, zone: Option<&str>| {
            let written = Written { kind, expr: expr.into(), timezone: zone.map(str::to_owned) };
            Schedule::parse(&written, &TimeZone::UTC).map(|_| ())
        };
        assert!(parse(Kind::Every, "9s", None).unwrap_err().contains("at least 10s"));
        assert!(parse(Kind::Every, "soon", None).unwrap_err().contains("15m"));
        // In milliseconds the last ones are 0 and negative, to a machine.
        for long in ["36501d", "106751991167d", "2305843009213693952s", "18446744073709551s"] {
            assert!(parse(Kind::Every, long, None).unwrap_err().contains("36500d"), "{long}");
            assert!(parse(Kind::At, &format!("+{long}"), None).is_err(), "{long}");
        }
        assert!(parse(Kind::Every, "36500d", None).is_ok() && parse(Kind::At, "+36500d", None).is_ok());
        assert!(parse(Kind::At, "tomorrow", None).unwrap_err().contains("+20m"));
        assert!(parse(Kind::Cron, "0 9 * * *", Some("Mars/Base")).unwrap_err().contains("Mars/Base"));
        assert!(parse(Kind::Cron, "0 9 * * *", Some("Europe/Berlin")).is_ok());
    }
}
