//! Whether a cron job's schedule can be understood. The due times are computed elsewhere.

use std::time::Duration;

use super::forms::duration;
use super::types::{Schedule, ScheduleKind};

/// What is wrong with a schedule, if anything.
pub(crate) fn problem(schedule: &Schedule) -> Option<String> {
    let expr = schedule.expr.trim();
    match schedule.kind {
        ScheduleKind::Every => match duration(expr) {
            Some(every) if every >= Duration::from_secs(10) => None,
            Some(_) => Some("must be at least 10s".into()),
            None => Some("must be a number with s, m, h or d, such as \"15m\"".into()),
        },
        ScheduleKind::At => {
            let right = expr.strip_prefix('+').is_some_and(|rest| duration(rest).is_some()) || is_instant(expr);
            (!right).then(|| "must be a time such as \"2026-03-01 10:00\", \"2026-03-01T10:00:00Z\" or \"+20m\"".into())
        }
        ScheduleKind::Cron => cron_problem(expr),
    }
}

fn is_instant(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok()
}

fn cron_problem(expr: &str) -> Option<String> {
    if expr.starts_with('@') {
        let known = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];
        return (!known.contains(&expr)).then(|| format!("unknown schedule \"{expr}\""));
    }
    const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let fields: Vec<&str> = expr.split_whitespace().collect();
    let seconds = match fields.len() {
        5 => 0,
        6 => 1,
        n => {
            return Some(format!(
                "must have 5 fields (minute hour day month weekday), or 6 with leading seconds; it has {n}"
            ))
        }
    };
    let table: [(&str, u32, u32, &[&str]); 6] = [
        ("second", 0, 59, &[]),
        ("minute", 0, 59, &[]),
        ("hour", 0, 23, &[]),
        ("day", 1, 31, &[]),
        ("month", 1, 12, &MONTHS),
        ("weekday", 0, 7, &DAYS),
    ];
    let wrong = fields.iter().zip(&table[1 - seconds..]).find(|(text, (name, low, high, words))| {
        let field = Field { name, low: *low, high: *high, words };
        !text.split(',').all(|part| field.accepts(&part.to_ascii_uppercase()))
    });
    wrong.map(|(text, (name, low, high, _))| format!("\"{text}\" is no {name} ({low}-{high})"))
}

struct Field<'a> {
    name: &'a str,
    low: u32,
    high: u32,
    words: &'a [&'a str],
}

impl Field<'_> {
    /// One item of a comma list: `*`, `5`, `1-5`, `*/2`, `1-5/2`; days also `L`, `LW`, `15W`; weekdays `5L`, `2#1`.
    fn accepts(&self, part: &str) -> bool {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        if step.is_some_and(|step| !step.parse::<u32>().is_ok_and(|step| step > 0)) {
            return false;
        }
        match range.split_once('-') {
            Some((from, to)) => match (self.value(from), self.value(to)) {
                // Sunday may end a range of weekdays: `FRI-SUN`.
                (Some(from), Some(to)) => from <= to || (self.name == "weekday" && to == 0),
                _ => false,
            },
            None => range == "*" || self.value(range).is_some() || (step.is_none() && self.is_special(range)),
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        if let Some(place) = self.words.iter().position(|word| *word == text) {
            return Some(place as u32 + self.low);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok())?.filter(|value| (self.low..=self.high).contains(value))
    }

    fn is_special(&self, text: &str) -> bool {
        match self.name {
            "day" => {
                matches!(text, "?" | "L" | "LW") || text.strip_suffix('W').is_some_and(|day| self.value(day).is_some())
            }
            "weekday" => {
                let nth = text.split_once('#').is_some_and(|(day, n)| {
                    self.value(day).is_some() && matches!(n, "1" | "2" | "3" | "4" | "5" | "L")
                });
                matches!(text, "?" | "L") || nth || text.strip_suffix('L').is_some_and(|day| self.value(day).is_some())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        use ScheduleKind::{At, Cron, Every};
        for (kind, expr, right) in [
            (Every, "10s", true),
            (Every, "9s", false),
            (Every, "soon", false),
            (At, "+20m", true),
            (At, "2026-03-01 10:00", true),
            (At, "2026-03-01T10:00:00Z", true),
            (At, "2026-03-01T10:00:00+01:00", true),
            (At, "tomorrow", false),
            (Cron, "0 9 * * 1-5", true),
            (Cron, "*/15 * * * *", true),
            (Cron, "30 0 9 * * MON,wed", true),
            (Cron, "0 0 L * *", true),
            (Cron, "0 0 15W JAN-MAR *", true),
            (Cron, "0 0 * * FRI#2", true),
            (Cron, "0 0 * * 5L", true),
            (Cron, "@daily", true),
            (Cron, "@never", false),
            (Cron, "60 * * * *", false),
            (Cron, "* 24 * * *", false),
            (Cron, "* * 0 * *", false),
            (Cron, "* * * 13 *", false),
            (Cron, "* * * * 8", false),
            (Cron, "*/0 * * * *", false),
            (Cron, "5-1 * * * *", false),
            (Cron, "1,,2 * * * *", false),
            (Cron, "* * *", false),
            (Cron, "", false),
        ] {
            let schedule = Schedule { kind, expr: expr.into(), timezone: None };
            assert_eq!(problem(&schedule).is_none(), right, "{expr}: {:?}", problem(&schedule));
        }
    }
}
