//! Files that came with messages: fetched from their account, kept, and told to the agent (telegram.md 8).
//!
//! Runs on the hands of a session. Never decides whether a message counts: what cannot be had becomes a line that says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::picture;
use super::stickers::Stickers;
use crate::channels::{Fetcher, Missing};
use crate::message::*;

/// Fetches of one account at a time.
const AT_ONCE: usize = 2;
/// Pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Longest side of a picture that the model gets, pixels, and its size, bytes: 4.5 MB as base64.
const SIDE: u32 = 2000;
const PICTURE: u64 = 4_500_000 / 4 * 3;
/// Bytes in which a picture's size must stand.
const HEAD: u64 = 256 << 10;
/// Characters of a text document that the prompt holds.
const INLINE: usize = 10_000;
/// Recordings up to there are written down, seconds.
const RECORDING: u64 = 600;

/// The accounts from which files can be had.
#[derive(Default)]
pub struct Files {
    media_dir: PathBuf,
    stickers: Stickers,
    accounts: Mutex<BTreeMap<(String, String), Desk>>,
}

#[derive(Clone)]
struct Desk {
    fetcher: Arc<dyn Fetcher>,
    busy: Arc<(Mutex<usize>, Condvar)>,
}

impl Desk {
    /// Runs `work` as one of a few at a time; `None`: none ended until then.
    fn when_free<T>(&self, until: Instant, work: impl FnOnce() -> T) -> Option<T> {
        struct Place<'a>(&'a (Mutex<usize>, Condvar));
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                *self.0 .0.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
                self.0 .1.notify_one();
            }
        }
        let (count, ended) = &*self.busy;
        let left = until.saturating_duration_since(Instant::now());
        let busy = count.lock().unwrap_or_else(|e| e.into_inner());
        let waited = ended.wait_timeout_while(busy, left, |n| *n >= AT_ONCE);
        let (mut busy, late) = waited.unwrap_or_else(|e| e.into_inner());
        if late.timed_out() {
            return None;
        }
        *busy += 1;
        drop(busy);
        let _place = Place(&self.busy);
        Some(work())
    }
}

impl Files {
    pub fn new(media_dir: PathBuf, stickers: PathBuf) -> Files {
        let stickers = Stickers::new(stickers, media_dir.clone());
        Files { media_dir, stickers, accounts: Mutex::default() }
    }

    /// `None`: the account runs no more.
    pub fn set(&self, channel: &str, account: &str, fetcher: Option<Arc<dyn Fetcher>>) {
        let mut accounts = self.accounts.lock().unwrap_or_else(|e| e.into_inner());
        let key = (channel.to_owned(), account.to_owned());
        match fetcher {
            Some(fetcher) => {
                let busy = accounts.get(&key).map(|d| d.busy.clone()).unwrap_or_default();
                accounts.insert(key, Desk { fetcher, busy });
            }
            None => {
                accounts.remove(&key);
            }
        }
    }

    fn desk(&self, s: &Source) -> Option<Desk> {
        let key = (s.channel.clone(), s.account.clone().unwrap_or_default());
        self.accounts.lock().unwrap_or_else(|e| e.into_inner()).get(&key).cloned()
    }

    /// All files of a message.
    pub fn fetch(&self, parts: &[Attached], within: Duration) -> JobDone {
        let until = Instant::now() + within;
        JobDone::Fetched(parts.iter().map(|part| self.part(part, until)).collect())
    }

