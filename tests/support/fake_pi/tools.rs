//! The tools: bash in a process group of its own, files, and the gateway's door.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::wire::{object, s, text_content};
use super::{now_ms, Pi, Run, Shared};

pub fn tool_result(id: &str, name: &str, text: &str, error: bool) -> String {
    let error = if error { "true" } else { "false" };
    object(&[
        ("role", "\"toolResult\""),
        ("toolCallId", &s(id)),
        ("toolName", &s(name)),
        ("content", &text_content(text)),
        ("isError", error),
        ("timestamp", &now_ms()),
    ])
}

impl Run<'_> {
    /// Runs the calls one after the other; gives the results, which are also in the file then.
    pub(super) fn tools(&mut self, calls: Vec<(String, String, Value)>) -> Vec<String> {
        let mut ended = Vec::new();
        for (id, name, args) in &calls {
            let fields = [("toolCallId", s(id)), ("toolName", s(name)), ("args", args.to_string())];
            let fields: Vec<_> = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
            {
                let mut pi = self.shared.lock();
                pi.event("tool_execution_start", &fields);
                pi.running_tool = Some((id.clone(), name.clone()));
            }
            let (text, error) = match name.as_str() {
                "bash" => {
                    let report = |pi: &mut Pi, output: &str| {
                        let partial = object(&[("content", &text_content(output))]);
                        let mut fields = fields.clone();
                        fields.push(("partialResult", &partial));
                        pi.event("tool_execution_update", &fields);
                    };
                    report(&mut self.shared.lock(), "");
                    let (output, code) = bash(self.shared, args["command"].as_str().unwrap_or(""), report);
                    match code {
                        _ if self.shared.lock().aborting => (format!("{output}\n\nCommand aborted"), true),
                        Some(0) if output.is_empty() => ("(no output)".to_owned(), false),
                        Some(0) => (output, false),
                        code => (format!("{output}\n\nCommand exited with code {}", code.unwrap_or(-1)), true),
                    }
                }
                "http" => http(args),
                "write" => {
                    let path = self.shared.lock().session.cwd.join(args["path"].as_str().unwrap_or(""));
                    match std::fs::write(&path, args["content"].as_str().unwrap_or("")) {
                        Ok(()) => (format!("Successfully wrote to {}", path.display()), false),
                        Err(error) => (error.to_string(), true),
                    }
                }
                "read" => {
                    let path = self.shared.lock().session.cwd.join(args["path"].as_str().unwrap_or(""));
                    std::fs::read_to_string(&path).map_or_else(|error| (error.to_string(), true), |text| (text, false))
                }
                _ => (format!("Tool {name} not found"), true),
            };
            let mut pi = self.shared.lock();
            pi.running_tool = None;
            let result = object(&[("content", &text_content(&text))]);
            let (id_json, name_json) = (s(id), s(name));
            let is_error = if error { "true" } else { "false" };
            let mut fields = vec![
                ("toolCallId", id_json.as_str()),
                ("toolName", &name_json),
                ("result", &result),
                ("isError", is_error),
            ];
            if pi.new {
                fields.push(("durationMs", "1"));
            }
            pi.event("tool_execution_end", &fields);
            self.last_result = Some(text.clone());
            ended.push(tool_result(id, name, &text, error));
        }
        let mut pi = self.shared.lock();
        for message in &ended {
            pi.event("message_start", &[("message", message)]);
            let _ = pi.message(message, "toolResult", &mut self.messages);
        }
        ended
    }
}

/// Runs a script in a process group of its own; gives its output and exit code.
fn bash(shared: &Shared, script: &str, report: impl Fn(&mut Pi, &str)) -> (String, Option<i32>) {
    let cwd = shared.lock().session.cwd.clone();
    let Ok((mut read, write)) = std::io::pipe() else {
        return ("no pipe".into(), None);
    };
    let Ok(second) = write.try_clone() else {
        return ("no pipe".into(), None);
    };
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]).current_dir(cwd).stdin(Stdio::null()).stdout(write).stderr(second).process_group(0);
    let mut child = {
        let mut pi = shared.lock();
        match command.spawn() {
            Ok(child) => {
                pi.tools.push(child.id() as i32);
                child
            }
            Err(error) => return (error.to_string(), None),
        }
    };
    drop(command);
    let (mut output, mut buffer) = (Vec::new(), [0; 8192]);
    while let Ok(n @ 1..) = read.read(&mut buffer) {
        output.extend_from_slice(&buffer[..n]);
        report(&mut shared.lock(), &String::from_utf8_lossy(&output));
    }
    let code = child.wait().ok().and_then(|status| status.code());
    shared.lock().tools.retain(|group| *group != child.id() as i32);
    (String::from_utf8_lossy(&output).into_owned(), code)
}

/// `[[tool:http {"method","path","body"}]]`: the gateway's door, as pi's extension would use it.
fn http(args: &Value) -> (String, bool) {
    let ask = || -> std::io::Result<(String, bool)> {
        let base = std::env::var("PI_GATEWAY_URL").map_err(std::io::Error::other)?;
        let token = std::env::var("PI_GATEWAY_INTERNAL_TOKEN").unwrap_or_default();
        let host = base.trim_start_matches("http://").trim_end_matches('/');
        let body = if args["body"].is_null() { String::new() } else { args["body"].to_string() };
        let (method, path) = (args["method"].as_str().unwrap_or("POST"), args["path"].as_str().unwrap_or("/"));
        let mut stream = std::net::TcpStream::connect(host)?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).unwrap_or("0").to_owned();
        Ok((format!("{status} {body}"), !status.starts_with('2')))
    };
    ask().unwrap_or_else(|error| (error.to_string(), true))
}

pub fn bash_by_hand(shared: &Shared, id: &Value, script: &str) {
    let (output, code) = bash(shared, script, |_, _| {});
    let mut pi = shared.lock();
    let cancelled = pi.bash_aborted;
    let (output, code) = (s(&output), code.map(|code| code.to_string()));
    let mut fields = vec![("output", output.as_str())];
    if let (Some(code), false) = (&code, cancelled) {
        fields.push(("exitCode", code));
    }
    fields.extend([("cancelled", if cancelled { "true" } else { "false" }), ("truncated", "false")]);
    let data = object(&fields);
    pi.respond(id, "bash", Ok(Some(data)));
}
