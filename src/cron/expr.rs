//! Cron expressions: which days and times of a calendar they name (core.md 13). Pure; zones are not known here.
//!
//! Five fields (minute hour day month weekday), or six with seconds first. `*`, lists, ranges, steps, names of months
//! and weekdays, `?` (as `*`); days also `L`, `LW`, `15W`, `L-3`; weekdays also `5L`, `2#1`, `FRI#L`, `L` (Saturday).

use jiff::civil::{Date, DateTime, Time};
use jiff::ToSpan;

/// Longest that two due times of an expression can lie apart, years: the fifth Friday of a February waits for 40.
const HORIZON: i16 = 48;

/// What an expression says.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u64,
    days: Days,
    weekdays: Weekdays,
    /// Vixie's rule: a field that begins with `*` restricts nothing that the other one allows; of two that do not,
    /// one is enough.
    either: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Days {
    plain: u64,
    /// So many days before the month's last one.
    before_last: Vec<i8>,
    last_weekday: bool,
    /// The working day next to that day, in the same month.
    near: Vec<i8>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Weekdays {
    plain: u64,
    /// Of that weekday the n-th of the month.
    nth: Vec<(i8, i8)>,
    /// Of that weekday the last of the month.
    last: Vec<i8>,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEK: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const NAMED: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", low: 0, high: 59, words: &[] },
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    Field { name: "weekday", low: 0, high: 7, words: &WEEK },
];

impl Expr {
    /// `Err`: what is wrong, for whoever wrote it.
    pub fn parse(text: &str) -> Result<Expr, String> {
        let text = text.trim();
        let spelled = match text.strip_prefix('@') {
            None => text,
            Some(_) => {
                let known = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                known.ok_or_else(|| format!("unknown schedule \"{text}\""))?.1
            }
        };
        let fields: Vec<&str> = spelled.split_whitespace().collect();
        let (second, rest) = match &fields[..] {
            [second, rest @ ..] if fields.len() == 6 => (*second, rest),
            rest if fields.len() == 5 => ("0", rest),
            _ => {
                return Err(format!(
                    "must have 5 fields (minute hour day month weekday), or 6 with leading seconds; it has {}",
                    fields.len()
                ))
            }
        };
        let (mut days, mut weekdays) = (Days::default(), Weekdays::default());
        days.plain |= FIELDS[3].read(rest[2], |part| days.special(part))?;
        weekdays.plain |= FIELDS[5].read(rest[4], |part| weekdays.special(part))?;
        weekdays.plain |= weekdays.plain >> 7 & 1; // Sunday has two numbers
        let open = |field: &str| field.starts_with(['*', '?']);
        let expr = Expr {
            seconds: FIELDS[0].read(second, |_| false)?,
            minutes: FIELDS[1].read(rest[0], |_| false)?,
            hours: FIELDS[2].read(rest[1], |_| false)?,
            months: FIELDS[4].read(rest[3], |_| false)?,
            days,
            weekdays,
            either: !open(rest[2]) && !open(rest[4]),
        };
        match expr.next(Date::constant(2024, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(expr),
            None => Err("names no day that there is".into()),
        }
    }

    /// The first moment of the calendar that it names, from that one on; `None`: there is none in sight.
    pub fn next(&self, from: DateTime) -> Option<DateTime> {
        let from = match from.subsec_nanosecond() {
            0 => from,
            _ => from.with().subsec_nanosecond(0).build().ok()?.checked_add(1.second()).ok()?,
        };
        let (mut day, mut time) = (from.date(), Some(from.time()));
        let end = from.year().saturating_add(HORIZON);
        while day.year() <= end {
            if self.months >> day.month() & 1 == 0 {
                day = day.last_of_month().tomorrow().ok()?;
                time = None;
                continue;
            }
            if self.on(day) {
                if let Some(time) = self.time_from(time.unwrap_or(Time::midnight())) {
                    return Some(day.to_datetime(time));
                }
            }
            day = day.tomorrow().ok()?;
            time = None;
        }
        None
    }

    fn on(&self, day: Date) -> bool {
        let (days, weekdays) = (self.days.on(day), self.weekdays.on(day));
        if self.either {
            days || weekdays
        } else {
            days && weekdays
        }
    }

    /// The first time of a day that it names, from that one on.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (h, m, s) = (from.hour(), from.minute(), from.second());
        let at = |h: i8, m: i8, s: i8| Time::new(h, m, s, 0).ok();
        if self.hours >> h & 1 == 1 {
            if self.minutes >> m & 1 == 1 {
                if let Some(s) = first(self.seconds, s) {
                    return at(h, m, s);
                }
            }
            if let Some(m) = first(self.minutes, m + 1) {
                return at(h, m, first(self.seconds, 0)?);
            }
        }
        at(first(self.hours, h + 1)?, first(self.minutes, 0)?, first(self.seconds, 0)?)
    }
}

/// The first number of the set, from that one on.
fn first(set: u64, from: i8) -> Option<i8> {
    let rest = set.checked_shr(from as u32)?;
    (rest != 0).then(|| from + rest.trailing_zeros() as i8)
}

impl Field {
    /// The numbers that a field names. `special`: takes what only this field knows.
    fn read(&self, text: &str, mut special: impl FnMut(&str) -> bool) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            let part = part.to_ascii_uppercase();
            match self.range(&part) {
                Some(more) => set |= more,
                None if special(&part) => {}
                None => return Err(format!("\"{text}\" is no {} ({}-{})", self.name, self.low, self.high)),
            }
        }
        Ok(set)
    }

    /// `*`, `5`, `1-5`, `*/2`, `1-5/2`, `5/10` (from 5 on).
    fn range(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let any = range == "*" || (range == "?" && matches!(self.name, "day" | "weekday"));
        // Sunday's second number is for the end of ranges.
        let top = if self.name == "weekday" { 6 } else { self.high };
        let (from, to) = match range.split_once('-') {
            _ if any => (self.low, top),
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { top.max(from) } else { from })
            }
            Some((from, to)) => match (self.value(from)?, self.value(to)?) {
                (from, 0) if self.name == "weekday" && from > 0 => (from, 7), // FRI-SUN
                (from, to) => (from, to),
            },
        };
        (from <= to).then(|| (from..=to).step_by(step.unwrap_or(1) as usize).fold(0, |set, n| set | 1 << n))
    }

    fn value(&self, text: &str) -> Option<u32> {
        if let Some(place) = self.words.iter().position(|word| *word == text) {
            return Some(place as u32 + self.low);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok())?.filter(|value| (self.low..=self.high).contains(value))
    }
}

