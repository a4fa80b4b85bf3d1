//! `pi-gw media stats|clean|sticker-cache`: files that were received.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{json, Value};

use super::pairing::{carried_out, configured, number, say, table, unopened, Failed};
use super::{exit, Call, Io};
use crate::config::Env;
use crate::gateway::Stickers;
use crate::tidy::{count, tidy, Limits, Tidied};

const DAY: u64 = 86_400;

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// The directories of the channels: that one, or all.
fn dirs(root: PathBuf, channel: Option<&str>) -> Result<Vec<(String, PathBuf)>, Failed> {
    if let Some(channel) = channel {
        let plain = !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        return match plain {
            true => Ok(vec![(channel.to_owned(), root.join(channel))]),
            false => Err((exit::FAILED, format!("there is no channel \"{channel}\""))),
        };
    }
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
        .collect();
    all.sort();
    Ok(all)
}

/// `pi-gw media stats`
pub fn stats(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = unopened(call, env).and_then(|place| {
        let all = dirs(place.paths.media_dir(), call.value("--channel"))?;
        let all: Vec<(String, Tidied)> = all.into_iter().map(|(name, dir)| (name, count(&dir))).collect();
        if call.has("--json") {
            let json =
                |(name, seen): &(String, Tidied)| json!({"channel": name, "files": seen.files, "bytes": seen.bytes});
            return Ok(io
                .say(format_args!("{:#}", Value::from(all.iter().map(json).collect::<Vec<_>>())))
                .map(|()| exit::OK));
        }
        if all.is_empty() {
            return Ok(io.say("No files were received.").map(|()| exit::OK));
        }
        let row = |(name, seen): &(String, Tidied)| vec![name.clone(), seen.files.to_string(), size(seen.bytes)];
        Ok(table(io, &["channel", "files", "size"], &all.iter().map(row).collect::<Vec<_>>()).map(|()| exit::OK))
    });
    carried_out(io, done)
}

/// `pi-gw media clean`
pub fn clean(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let days = match number(call, io, "--days", 30, 0) {
        Ok(n) => u64::from(n),
        Err(code) => return code,
    };
    let done = unopened(call, env).and_then(|place| {
        let limits = Limits { age: Duration::from_secs(days * DAY), total: u64::MAX };
        let dry = call.has("--dry-run");
        let mut all = Tidied::default();
        for (_, dir) in dirs(place.paths.media_dir(), call.value("--channel"))? {
            let one = tidy(&dir, limits, SystemTime::now(), dry);
            (all.files, all.bytes, all.dirs) = (all.files + one.files, all.bytes + one.bytes, all.dirs + one.dirs);
            all.errors.extend(one.errors);
        }
        all.errors.truncate(5);
        all.errors.iter().for_each(|why| io.tell(why));
        let verb = if dry { "would be removed" } else { "removed" };
        let text = format!("{} files ({}) and {} empty directories {verb}", all.files, size(all.bytes), all.dirs);
        let value = json!({
            "ok": all.errors.is_empty(), "files": all.files, "bytes": all.bytes, "directories": all.dirs,
            "errors": all.errors, "dryRun": dry,
        });
        let code = if all.errors.is_empty() { exit::OK } else { exit::FAILED };
        Ok(say(call, io, text, value).map(|_| code))
    });
    carried_out(io, done)
}

/// `pi-gw media sticker-cache stats`
pub fn stickers(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    let done = cache(call, env).map(|cache| {
        let kept = cache.count();
        let text = format!(
            "{} stickers of {} sets are known; {} of their files are there ({})",
            kept.stickers,
            kept.sets,
            kept.files,
            size(kept.bytes)
        );
        let value = json!({"stickers": kept.stickers, "sets": kept.sets, "files": kept.files, "bytes": kept.bytes});
        say(call, io, text, value)
    });
    carried_out(io, done)
}

/// `pi-gw media sticker-cache prune`
pub fn prune_stickers(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    forget(call, env, io, false)
}

/// `pi-gw media sticker-cache clear`
pub fn clear_stickers(call: &Call, env: &Env, io: &mut Io<'_>) -> u8 {
    forget(call, env, io, true)
}

fn forget(call: &Call, env: &Env, io: &mut Io<'_>, all: bool) -> u8 {
    let done = cache(call, env).and_then(|cache| {
        let count = cache.forget(all).map_err(|e| (exit::CANNOT_WRITE, format!("the sticker cache: {e}")))?;
        Ok(say(call, io, format!("{count} stickers forgotten"), json!({"ok": true, "forgotten": count})))
    });
    carried_out(io, done)
}

fn cache(call: &Call, env: &Env) -> Result<Stickers, Failed> {
    let paths = configured(call, env)?.paths(env);
    Ok(Stickers::new(paths.sticker_cache(), paths.media_dir()))
}
