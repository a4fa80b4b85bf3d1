//! What roles remember, as their files in the roles directory hold it (gateway-api.md 1.8 "Memory"): read, searched
//! and counted, never written. Role names are checked by the caller or here; every read is bounded.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::civil::Date;
use jiff::ToSpan;

use crate::roles;

/// Bytes read of `memory/consolidated.md`; what comes after is not searched.
const CONSOLIDATED: u64 = 1 << 20;
/// Bytes read of one day's file.
const DAILY: u64 = 256 << 10;
/// Bytes read of the files that describe a role.
const CORE: u64 = 64 << 10;
/// Days that are searched, today included.
const DAYS: i32 = 7;
/// Characters of one section of a day.
const SECTION: usize = 300;
const DAILY_WEIGHT: f64 = 0.9;
const LEAST_SCORE: f64 = 0.1;
/// Characters of `core/soul.md` that are shown.
const SOUL: usize = 500;
/// Files of a directory that are looked at.
const ENTRIES: usize = 10_000;

/// A piece of memory that fits a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub text: String,
    /// Above 0.1, at most 1.
    pub score: f64,
    /// `YYYY-MM-DD` of a day's notes; `None`: something learned.
    pub date: Option<String>,
}

/// Counts of a role's memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub learnings: usize,
    /// Lines below a heading that speaks of preferences, and of events.
    pub preferences: usize,
    pub events: usize,
    pub daily_files: usize,
    /// `memory/consolidated.md`, bytes.
    pub size: u64,
    /// Lines per heading.
    pub categories: BTreeMap<String, usize>,
}

/// A role as its own files describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    pub role: String,
    /// `name`, `creature`, `vibe`, `emoji`: those that are filled in. `None`: there is no such file.
    pub identity: Option<BTreeMap<&'static str, String>>,
    pub soul: Option<String>,
    pub memory: bool,
    pub daily: bool,
}

/// The beginning of a regular file; `None`: there is none that can be read. Never waits (a pipe is not opened).
fn text(path: &Path, most: u64) -> Option<String> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some(match text.strip_suffix('\u{fffd}') {
        Some(whole) if bytes.len() as u64 == most => whole.to_owned(), // cut within a character
        _ => text,
    })
}