impl Days {
    fn special(&mut self, part: &str) -> bool {
        let number = |text: &str, high: u32| text.parse::<u32>().ok().filter(|n| (1..=high).contains(n));
        match part {
            "L" => self.before_last.push(0),
            "LW" | "WL" => self.last_weekday = true,
            _ => match (part.strip_prefix("L-"), part.strip_suffix('W')) {
                (Some(n), _) => match number(n, 30) {
                    Some(n) => self.before_last.push(n as i8),
                    None => return false,
                },
                (None, Some(day)) => match number(day, 31) {
                    Some(day) => self.near.push(day as i8),
                    None => return false,
                },
                (None, None) => return false,
            },
        }
        true
    }

    fn on(&self, day: Date) -> bool {
        let (n, last) = (day.day(), day.days_in_month());
        self.plain >> n & 1 == 1
            || self.before_last.iter().any(|before| n == last - before)
            || (self.last_weekday && n == working_day(day, last))
            || self.near.iter().any(|near| *near <= last && n == working_day(day, *near))
    }
}

/// The working day next to a day of that month, without leaving the month.
fn working_day(month: Date, day: i8) -> i8 {
    let Ok(date) = month.with().day(day).build() else { return 0 };
    match date.weekday().to_sunday_zero_offset() {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == date.days_in_month() => day - 2,
        0 => day + 1,
        _ => day,
    }
}

impl Weekdays {
    fn special(&mut self, part: &str) -> bool {
        let value = |text: &str| FIELDS[5].value(text).map(|day| (day % 7) as i8);
        if part == "L" {
            self.plain |= 1 << 6;
            return true;
        }
        match (part.split_once('#'), part.strip_suffix('L')) {
            (Some((day, n)), _) => match (value(day), n) {
                (Some(day), "L") => self.last.push(day),
                (Some(day), "1" | "2" | "3" | "4" | "5") => self.nth.push((day, (n.as_bytes()[0] - b'0') as i8)),
                _ => return false,
            },
            (None, Some(day)) => match value(day) {
                Some(day) => self.last.push(day),
                None => return false,
            },
            (None, None) => return false,
        }
        true
    }

    fn on(&self, day: Date) -> bool {
        let weekday = day.weekday().to_sunday_zero_offset();
        let nth = (day.day() - 1) / 7 + 1;
        self.plain >> weekday & 1 == 1
            || self.nth.contains(&(weekday, nth))
            || (self.last.contains(&weekday) && day.day() + 7 > day.days_in_month())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first few moments from a date on.
    fn days(expr: &str, from: &str, count: usize) -> String {
        let expr = Expr::parse(expr).unwrap();
        let mut at: DateTime = from.parse().unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            let next = expr.next(at).unwrap();
            all.push(next.strftime("%y-%m-%d %H:%M:%S").to_string());
            at = next.checked_add(1.second()).unwrap();
        }
        all.join(", ").replace(" 00:00:00", "")
    }

