//! Roles over the API (gateway-api.md 1.11, core.md 3.3). Their directories are read and made on the connection's
//! thread; what it means for sessions is the mind's.

use std::io::{Error, ErrorKind};

use serde_json::{json, Value};

use super::fault::Fault;
use super::json::Members;
use super::port::Port;
use crate::message::Frame;
use crate::roles;

/// What `roles.set` says when it does not work out; the code tells why.
pub const NOT_SET: &str = "failed to set role";

/// Sorted names; `default` is always among them.
fn names(port: &Port) -> Vec<String> {
    let s = port.settings.get();
    let mut all = roles::list(&s.roles_dir);
    all.extend(s.role_names.iter().cloned());
    all.push(roles::DEFAULT.to_owned());
    all.sort();
    all.dedup();
    all
}

/// `roles.list`
pub fn list(port: &Port) -> Value {
    json!({"roles": names(port)})
}

fn needed(m: &Members) -> Result<&str, Fault> {
    m.text("role")?.filter(|role| !role.is_empty()).ok_or_else(|| Fault::invalid("role required"))
}

/// The role that a session is to take on: one that exists.
pub fn existing(port: &Port, m: &Members) -> Result<String, Fault> {
    let role = needed(m)?;
    match names(port).iter().any(|known| known == role) {
        true => Ok(role.to_owned()),
        false => Err(Fault::new(404, "not_found", NOT_SET)),
    }
}

fn refused(e: &Error) -> Fault {
    let why = e.to_string();
    match e.kind() {
        ErrorKind::InvalidInput => Fault::invalid(why),
        ErrorKind::AlreadyExists => Fault::new(409, "conflict", why),
        ErrorKind::NotFound => Fault::new(404, "not_found", why),
        _ => {
            log::error!("the roles directory: {why}");
            Fault::new(500, "internal", "The roles directory could not be changed; the log says why")
        }
    }
}

/// `roles.create`: a directory with templates; pages are told.
pub fn create(port: &Port, m: &Members) -> Result<Value, Fault> {
    let role = needed(m)?;
    roles::create(&port.settings.get().roles_dir, role).map_err(|e| refused(&e))?;
    port.publish(&Frame::RoleCreated { role: role.to_owned() });
    Ok(json!({"ok": true, "role": role}))
}

/// `roles.delete`: moves the directory to the trash; the mind is told by the caller.
pub fn remove(port: &Port, m: &Members) -> Result<String, Fault> {
    let role = needed(m)?;
    if !roles::is_name(role) {
        return Err(Fault::invalid("invalid role name"));
    }
    roles::delete(&port.settings.get().roles_dir, role).map_err(|e| refused(&e))?;
    Ok(role.to_owned())
}
