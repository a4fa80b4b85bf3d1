//! Files that people are shown: signed links, `MEDIA:` in what agents say, and `GET /api/media/*` (gateway-api.md
//! 1.10, R7, R72, R73). A link is made where it is read, so that it is fresh; a file is opened when it is asked for.

pub mod directive;
mod link;
mod range;
mod spot;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::exchange::{Exchange, Handled, Piece, Reply};
use super::fault::Fault;
use super::guard::wall;
use super::port::Port;
use super::settings::Settings;
use crate::message::{Answer, Home, Place, Request, Whose};
use directive::{Named, Shown};
use range::Wanted;

pub use link::{encode, MediaKey};
pub use spot::{Denied, Spot};

/// Endings and types: of pictures that may be shown in a page, then of sound and video.
const TYPES: [(&str, &str); 20] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
    ("bmp", "image/bmp"),
    ("ico", "image/x-icon"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("wav", "audio/wav"),
    ("m4a", "audio/mp4"),
    ("flac", "audio/flac"),
    ("aac", "audio/aac"),
    ("aiff", "audio/aiff"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("mov", "video/quicktime"),
    ("avi", "video/x-msvideo"),
];

fn type_of(ending: &str) -> &'static str {
    TYPES.iter().find(|(e, _)| *e == ending).map_or("application/octet-stream", |(_, t)| t)
}

/// Shown as a picture in a chat (1.10).
pub fn is_picture(ending: &str) -> bool {
    matches!(ending, "png" | "jpg" | "jpeg" | "gif" | "webp" | "svg" | "bmp")
}

/// A link that is good from now on.
pub fn link(s: &Settings, sid: &str, spot: &Spot) -> String {
    s.media.key.link(sid, spot, s.media.ttl, wall())
}

/// Links to pictures that a user sent.
pub fn uploads(s: &Settings, sid: &str, paths: &[PathBuf]) -> Vec<String> {
    paths.iter().filter_map(|path| Spot::upload(path, s)).map(|spot| link(s, sid, &spot)).collect()
}

/// Whether something in it becomes a picture or a link.
pub fn names_files(text: &str) -> bool {
    directive::any(text)
}

/// What an agent said, as a page shows it. Looks at the files: for threads that may wait a moment.
pub fn shown(s: &Settings, home: &Home, text: &str) -> Shown {
    directive::replace(text, true, |path| find(s, home, path))
}

/// The same as text only.
pub fn as_text<'a>(s: &Settings, home: Option<&Home>, text: &'a str) -> Cow<'a, str> {
    match home {
        Some(home) if directive::any(text) => directive::replace(text, false, |path| find(s, home, path)).text.into(),
        _ => text.into(),
    }
}

/// A file that does not exist (yet) gets its link: what matters here is that the path stays inside.
fn find(s: &Settings, home: &Home, path: &str) -> Option<Named> {
    let spot = Spot::named(path, &home.cwd, s, false).ok()?;
    match spot.open(&home.cwd, s) {
        Err(Denied::Refused | Denied::Broken(_)) => return None,
        Ok(_) | Err(Denied::Absent) => {}
    }
    Some(Named { link: link(s, &home.sid, &spot), name: spot.name().to_owned(), picture: is_picture(&spot.ending()) })
}

/// Where a session's files are; `None`: there is no such session.
pub fn place(port: &Port, whose: Whose) -> Result<Option<Place>, Fault> {
    match port.mind.ask(Request::Place(whose), port.settings.get().times.ask) {
        Answer::Place(place) => Ok(place.map(|place| *place)),
        other => Err(Fault::from_answer(other)),
    }
}

/// [`as_text`] of a reply over HTTP; a session that is gone meanwhile leaves the text as it is.
pub fn reply_text(port: &Port, session: &str, text: String) -> String {
    if !directive::any(&text) {
        return text;
    }
    let home = place(port, Whose::Key(session.to_owned())).ok().flatten().map(|place| place.home);
    as_text(&port.settings.get(), home.as_ref(), &text).into_owned()
}

fn forbidden() -> Fault {
    Fault::new(403, "forbidden", "Forbidden")
}

