//! Pictures of a chat completion: `data:` addresses, and addresses on the network, which are fetched only through the
//! guard against private places (gateway-api.md R65, core.md 18).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::http::fault::Fault;
use crate::http::images::{self, Stored, MOST};
use crate::http::port::Port;
use crate::http::settings::Settings;
use crate::net::{Agent, Error, Request};

/// For all pictures of a request, from the first lookup to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest address that is fetched, bytes.
const ADDRESS: usize = 2048;

/// One `image_url`.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Where it stands in the request, as errors name it.
    pub at: String,
    pub url: String,
}

impl Picture {
    /// Whether it is on the network; `None`: neither there nor in the address itself.
    pub fn remote(url: &str) -> Option<bool> {
        let scheme = |name: &str| url.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
        match () {
            () if scheme("data:") => Some(false),
            () if scheme("http://") || scheme("https://") => Some(true),
            () => None,
        }
    }
}

/// Writes all of them to the media folder. Those of the network count together as much as the body of the request
/// could have held.
pub fn store(port: &Port, s: &Settings, pictures: Vec<Picture>) -> Result<Stored, Fault> {
    if pictures.len() > MOST {
        return Err(Fault::invalid(format!("messages: at most {MOST} pictures")).param("messages"));
    }
    let mut stored = Stored::default();
    let (end, mut left, mut agent) = (Instant::now() + PATIENCE, s.limits.chat_body, None);
    for Picture { at, url } in pictures {
        let named = |mut fault: Fault| {
            fault.message.insert_str(0, &format!("{at}: "));
            fault.param(at.clone())
        };
        if Picture::remote(&url) == Some(true) {
            let agent = match &agent {
                Some(agent) => agent,
                None => agent.insert(port.operator.fetcher().map_err(|why| named(refused(why)))?),
            };
            let bytes = fetch(agent, &url, s.media_max.min(left), end).map_err(named)?;
            left -= bytes.len();
            images::add(s, &mut stored, &bytes, "").map_err(named)?;
        } else {
            let one = images::store(s, Some(Value::Array(vec![json!({"data": url})]))).map_err(named)?;
            stored.join(one);
        }
    }
    Ok(stored)
}

fn refused(why: impl std::fmt::Display) -> Fault {
    Fault::invalid(format!("the picture could not be fetched: {why}"))
}

fn fetch(agent: &Agent, url: &str, limit: usize, end: Instant) -> Result<Vec<u8>, Fault> {
    if url.len() > ADDRESS {
        return Err(refused(format!("the address is longer than {ADDRESS} bytes")));
    }
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(refused(format!("all pictures together may take {} s", PATIENCE.as_secs())));
    }
    let request = Request::get(url).header("accept", "image/png, image/jpeg, image/gif, image/webp");
    let mut sink = Sink(Vec::new());
    let answer = agent.fetch(&request.within(left).limit(limit as u64), &mut sink).map_err(|e| match e {
        _ if sink.0.len() >= images::HEAD && !images::is_picture(&sink.0) => Fault::invalid(images::TAKEN),
        Error::TooLarge { limit } => {
            Fault::new(413, "payload_too_large", format!("the picture is longer than {limit} bytes"))
        }
        Error::NotSent { why } | Error::Unknown { why } => refused(why),
        Error::Stopped { .. } => Fault::busy("The configuration was changed meanwhile. Try again."),
    })?;
    match answer.status {
        200..=299 if sink.0.is_empty() => Err(refused("the answer is empty")),
        200..=299 => Ok(sink.0),
        status => Err(refused(format!("the server answered {status}"))),
    }
}

/// A picture as it comes. What does not begin like one is not read to its end.
struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= images::HEAD && !images::is_picture(&self.0) {
            return Err(io::Error::other(images::TAKEN));
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