    fn part(&self, part: &Attached, until: Instant) -> Fetched {
        let mut got = Fetched { row: part.row, ..Fetched::default() };
        let mut lines = Vec::new();
        for (n, file) in part.files.iter().enumerate() {
            let mut path = self.path(part, file, n);
            let known = self.stickers.find(file).and_then(|at| Some((at, self.desk(&part.source)?)));
            let obtained = match known {
                Some((at, desk)) => {
                    path = at;
                    Ok(desk)
                }
                None => self.obtain(&part.source, file, &path, until).inspect(|_| self.remember(part, file, &path)),
            };
            let line = match obtained {
                Ok(desk) => {
                    // Again like any other file: a fetch after a crash finds the same name.
                    crate::fault::point("file fetched");
                    self.describe(file, &path, &desk, &mut got)
                }
                Err(Missing::TooLarge { size, limit }) => {
                    got.tell.push(Trouble::TooLarge { limit: megabytes(limit) });
                    let size = size.map_or(String::new(), |n| format!("{} MB, ", megabytes(n)));
                    file.missing(&format!("not downloaded: too large ({size}limit {} MB)", megabytes(limit)))
                }
                Err(Missing::Failed { why, .. }) => {
                    log::warn!(
                        "{}: a {} of chat {} did not come: {why}",
                        part.source.channel,
                        file.kind,
                        part.source.chat
                    );
                    file.missing("download failed")
                }
            };
            lines.push(line);
        }
        got.tell.dedup();
        got.tail = lines.join("\n");
        got
    }

    fn remember(&self, part: &Attached, file: &FileRef, path: &Path) {
        if file.kind == "sticker" {
            let seen = picture::look(&first_bytes(path, HEAD)).map_or(mime(&plain_name(path)), |p| p.mime);
            self.stickers.keep(file, path, seen, &part.source, part.at);
        }
    }

    /// Up to three attempts; each with the account as it is then.
    fn obtain(&self, source: &Source, file: &FileRef, path: &Path, until: Instant) -> Result<Desk, Missing> {
        let failed = |why: &str, again| Missing::Failed { why: why.into(), again };
        let mut pauses = PAUSES.iter();
        loop {
            let tried = match self.desk(source) {
                None => Err(failed("its account does not run", true)),
                Some(desk) => {
                    let part = path.with_extension("part");
                    let fetch = || folder(path).and_then(|()| desk.fetcher.fetch(file, &part, until));
                    let done =
                        desk.when_free(until, fetch).unwrap_or_else(|| Err(failed("others took too long", false)));
                    let kept = done.and_then(|()| {
                        std::fs::rename(&part, path).map_err(|e| failed(&format!("it cannot be kept: {e}"), false))
                    });
                    if kept.is_err() {
                        let _ = std::fs::remove_file(&part); // there may be none
                    }
                    kept.map(|()| desk)
                }
            };
            match (tried, pauses.next()) {
                (Err(Missing::Failed { again: true, .. }), Some(pause)) if Instant::now() + *pause < until => {
                    std::thread::sleep(*pause);
                }
                (tried, _) => return tried,
            }
        }
    }