/// GET `/api/media/{sig}/{name}`: the signature is the authentication.
pub fn serve(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let (s, call) = (port.settings.get(), ex.call());
    let param = |name| call.head.param(name).filter(|value| !value.is_empty());
    let (Some(sid), Some(path), Some(exp)) = (param("sk"), param("path"), param("exp")) else {
        return Err(Fault::invalid("Missing parameters"));
    };
    if !s.media.key.admits(&call.args[0], &sid, &path, &exp, wall()) {
        return Err(forbidden());
    }
    let spot = Spot::parse(&path).map_err(|_| forbidden())?;
    let place = place(port, Whose::Sid(sid))?.ok_or_else(forbidden)?;
    let (file, data) = spot.open(&place.home.cwd, &s).map_err(|denied| match denied {
        Denied::Absent => Fault::not_found(),
        Denied::Refused => forbidden(),
        Denied::Broken(e) => {
            log::warn!("{spot} of {} cannot be read: {e}", place.session);
            Fault::new(500, "internal", "The file cannot be read")
        }
    })?;
    let size = data.len();
    if size > s.media_max as u64 {
        return Err(Fault::new(413, "payload_too_large", "File too large"));
    }
    let changed = data.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    let etag = format!("W/\"{size:x}-{changed:x}\"");
    let head = &call.head;
    let reply = Reply::new(200).with("ETag", etag.clone()).with("Cache-Control", "private, max-age=3600");
    let reply = dressed(reply, &spot);
    let mut known = head.all("if-none-match").flat_map(|v| v.split(',')).map(str::trim);
    if known.any(|v| v == etag || v == "*") {
        return Ok(reply.status(304));
    }
    // A weak tag never says that two answers are the same byte by byte: If-Range gets the whole file.
    let range = head.field("range").filter(|_| head.field("if-range").is_none());
    match range.map_or(Wanted::All, |range| range::wanted(range, size)) {
        Wanted::All => Ok(reply.file(Piece { file: file.into(), from: 0, len: size })),
        Wanted::Part { from, len } => {
            let part = format!("bytes {from}-{}/{size}", from + len - 1);
            Ok(reply.status(206).with("Content-Range", part).file(Piece { file: file.into(), from, len }))
        }
        Wanted::Nothing => {
            let fault = Fault::new(416, "invalid_request", "The file has no such part");
            let reply = Reply::fault(&fault, &call.id, call.shape());
            Ok(reply.with("Content-Range", format!("bytes */{size}")))
        }
    }
}

/// `/api/media/x`: there is no signature.
pub fn unsigned(_: &Port, _: &mut dyn Exchange) -> Handled {
    Err(Fault::invalid("Bad Request"))
}

/// What the file is. Only what cannot run anything is shown in place; the rest is for saving, in a sandbox.
fn dressed(reply: Reply, spot: &Spot) -> Reply {
    let kind = type_of(&spot.ending());
    let harmless = kind != "image/svg+xml" && kind != "application/octet-stream";
    let reply = reply.with("Content-Type", kind).with("Accept-Ranges", "bytes");
    match harmless {
        true => reply.with("Content-Disposition", disposition("inline", spot.name())),
        false => reply
            .with("Content-Disposition", disposition("attachment", spot.name()))
            .with("Content-Security-Policy", "sandbox"),
    }
}

/// RFC 6266: a plain name for old clients, the real one if it is not plain.
fn disposition(how: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' };
    let fallback: String = name.chars().map(plain).collect();
    match fallback == name {
        true => format!("{how}; filename=\"{name}\""),
        false => format!("{how}; filename=\"{fallback}\"; filename*=UTF-8''{}", encode(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_headers_cannot_break_out() {
        for (name, expected) in [
            ("a b.svg", "attachment; filename=\"a b.svg\""),
            ("a\"b.svg", "attachment; filename=\"a_b.svg\"; filename*=UTF-8''a%22b.svg"),
            ("ü\r\nX: y", "attachment; filename=\"___X: y\"; filename*=UTF-8''%C3%BC%0D%0AX%3A%20y"),
        ] {
            assert_eq!(disposition("attachment", name), expected);
        }
    }
}
