//! The gateway itself over HTTP and WebSocket: its configuration, a reload, a restart (gateway-api.md 1.3, R57).

use serde_json::json;

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::port::{NoRestart, Port};

/// The effective configuration; secrets read `***`.
pub fn config(port: &Port, _: &mut dyn Exchange) -> Handled {
    Ok(Reply::json(&port.operator.config()))
}

/// Reads the configuration file again; a broken one changes nothing.
pub fn reload(port: &Port, _: &mut dyn Exchange) -> Handled {
    match port.operator.reload() {
        Ok(()) => Ok(Reply::json(&json!({"ok": true, "message": "Config reloaded"}))),
        Err(why) => Ok(Reply::json(&json!({"ok": false, "error": why, "code": "internal"})).status(500)),
    }
}

/// The answer is on its way before the stop begins to close anything: the connection's own thread writes it.
pub fn restart(port: &Port, _: &mut dyn Exchange) -> Handled {
    match port.operator.restart() {
        Ok(()) => Ok(Reply::json(&json!({"ok": true, "message": "Gateway restarting..."}))),
        Err(NoRestart::Disabled) => {
            let why = "Restart is disabled. Set gateway.commands.restart: true in config.";
            Err(Fault::new(403, "forbidden", why))
        }
        Err(NoRestart::Pending) => Err(Fault::new(409, "conflict", "The gateway is stopping already")),
    }
}
