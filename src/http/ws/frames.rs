//! WebSocket frames of our own, printed by tungstenite.

use serde_json::{json, Value};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};

use crate::http::fault::Fault;

fn print(frame: Frame) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.payload().len() + 10);
    frame.format(&mut out).expect("writing into memory cannot fail");
    out
}

pub fn text(text: String) -> Vec<u8> {
    print(Frame::message(text, OpCode::Data(Data::Text), true))
}

pub fn ping() -> Vec<u8> {
    print(Frame::ping(Vec::new()))
}

pub fn close(code: u16, reason: &str) -> Vec<u8> {
    print(Frame::close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() })))
}

/// An event frame: the part all connections share, and the part of this one.
pub fn event(shared: &str, seq: u64, eid: u64) -> Vec<u8> {
    text(format!("{shared},\"seq\":{seq},\"eid\":{eid}}}"))
}

/// The answer to a request.
pub fn res(id: &Value, result: Result<Value, Fault>, objects: bool) -> Vec<u8> {
    let frame = match result {
        Ok(payload) => json!({"type": "res", "id": id, "ok": true, "payload": payload}),
        Err(f) if objects => {
            json!({"type": "res", "id": id, "ok": false, "error": {"code": f.code, "message": f.message}})
        }
        Err(f) => json!({"type": "res", "id": id, "ok": false, "error": f.message, "code": f.code}),
    };
    text(frame.to_string())
}
