//! The embedded web page, and logging in to it with a cookie (R27, R29, R72).

use std::sync::OnceLock;

use serde_json::json;

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::Access;
use super::head::{form, Head};
use super::json::Members;
use super::logins::hash;
use super::port::Port;

const CSP: &str = "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'; \
                   base-uri 'none'";

struct File {
    name: &'static str,
    body: &'static [u8],
    /// The same, compressed with gzip.
    gzip: &'static [u8],
}

/// Everything the page consists of: one table. `build.rs` put the files there, without comments.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        static FILES: &[File] = &[
            $(File {
                name: $name,
                body: include_bytes!(concat!(env!("OUT_DIR"), "/web/", $name)),
                gzip: include_bytes!(concat!(env!("OUT_DIR"), "/web/", $name, ".gz")),
            }),*
        ];
    };
}

files![
    "index.html",
    "style.css",
    "app.js",
    "link.js",
    "model.js",
    "markdown.js",
    "outbox.js",
    "view.js",
    "sessions.js",
    "picks.js",
    "complete.js",
    "theme.js",
    "icon.svg",
    "login.js",
    "ask.js",
    "dialogs.js",
    "images.js",
];

/// Strong: each form of a file has its own.
fn etag(at: usize, gzip: bool) -> &'static str {
    static ETAGS: OnceLock<Vec<[String; 2]>> = OnceLock::new();
    let of = |bytes: &[u8]| format!("\"{}\"", &hash(bytes)[..22]);
    &ETAGS.get_or_init(|| FILES.iter().map(|f| [of(f.body), of(f.gzip)]).collect())[at][usize::from(gzip)]
}

/// `gzip`, or `*`, unless with a weight of nothing.
fn takes_gzip(head: &Head) -> bool {
    let codings = || head.all("accept-encoding").flat_map(|v| v.split(','));
    let weight = |name: &str| {
        let coding = codings().map(|c| c.split_once(';').unwrap_or((c, "")));
        let (_, weight) = coding.into_iter().find(|(c, _)| c.trim().eq_ignore_ascii_case(name))?;
        let q = weight.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
        Some(q.is_some_and(|q| q > 0.0))
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

impl File {
    fn kind(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("json") => "application/json",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("ico") => "image/x-icon",
            _ => "application/octet-stream",
        }
    }
}

/// The client has that version already.
pub fn is_known(head: &Head, etag: &str) -> bool {
    let known = head.all("if-none-match").flat_map(|v| v.split(',')).map(str::trim);
    known.map(|v| v.trim_start_matches("W/")).any(|v| v == etag || v == "*")
}

fn serve(port: &Port, ex: &mut dyn Exchange, name: &str) -> Handled {
    if !port.settings.get().page {
        return Err(Fault::new(404, "not_found", "Web UI disabled (--no-gui mode)"));
    }
    let at = FILES.iter().position(|f| f.name == name).ok_or_else(Fault::not_found)?;
    let (file, head) = (&FILES[at], &ex.call().head);
    let gzip = file.gzip.len() < file.body.len() && takes_gzip(head);
    let etag = etag(at, gzip);
    let known = is_known(head, etag);
    let reply = Reply::new(if known { 304 } else { 200 }).with("ETag", etag);
    let reply = reply.with("Cache-Control", "no-cache").with("Vary", "Accept-Encoding");
    if known {
        return Ok(reply);
    }
    let reply = reply.with("Content-Type", file.kind()).with("Content-Security-Policy", CSP);
    Ok(match gzip {
        true => reply.with("Content-Encoding", "gzip").body(file.gzip),
        false => reply.body(file.body),
    })
}

/// `/`; with a right `?token=` it sets the cookie and drops the secret from the address.
pub fn index(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    if call.head.param("token").is_some() {
        let reply = Reply::new(303).with("Location", "/");
        return Ok(match call.access {
            Access::Query | Access::Bearer => with_cookie(port, ex, reply),
            _ => reply,
        });
    }
    serve(port, ex, "index.html")
}

pub fn file(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let name = ex.call().args[0].clone();
    serve(port, ex, &name)
}

/// Browsers ask for it whatever the page says; the page has an icon of its own.
pub fn favicon(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let icon = ["favicon.ico", "icon.svg"].into_iter().find(|n| FILES.iter().any(|f| f.name == *n));
    match icon {
        Some(name) => serve(port, ex, name),
        None => Ok(Reply::new(204)),
    }
}

pub fn robots(_: &Port, _: &mut dyn Exchange) -> Handled {
    let text = b"User-agent: *\nDisallow: /\n";
    Ok(Reply::new(200).with("Content-Type", "text/plain; charset=utf-8").body(&text[..]))
}

fn with_cookie(port: &Port, ex: &mut dyn Exchange, reply: Reply) -> Reply {
    match port.guard.login(&port.settings.get(), &ex.call().peer) {
        Some(cookie) => reply.with("Set-Cookie", cookie),
        None => reply,
    }
}

/// `{token}` as JSON, or a form; a form is sent on to the page.
pub fn login(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let is_form = call.head.field("content-type").is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    let token = if is_form {
        form(&String::from_utf8_lossy(&call.body), "token")
    } else {
        Members::body(&call.body, "Invalid JSON body")?.text("token")?.map(str::to_owned)
    };
    let token = token.ok_or_else(|| Fault::invalid("token is required"))?;
    port.guard.check(&port.settings.get(), call.peer.addr, &token)?;
    let reply = if is_form { Reply::new(303).with("Location", "/") } else { Reply::json(&json!({"ok": true})) };
    Ok(with_cookie(port, ex, reply))
}

pub fn logout(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let gone = port.guard.logout(&ex.call().head);
    Ok(Reply::json(&json!({"ok": true})).with("Set-Cookie", gone))
}