    /// `<media>/<channel>/<chat>/<day>/<message>-<name>`
    fn path(&self, part: &Attached, file: &FileRef, n: usize) -> PathBuf {
        let day = jiff::Timestamp::from_millisecond(part.at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let day = day.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        let message = part.source.message_id.as_deref().unwrap_or("0");
        let number = if n == 0 { String::new() } else { format!("{}-", n + 1) };
        let name = tidy(&format!("{message}-{number}{}", name_of(file, part.at)));
        self.media_dir.join(tidy(&part.source.channel)).join(tidy(&part.source.chat)).join(day).join(name)
    }

    /// What the agent is told; what the model is shown goes into `got`.
    fn describe(&self, file: &FileRef, path: &Path, desk: &Desk, got: &mut Fetched) -> String {
        let at = path.display();
        let head = first_bytes(path, HEAD);
        let picture = picture::look(&head);
        let name = file.name.clone().unwrap_or_else(|| plain_name(path));
        let mime = file.mime.clone().or(picture.map(|p| p.mime.to_owned())).unwrap_or_else(|| mime(&name).to_owned());
        let mut show = || {
            let size = path.metadata().map_or(u64::MAX, |m| m.len());
            let most = PICTURE.min(desk.fetcher.limit());
            let fits = picture.filter(|p| p.width.max(p.height) <= SIDE && size <= most);
            got.images.extend(fits.map(|p| Image { path: path.to_owned(), mime: p.mime.to_owned() }));
        };
        let saved = |what: &str| format!("[{what}\nFile saved to: {at}]");
        let heard = |got: &mut Fetched| match hear(file, path, desk) {
            Some(Ok(text)) => format!("\n[Transcript] {text}"),
            Some(Err(trouble)) if trouble == Trouble::TranscriptionFailed => {
                got.tell.push(trouble);
                "\n[Transcription failed]".to_owned()
            }
            _ => String::new(),
        };
        match file.kind.as_str() {
            "photo" => {
                show();
                format!("[Photo saved to: {at}]")
            }
            "sticker" => {
                show();
                saved(format!("Sticker {}", file.note).trim_end())
            }
            "video" => saved(&format!("Video: {name} ({mime})")),
            "video_note" => saved("Video Note (round video)") + &heard(got),
            "animation" => saved(&format!("Animation/GIF: {name} ({mime})")),
            "audio" => {
                let note = if file.note.is_empty() { String::new() } else { format!(" — {}", file.note) };
                saved(&format!("Audio: {name}{note} ({mime})")) + &heard(got)
            }
            "voice" => match hear(file, path, desk) {
                Some(Ok(text)) => format!("[Voice message (saved to: {at})] {text}"),
                Some(Err(trouble)) => {
                    got.tell.push(trouble);
                    let seconds = file.seconds.unwrap_or(0);
                    match trouble {
                        Trouble::NoTranscription => {
                            format!("[Voice message, {seconds} s, not transcribed (saved to: {at})]")
                        }
                        _ => format!("[Voice message, {seconds} s, transcription failed (saved to: {at})]"),
                    }
                }
                None => saved("Voice message"),
            },
            _ if picture.is_some() => {
                show();
                format!("[Image: {name}, saved to: {at}]")
            }
            _ => match is_text(&mime, &name).then(|| inlined(path)).flatten() {
                Some(text) => format!("[Document: {name} ({mime})]\nFile saved to: {at}\n{text}"),
                None => saved(&format!("Document: {name} ({mime})")),
            },
        }
    }
}

/// What is said in it; `None`: it is none of the recordings that are written down.
fn hear(file: &FileRef, path: &Path, desk: &Desk) -> Option<Result<String, Trouble>> {
    let voice = file.kind == "voice";
    let Some(transcriber) = desk.fetcher.transcriber() else { return voice.then_some(Err(Trouble::NoTranscription)) };
    if !voice && file.seconds.is_none_or(|s| s > RECORDING) {
        return None;
    }
    let name = match file.kind.as_str() {
        "voice" => "audio.ogg".to_owned(),
        "video_note" => "video.mp4".to_owned(),
        _ => plain_name(path),
    };
    Some(transcriber.hear(path, &name).map_err(|why| {
        log::warn!("a {} was not written down: {why}", file.kind);
        Trouble::TranscriptionFailed
    }))
}

fn folder(path: &Path) -> Result<(), Missing> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Missing::Failed { why: format!("{}: {e}", dir.display()), again: false })
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn plain_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn first_bytes(path: &Path, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(most).read_to_end(&mut bytes));
    if let Err(e) = read {
        log::warn!("{}: {e}", path.display());
    }
    bytes
}

/// The sender's name for it, or one by its kind.
fn name_of(file: &FileRef, at: Wall) -> String {
    match (file.kind.as_str(), &file.name) {
        (_, Some(name)) => name.clone(),
        ("photo", _) => format!("photo-{at}.jpg"),
        ("voice", _) => format!("voice-{at}.ogg"),
        ("video_note", _) => format!("video-note-{at}.mp4"),
        ("sticker", _) if file.note.contains("thumbnail") => format!("sticker-{}-thumb.webp", file.unique),
        ("sticker", _) => format!("sticker-{}.webp", file.unique),
        (kind, _) => format!("{kind}-{at}{}", ending(file.mime.as_deref().unwrap_or_default())),
    }
}

