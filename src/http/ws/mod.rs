//! The WebSocket: upgrade, and who does what from then on (gateway-api.md 1.11, R28, R48).
//!
//! Everything that is sent goes through the connection's queue (`out`) and its `writer`; `reader` takes what comes in.
//! One thread for all, the `attendant`, runs them; only requests that came in run on threads of their own.

mod attendant;
mod bounds;
mod calls;
mod cron;
mod frames;
mod hello;
mod history;
pub(crate) mod hub;
mod line;
mod methods;
mod more;
mod out;
mod partial;
mod reader;
mod sessions;
mod show;
mod sink;
pub(crate) mod stream;
mod threads;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::door::Place;
use super::exchange::Call;
use super::fault::Fault;
use super::guard::Access;
use super::port::{Permit, Port};
use super::wire::Wire;
use attendant::Seat;
use line::Line;
use methods::Session;
use out::Outbox;
use reader::Reader;

pub(crate) use attendant::Attendants;

/// A checked upgrade request.
pub(crate) struct Upgrade {
    accept: String,
    request: String,
    access: Access,
    addr: IpAddr,
    stranger: Option<Permit>,
    seat: Seat,
}

/// Everything that can be refused with an HTTP answer.
pub(crate) fn prepare(port: &Port, call: &Call) -> Result<Upgrade, Fault> {
    let head = &call.head;
    if head.http10 || head.field("sec-websocket-version") != Some("13") {
        return Err(Fault::new(426, "unsupported", "Only WebSocket version 13 over HTTP/1.1 is spoken here"));
    }
    let mut keys = head.all("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if STANDARD.decode(key).is_ok_and(|k| k.len() == 16) => key,
        _ => return Err(Fault::invalid("Sec-WebSocket-Key is missing or malformed")),
    };
    let access = call.access;
    let stranger = if access.granted() {
        None
    } else {
        let most = port.settings.get().limits.ws_strangers;
        let permit = port.strangers.take(most);
        Some(permit.ok_or_else(|| Fault::busy("Too many connections that have not authenticated"))?)
    };
    let seat = port.attendants.seat().map_err(|e| {
        log::warn!("nobody attends to a WebSocket: {e}");
        Fault::busy("No more connections can be served now")
    })?;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    Ok(Upgrade { accept, request: call.id.clone(), access, addr: call.peer.addr, stranger, seat })
}

/// Begins to serve the WebSocket. This thread goes on for as long as messages come.
pub(crate) fn serve(port: &Arc<Port>, wire: Wire, up: Upgrade, place: Arc<Place>) {
    let s = port.settings.get();
    let hello = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nX-Request-Id: {}\r\n\r\n",
        up.accept, up.request
    );
    let bell = up.seat.bell();
    let out = Outbox::new(port.hub.name(), (s.limits.ws_bytes, s.limits.ws_frames), bell.clone());
    let serving = up.seat.serving(&out.id);
    let line = Line::new(port, up.seat, wire.sock.clone(), &out, bell, hello.into_bytes(), place.clone());
    let session = Session::new(port.clone(), out.clone(), up.addr);
    if up.access.granted() {
        // Before the answer: a client may count on every event from the moment it reads it.
        out.greet();
        port.hub.join(&out, up.access);
        session.pending_dialogs(false);
    }
    log::debug!("{} opened by {} ({:?})", out.id, up.addr, up.access);
    let reader = Reader::new(wire.sock, wire.buf, session, up.stranger, place);
    match Seat::occupy(line) {
        Ok(()) => serving(reader, None),
        Err(e) => log::warn!("{}: {e}", out.id),
    }
}