    #[test]
    fn expressions_name_days_and_times() {
        for (expr, from, want) in [
            ("0 9 * * 1-5", "2026-11-27T10:00", "26-11-30 09:00:00, 26-12-01 09:00:00"),
            ("*/15 * * * *", "2026-01-01T00:07", "26-01-01 00:15:00, 26-01-01 00:30:00"),
            ("30 0 9 * * MON,wed", "2026-11-28T00:00", "26-11-30 09:00:30, 26-12-02 09:00:30"),
            ("*/20 59 23 31 12 *", "2026-12-31T23:59:30", "26-12-31 23:59:40, 27-12-31 23:59:00"),
            ("@hourly", "2026-01-01T00:00:01", "26-01-01 01:00:00, 26-01-01 02:00:00"),
            ("@DAILY", "2026-01-01T00:00:00", "26-01-01, 26-01-02"),
            ("@weekly", "2026-11-28T00:00", "26-11-29, 26-12-06"),
            ("@monthly", "2026-11-28T00:00", "26-12-01, 27-01-01"),
            ("@yearly", "2026-11-28T00:00", "27-01-01, 28-01-01"),
            // Leap years, with the one that is none.
            ("0 0 29 2 *", "2026-01-01T00:00", "28-02-29, 32-02-29"),
            ("0 0 29 2 *", "2096-03-01T00:00", "04-02-29, 08-02-29"),
            ("0 0 * 2 FRI#5", "2026-01-01T00:00", "36-02-29, 64-02-29"),
            // L, W, #.
            ("0 0 L * *", "2026-01-30T00:00", "26-01-31, 26-02-28"),
            ("0 0 L-2 * *", "2026-01-30T00:00", "26-02-26, 26-03-29"),
            ("0 0 LW * *", "2026-01-01T00:00", "26-01-30, 26-02-27"),
            ("0 0 1W,15W * *", "2026-08-01T00:00", "26-08-03, 26-08-14"),
            ("0 0 31W * *", "2026-01-01T00:00", "26-01-30, 26-03-31"),
            ("0 0 30W 5 *", "2027-01-01T00:00", "27-05-31, 28-05-30"),
            ("0 0 31W 1 *", "2027-01-01T00:00", "27-01-29, 28-01-31"),
            ("0 0 * * 5L", "2026-01-01T00:00", "26-01-30, 26-02-27"),
            ("0 0 * * FRI#2", "2026-01-01T00:00", "26-01-09, 26-02-13"),
            ("0 0 * * mon#L", "2026-01-01T00:00", "26-01-26, 26-02-23"),
            ("0 0 * * L", "2026-11-26T00:00", "26-11-28, 26-12-05"),
            // Sunday is 0 and 7, and may end a range.
            ("0 0 * * 7", "2026-11-28T00:00", "26-11-29, 26-12-06"),
            ("0 0 * * FRI-SUN", "2026-11-28T00:00", "26-11-28, 26-11-29, 26-12-04"),
            ("0 0 * * 5-7/2", "2026-11-28T00:00", "26-11-29, 26-12-04"),
            // Vixie: both restricted, one is enough; with a star, both must hold.
            ("0 0 13 * 5", "2026-11-08T00:00", "26-11-13, 26-11-20, 26-11-27, 26-12-04, 26-12-11, 26-12-13"),
            ("0 0 */2 * MON", "2026-11-01T00:00", "26-11-09, 26-11-23, 26-12-07"),
            ("0 0 ? * MON", "2026-11-28T00:00", "26-11-30, 26-12-07"),
            ("5/20 8-18/5 * * *", "2026-01-01T00:00", "26-01-01 08:05:00, 26-01-01 08:25:00, 26-01-01 08:45:00"),
        ] {
            let count = want.split(", ").count();
            assert_eq!(days(expr, from, count), want, "{expr}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (expr, why) in [
            ("@never", "unknown schedule"),
            ("60 * * * *", "no minute (0-59)"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "no day"),
            ("* * * 13 *", "no month"),
            ("* * * * 8", "no weekday"),
            ("*/0 * * * *", "no minute"),
            ("5-1 * * * *", "no minute"),
            ("1,,2 * * * *", "no minute"),
            ("L * * * *", "no minute"),
            ("? * * * *", "no minute"),
            ("* * 32W * *", "no day"),
            ("* * * * 2#6", "no weekday"),
            ("-1 * * * *", "no minute"),
            ("* * *", "it has 3"),
            ("", "it has 0"),
            ("0 0 30 2 *", "names no day"),
            ("0 0 31 4,6 *", "names no day"),
        ] {
            let said = Expr::parse(expr).unwrap_err();
            assert!(said.contains(why), "{expr}: {said}");
        }
    }
}