/// A name for the file system: `A-Z a-z 0-9 . _ -`, no dot first, at most 120 bytes; the end is kept.
fn tidy(name: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let name: String = name.chars().map(fine).collect();
    let name = name.trim_start_matches('.');
    let (stem, end) = match name.rsplit_once('.') {
        Some((stem, end)) if end.len() <= 16 => (stem, format!(".{end}")),
        _ => (name, String::new()),
    };
    let stem = &stem[..stem.len().min(120 - end.len())];
    if stem.is_empty() && end.is_empty() {
        return "_".to_owned();
    }
    format!("{stem}{end}")
}

const TYPES: [(&str, &str); 13] = [
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("wav", "audio/wav"),
    ("m4a", "audio/mp4"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("pdf", "application/pdf"),
];

fn end_of(name: &str) -> String {
    name.rsplit_once('.').map_or(String::new(), |(_, end)| end.to_ascii_lowercase())
}

fn mime(name: &str) -> &'static str {
    let end = end_of(name);
    TYPES.iter().find(|(e, _)| *e == end).map_or("application/octet-stream", |(_, mime)| mime)
}

fn ending(mime: &str) -> String {
    TYPES.iter().find(|(_, m)| *m == mime).map_or(String::new(), |(end, _)| format!(".{end}"))
}

/// May the prompt hold it?
fn is_text(mime: &str, name: &str) -> bool {
    const ENDS: [&str; 26] = [
        "txt", "md", "csv", "tsv", "log", "json", "jsonl", "xml", "yaml", "yml", "toml", "ini", "conf", "js", "mjs",
        "ts", "py", "rs", "go", "c", "h", "sh", "sql", "html", "css", "svg",
    ];
    let kind = mime.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "application/xml", "application/yaml", "application/toml", "image/svg+xml"];
    kind.starts_with("text/") || known.contains(&kind) || ENDS.contains(&end_of(name).as_str())
}

/// The beginning of a text, in a fence that nothing in it ends; `None`: it is no UTF-8.
fn inlined(path: &Path) -> Option<String> {
    let mut bytes = first_bytes(path, 4 * INLINE as u64 + 4);
    let whole = path.metadata().is_ok_and(|m| m.len() <= bytes.len() as u64);
    if let Err(e) = std::str::from_utf8(&bytes) {
        if whole || e.error_len().is_some() {
            return None;
        }
        bytes.truncate(e.valid_up_to()); // cut in the middle of a character
    }
    let text = String::from_utf8(bytes).ok()?;
    let shown: String = text.chars().take(INLINE).collect();
    let more = if shown.len() < text.len() || !whole { "\n...(truncated)" } else { "" };
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    Some(format!("{fence}\n{}\n{fence}{more}", shown.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_the_file_system() {
        let long = format!("{}.tar", "ü".repeat(300));
        for (name, want) in [
            ("7-report.pdf", "7-report.pdf"),
            ("7-../../etc/passwd", "7-.._.._etc_passwd"),
            ("..", "_"),
            ("", "_"),
            ("7-a b\"c\n.txt", "7-a_b_c_.txt"),
            (&long, &format!("{}.tar", "_".repeat(116))),
        ] {
            assert_eq!(tidy(name), want, "{name}");
        }
    }

    #[test]
    fn a_text_is_fenced_and_cut_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            inlined(&path)
        };
        assert_eq!(read(b"a\n```\nb\n").unwrap(), "````\na\n```\nb\n````");
        assert_eq!(read(b"\xff\xfe"), None);
        let long = read("€".repeat(30_000).as_bytes()).unwrap();
        assert!(long.ends_with("```\n...(truncated)"), "{}", &long[long.len() - 40..]);
        assert_eq!(long.chars().filter(|c| *c == '€').count(), INLINE);
    }

    #[test]
    fn what_is_a_text_is_known_by_type_or_name() {
        for (mime, name, want) in [
            ("text/plain", "x", true),
            ("application/json", "x", true),
            ("application/octet-stream", "a.TOML", true),
            ("image/svg+xml", "a.svg", true),
            ("application/pdf", "a.pdf", false),
            ("application/octet-stream", "noend", false),
        ] {
            assert_eq!(is_text(mime, name), want, "{mime} {name}");
        }
    }
}
