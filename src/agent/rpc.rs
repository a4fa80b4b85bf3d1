//! pi's RPC protocol: commands as JSON lines, and what its lines say (pi-rpc.md 4 to 6).
//!
//! Pure but for image files, which are read while they are written into the pipe.

use std::fs::File;
use std::io::{self, Read, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use serde_json::{json, Value};

use crate::message::{CmdId, Image, Inject, PiCmd, PiEvent, UiAnswer};

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Text(String),
    Thinking(String),
    /// An assistant message begins; the deltas that follow are its.
    AssistantStart,
    /// The model's message and its tools are done.
    TurnEnd,
    Tool(ToolLine),
    Event(PiEvent),
    /// Something nobody needs; pi is alive.
    Other,
    /// Not JSON: its beginning.
    Noise(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Start,
    Update,
    End,
}

/// A step of a tool call; what the line does not tell is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolLine {
    pub phase: Phase,
    pub id: String,
    pub name: String,
    pub label: String,
    pub args: String,
    pub output: String,
    pub error: bool,
}

// ---------------------------------------------------------------- commands

/// Why a command was not written.
#[derive(Debug)]
pub enum WriteError {
    /// Nothing of it was written; the pipe is fine.
    Image(String),
    Pipe(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(e: io::Error) -> WriteError {
        WriteError::Pipe(e)
    }
}

/// Writes one command as a line and flushes. Pictures go from their file into the pipe, never whole into memory.
pub fn write(out: &mut impl Write, id: CmdId, cmd: &PiCmd) -> Result<(), WriteError> {
    let mut line = match cmd {
        PiCmd::GetState => json!({"type": "get_state"}),
        PiCmd::Prompt { message, images, inject } => {
            let mut line = json!({"type": "prompt", "message": message});
            match inject {
                Some(Inject::Steer) => line["streamingBehavior"] = "steer".into(),
                Some(Inject::FollowUp) => line["streamingBehavior"] = "followUp".into(),
                None => {}
            }
            return write_with_images(out, id, line, images);
        }
        PiCmd::Steer { message, images } => {
            return write_with_images(out, id, json!({"type": "steer", "message": message}), images);
        }
        PiCmd::FollowUp { message, images } => {
            return write_with_images(out, id, json!({"type": "follow_up", "message": message}), images);
        }
        PiCmd::Abort => json!({"type": "abort"}),
        PiCmd::ClearQueue => json!({"type": "clear_queue"}),
        PiCmd::SwitchSession { path } => json!({"type": "switch_session", "sessionPath": path.to_string_lossy()}),
        PiCmd::SetModel { provider, model } => json!({"type": "set_model", "provider": provider, "modelId": model}),
        PiCmd::SetThinking { level } => json!({"type": "set_thinking_level", "level": level}),
        PiCmd::Compact { instructions: None } => json!({"type": "compact"}),
        PiCmd::Compact { instructions } => json!({"type": "compact", "customInstructions": instructions}),
        PiCmd::GetCommands => json!({"type": "get_commands"}),
        PiCmd::GetModels => json!({"type": "get_available_models"}),
        PiCmd::GetStats => json!({"type": "get_session_stats"}),
        PiCmd::UiResponse { id, answer } => {
            let mut line = json!({"type": "extension_ui_response", "id": id});
            match answer {
                UiAnswer::Value(value) => line["value"] = value.as_str().into(),
                UiAnswer::Values(list) => line["value"] = json!(list),
                UiAnswer::Confirmed(yes) => line["confirmed"] = (*yes).into(),
                UiAnswer::Cancelled => line["cancelled"] = true.into(),
            }
            writeln!(out, "{line}")?;
            return Ok(out.flush()?);
        }
    };
    line["id"] = command_id(id).into();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// A command's id on the wire.
pub fn command_id(id: CmdId) -> String {
    format!("g{id}")
}

/// The number in an id that [`command_id`] made.
pub(super) fn command_number(id: &str) -> Option<CmdId> {
    id.strip_prefix('g')?.parse().ok()
}

fn write_with_images(out: &mut impl Write, id: CmdId, mut line: Value, images: &[Image]) -> Result<(), WriteError> {
    let open = |i: &Image| File::open(&i.path).map_err(|e| WriteError::Image(format!("{}: {e}", i.path.display())));
    let files = images.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    line["id"] = command_id(id).into();
    let text = line.to_string();
    if images.is_empty() {
        writeln!(out, "{text}")?;
        return Ok(out.flush()?);
    }
    out.write_all(&text.as_bytes()[..text.len() - 1])?;
    for (n, (image, mut file)) in images.iter().zip(files).enumerate() {
        out.write_all(if n == 0 { b",\"images\":[" } else { b"," })?;
        write!(out, r#"{{"type":"image","mimeType":{},"data":""#, json!(image.mime))?;
        let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
        let mut block = [0; 3 << 10];
        loop {
            // A file that fails half-way must not leave half a line in the pipe: the picture ends there.
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(n) => encoder.write_all(&block[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    log::warn!("{}: {e}; pi gets only its beginning", image.path.display());
                    break;
                }
            }
        }
        encoder.finish()?;
        drop(encoder);
        out.write_all(b"\"}")?;
    }
    out.write_all(b"]}\n")?;
    Ok(out.flush()?)
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