fn first_chars(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// A line without its list marker and its `[3x]` counter; `None`: a heading, or nothing.
fn entry(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = if digits > 0 { line[digits..].strip_prefix(". ") } else { None };
    let plain = ["- ", "* ", "+ "].iter().find_map(|marker| line.strip_prefix(marker)).or(numbered).unwrap_or(line);
    let plain = plain.trim_start();
    let counted = plain.strip_prefix('[').and_then(|rest| rest.split_once("x]"));
    let plain = match counted {
        Some((n, rest)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => rest.trim_start(),
        _ => plain,
    };
    (!plain.is_empty() && plain != "-").then_some(plain)
}

/// Lower case; letters a-z, digits, CJK, `/ _ -`; at least two characters.
fn tokens(text: &str) -> HashSet<String> {
    let kept = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '\u{4e00}'..='\u{9fff}' | '/' | '_' | '-');
    let lower = text.to_lowercase();
    let words = lower.split(|c| !kept(c)).filter(|word| word.chars().nth(1).is_some());
    words.map(str::to_owned).collect()
}

/// How well a text fits a query: 0.5 for the whole query in it, 0.3 for tokens in common, 0.2 for the share of
/// the query's tokens that it contains.
fn score(text: &str, query: &str, wanted: &HashSet<String>) -> f64 {
    let (lower, query) = (text.to_lowercase(), query.to_lowercase());
    let has = tokens(text);
    let whole = if lower.contains(&query) { 0.5 } else { 0.0 };
    let (both, all) = (wanted.intersection(&has).count(), wanted.union(&has).count());
    let jaccard = if all == 0 { 0.0 } else { both as f64 / all as f64 };
    let within = wanted.iter().filter(|t| lower.contains(t.as_str())).count();
    let share = if wanted.is_empty() { 0.0 } else { within as f64 / wanted.len() as f64 };
    (whole + 0.3 * jaccard + 0.2 * share).min(1.0)
}

/// What a role's memory says about the query, best first, at most `max`. A role without memory: nothing.
pub fn search(roles: &Path, role: &str, query: &str, max: usize, today: Date) -> Vec<Found> {
    let memory = roles.join(role).join("memory");
    let query = query.trim();
    let wanted = tokens(query);
    let mut found = Vec::new();
    let mut judge = |text: &str, weight: f64, date: Option<&str>| {
        let score = score(text, query, &wanted) * weight;
        if score >= LEAST_SCORE {
            found.push(Found { text: text.to_owned(), score, date: date.map(str::to_owned) });
        }
    };
    let learned = text(&memory.join("consolidated.md"), CONSOLIDATED).unwrap_or_default();
    learned.lines().filter_map(entry).for_each(|line| judge(line, 1.0, None));
    for back in 0..DAYS {
        let Ok(day) = today.checked_sub(back.days()) else { break };
        let date = day.to_string();
        let notes = text(&memory.join(format!("daily/{date}.md")), DAILY).unwrap_or_default();
        let notes = format!("\n{notes}");
        for section in notes.split("\n## ") {
            let section = first_chars(section.trim(), SECTION);
            if !section.is_empty() {
                judge(section, DAILY_WEIGHT, Some(&date));
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(max);
    found
}

fn is_day(name: &str) -> bool {
    name.strip_suffix(".md").is_some_and(|day| day.len() == 10 && day.parse::<Date>().is_ok())
}

fn days(memory: &Path) -> usize {
    let entries = fs::read_dir(memory.join("daily")).into_iter().flatten().flatten().take(ENTRIES);
    entries.filter(|e| e.file_name().to_str().is_some_and(is_day)).count()
}

/// Counts of a role's memory; `None`: there is no such role.
pub fn stats(roles: &Path, role: &str) -> Option<Stats> {
    let dir = roles.join(role);
    if !roles::is_name(role) || !dir.is_dir() {
        return None;
    }
    let memory = dir.join("memory");
    let file = memory.join("consolidated.md");
    let size = file.metadata().map_or(0, |m| m.len());
    let mut stats = Stats { daily_files: days(&memory), size, ..Stats::default() };
    let mut heading = String::new();
    // What a main heading says holds for those below it.
    let mut main = String::new();
    for line in text(&file, CONSOLIDATED).unwrap_or_default().lines() {
        if let Some(title) = line.trim().strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
            if !title.starts_with('#') {
                main = heading.to_lowercase();
            }
        } else if entry(line).is_some() {
            let lower = heading.to_lowercase();
            let speaks = |words: [&str; 2]| words.iter().any(|w| lower.contains(w) || main.contains(w));
            match () {
                () if speaks(["preference", "偏好"]) => stats.preferences += 1,
                () if speaks(["event", "事件"]) => stats.events += 1,
                () => stats.learnings += 1,
            }
            if !heading.is_empty() {
                *stats.categories.entry(heading.clone()).or_default() += 1;
            }
        }
    }
    Some(stats)
}

/// All roles that have a directory.
pub fn described(roles: &Path) -> Vec<Described> {
    roles::list(roles).into_iter().map(|role| describe(&roles.join(&role), role)).collect()
}

fn describe(dir: &Path, role: String) -> Described {
    let memory = dir.join("memory");
    let soul = text(&dir.join("core/soul.md"), CORE);
    Described {
        role,
        identity: text(&dir.join("core/identity.md"), CORE).map(|t| identity(&t)),
        soul: soul.map(|t| first_chars(t.trim(), SOUL).to_owned()).filter(|t| !t.is_empty()),
        memory: memory.join("consolidated.md").is_file(),
        daily: days(&memory) > 0,
    }
}

/// `- **Name**: Ada`, `**名字：** Ada`.
fn identity(text: &str) -> BTreeMap<&'static str, String> {
    let mut fields = BTreeMap::new();
    for line in text.lines() {
        let Some((label, value)) = line.split_once("**").and_then(|(_, rest)| rest.split_once("**")) else { continue };
        let colon = [':', '：'];
        let key = match label.trim().trim_end_matches(colon).trim() {
            "Name" | "名字" => "name",
            "Creature" | "生物" => "creature",
            "Vibe" | "风格" => "vibe",
            "Emoji" | "表情" => "emoji",
            _ => continue,
        };
        let value = value.trim_start().trim_start_matches(colon).trim();
        if !value.is_empty() {
            fields.entry(key).or_insert_with(|| value.to_owned());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_markers_and_counters() {
        for (line, kept) in [
            ("- [3x] use rg", Some("use rg")),
            ("* use rg", Some("use rg")),
            ("12. use rg", Some("use rg")),
            ("[x] done", Some("[x] done")),
            ("plain", Some("plain")),
            ("## Heading", None),
            ("   ", None),
        ] {
            assert_eq!(entry(line), kept, "{line}");
        }
    }

    #[test]
    fn tokens_are_words_paths_and_cjk_of_two_characters_or_more() {
        let sorted = |text: &str| {
            let mut list: Vec<String> = tokens(text).into_iter().collect();
            list.sort();
            list
        };
        assert_eq!(sorted("Use src/main.rs, a x_y-z! Ünder"), ["nder", "rs", "src/main", "use", "x_y-z"]);
        assert_eq!(sorted("喜欢 猫 咖啡，你好"), ["你好", "咖啡", "喜欢"]);
    }

    #[test]
    fn scores_are_the_sum_that_is_documented() {
        let judge = |text: &str, query: &str| score(text, query, &tokens(query));
        // the whole query, two of three tokens in common, all of the query's
        assert!((judge("prefers dark mode", "Dark Mode") - (0.5 + 0.3 * 2.0 / 3.0 + 0.2)).abs() < 1e-9);
        assert!((judge("mode dark", "dark mode") - 0.5).abs() < 1e-9);
        assert!((judge("darkness", "dark mode") - 0.2 * 0.5).abs() < 1e-9);
        assert_eq!(judge("same text", "same text"), 1.0);
        assert_eq!(judge("nothing", "else here"), 0.0);
        assert!((judge("我喜欢咖啡", "咖啡") - 0.7).abs() < 1e-9);
    }

    #[test]
    fn identities_are_read_in_both_languages() {
        let fields =
            identity("# Identity\n- **Name**: Ada\n- **生物**：猫\n**Vibe:** calm\n- **Emoji**:\n- **Other**: x\n");
        let want = [("creature", "猫"), ("name", "Ada"), ("vibe", "calm")];
        assert_eq!(fields, want.into_iter().map(|(k, v)| (k, v.to_owned())).collect());
    }

    #[test]
    fn a_huge_or_strange_file_is_read_in_part_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        fs::write(&path, "ü".repeat(100)).unwrap();
        assert_eq!(text(&path, 51).unwrap(), "ü".repeat(25));
        assert_eq!(text(dir.path(), 10), None);
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(text(&pipe, 10), None);
    }
}
