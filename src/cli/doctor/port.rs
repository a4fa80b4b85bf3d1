//! The port: free, ours or somebody else's; who may use it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value;

use super::check::Check;
use super::Context;
use crate::cli::instance::{self, Instance};
use crate::config::types::{AuthMode, Bind, Unauthenticated};
use crate::config::{is_placeholder, token};

/// A gateway that is well answers in a moment.
const HEALTH: Duration = Duration::from_secs(1);

/// Whether the gateway runs and answers, else whether it could.
pub fn check(context: &Context) -> Vec<Check> {
    let gateway = &context.loaded.config.gateway;
    let wanted = SocketAddr::new(address(gateway.bind), gateway.port);
    match &context.instance {
        Err(error) => {
            let text = format!("cannot look at {}: {error}", context.paths.pid_file().display());
            vec![Check::error("gateway", text).remedy("change its owner or rights")]
        }
        Ok(Instance::Starting { pid }) => {
            let pid = pid.map_or("unknown pid".into(), |pid| format!("pid {pid}"));
            vec![Check::warning("gateway", format!("starting ({pid})")).remedy("run pi-gw doctor again in a moment")]
        }
        Ok(Instance::Running { pid, url }) => {
            let mut checks = running(context, *pid, url);
            match instance::reachable(url) {
                Some(at) if at.port() != gateway.port => {
                    let text = format!("the gateway listens on {}, the configuration says {}", at.port(), gateway.port);
                    checks.push(Check::warning("port", text).remedy("restart the gateway"));
                    checks.push(free(wanted));
                }
                _ => {}
            }
            checks
        }
        Ok(Instance::None) => {
            vec![Check::ok("gateway", "not running"), free(wanted)]
        }
    }
}

/// Where a gateway with that setting listens first.
pub fn address(bind: Bind) -> IpAddr {
    match bind {
        Bind::Loopback => Ipv4Addr::LOCALHOST.into(),
        Bind::All => Ipv4Addr::UNSPECIFIED.into(),
        Bind::Address(address) => address,
    }
}

/// What the running gateway gives at a path, if it answers.
pub fn ask(context: &Context, path: &str) -> Option<Value> {
    let Ok(Instance::Running { url, .. }) = &context.instance else { return None };
    let (status, body) = get(context, instance::reachable(url)?, path).ok()?;
    (status == 200).then(|| serde_json::from_str(&body).ok())?
}

/// With the secret, to the holder of our own lock only, on this machine only.
fn get(context: &Context, at: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let secret = instance::secret(&context.loaded.config, &context.paths, at);
    instance::get(at, path, secret.as_ref().map(|secret| secret.expose()), HEALTH)
}

/// What the running gateway says about itself.
fn running(context: &Context, pid: i32, url: &str) -> Vec<Check> {
    let Some(at) = instance::reachable(url) else {
        return vec![Check::error("gateway", format!("runs (pid {pid}), but its address {url} is not understood"))
            .remedy("restart the gateway")];
    };
    let answer = get(context, at, "/health");
    let (status, body) = match answer {
        Ok((status, body)) => (status, serde_json::from_str::<Value>(&body).unwrap_or_default()),
        Err(error) => {
            let text = format!("runs (pid {pid}), but does not answer at {url}: {error}");
            return vec![Check::error("gateway", text).remedy("look at its log; restart it if it stays so")];
        }
    };
    let word = body["status"].as_str().unwrap_or("no status");
    let about = format!("pid {pid}, {url}, version {}", body["version"].as_str().unwrap_or("unknown"));
    let problems = body["problems"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let config = body["configError"].as_str().map(|error| format!("its configuration was not reloaded: {error}"));
    let details: Vec<String> = problems.chain(config).collect();
    let check = match (status, word) {
        (200, "ok") => Check::ok("gateway", format!("runs well ({about})")),
        (200, _) => {
            Check::warning("gateway", format!("runs, {word} ({about})")).remedy("its log says more").details(details)
        }
        (503, "draining") => {
            Check::warning("gateway", format!("is stopping ({about})")).remedy("run pi-gw doctor again in a moment")
        }
        _ => Check::error("gateway", format!("runs (pid {pid}), but {url}/health answers {status}"))
            .remedy("restart the gateway"),
    };
    let waiting: Vec<&str> = body["restartNeeded"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let restart = (!waiting.is_empty()).then(|| {
        Check::warning("restart", format!("changed, takes effect after a restart: {}", waiting.join(", ")))
            .remedy("restart the gateway when nobody minds")
    });
    // `/health` is for everybody.
    let refused = get(context, at, "/api/channels").is_ok_and(|(status, _)| status == 401);
    let secret = refused.then(|| {
        Check::error("auth", format!("the gateway at {url} does not accept the secret of this configuration"))
            .remedy("let pi-gw and the gateway use the same configuration and PI_GATEWAY_AUTH_TOKEN")
    });
    [check].into_iter().chain(restart).chain(secret).collect()
}

/// Whether a gateway could listen there.
fn free(at: SocketAddr) -> Check {
    let port = at.port();
    match TcpListener::bind(at) {
        Ok(_) => Check::ok("port", format!("{at} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let local =
                SocketAddr::new(if at.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { at.ip() }, port);
            let who = match instance::get(local, "/health", None, HEALTH) {
                Ok((_, body)) if body.contains("\"uptime\"") => "another gateway with its own data directory",
                _ => "another program",
            };
            let hint = next_free(at)
                .map_or("set gateway.port to a free one".into(), |n| format!("set gateway.port; {n} is free"));
            Check::error("port", format!("{at} is used by {who}")).remedy(format!("stop it, or {hint}"))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Check::error("port", format!("{at} needs rights that this user lacks"))
                .remedy("set gateway.port above 1023")
        }
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            Check::error("port", format!("{} is no address of this machine", at.ip())).remedy("set gateway.bind")
        }
        Err(error) => {
            Check::error("port", format!("cannot listen on {at}: {error}")).remedy("set gateway.bind and gateway.port")
        }
    }
}

/// Whether somebody listens there.
pub fn taken(at: SocketAddr) -> bool {
    TcpListener::bind(at).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// The next port of that address, within 100, that nobody has.
pub fn next_free(at: SocketAddr) -> Option<u16> {
    (1..=100).filter_map(|n| at.port().checked_add(n)).find(|port| TcpListener::bind((at.ip(), *port)).is_ok())
}

/// Who may use the port.
pub fn auth(context: &Context) -> Vec<Check> {
    let gateway = &context.loaded.config.gateway;
    let auth = &gateway.auth;
    let reach = match gateway.bind.is_loopback() {
        true => "this machine only",
        false => "other machines reach it, unencrypted",
    };
    let mut checks = Vec::new();
    match auth.mode {
        AuthMode::Off => {
            let who = match (gateway.bind.is_loopback(), auth.allow_unauthenticated) {
                (false, Unauthenticated::Lan) => "everyone on the network",
                _ => "every program and web page on this machine",
            };
            let text = format!("off: {who} commands the agent ({reach})");
            checks.push(Check::warning("auth", text).remedy("set gateway.auth.mode to \"token\""));
        }
        AuthMode::Password => checks.push(Check::ok("auth", format!("password; {reach}"))),
        AuthMode::Token => checks.push(stored(context, reach)),
    }
    if auth.local_open && auth.mode != AuthMode::Off {
        let text = "gateway.auth.localOpen: every program of every user of this machine commands the agent";
        checks.push(Check::warning("auth", text).remedy("leave it off if others use this machine"));
    }
    checks
}

/// Where the token is kept; never the token.
fn stored(context: &Context, reach: &str) -> Check {
    let auth = &context.loaded.config.gateway.auth;
    if let Some(token) = &auth.token {
        let origin = context.loaded.origins.get("gateway.auth.token");
        let from = origin.map_or("the configuration".into(), |origin| origin.vars.join(", "));
        return match is_placeholder(token.expose()) {
            true => Check::warning("auth", format!("token from {from}, which looks like an example; {reach}"))
                .remedy("take it out: the gateway makes one of its own"),
            false => Check::ok("auth", format!("token from {from}; {reach}")),
        };
    }
    let path = context.paths.gateway_token();
    match token::stored(&path) {
        Ok(Some(_)) => Check::ok("auth", format!("token in {}; {reach}", path.display())),
        Ok(None) if path.exists() => Check::error("auth", format!("{} is empty", path.display()))
            .remedy("delete it: the gateway makes a new one"),
        Ok(None) => Check::ok("auth", format!("token will be made in {}; {reach}", path.display())),
        Err(error) => Check::error("auth", format!("cannot read {}: {error}", path.display()))
            .remedy("change its owner or rights"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    #[test]
    fn a_gateway_on_all_addresses_is_asked_on_loopback() {
        for (url, at) in [
            ("http://0.0.0.0:80", Some("127.0.0.1:80")),
            ("http://[::]:80", Some("[::1]:80")),
            ("http://10.0.0.1:80/", Some("10.0.0.1:80")),
            ("", None),
        ] {
            assert_eq!(instance::reachable(url), at.map(|at| at.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = free(taken.local_addr().unwrap());
        assert_eq!(found.state, State::Error);
        assert!(found.text.ends_with("is used by another program"), "{}", found.text);
        assert!(found.remedy.is_some_and(|remedy| remedy.contains("is free")));
        assert_eq!(free("127.0.0.1:0".parse().unwrap()).state, State::Ok);
        assert!(free("192.0.2.1:5".parse().unwrap()).text.contains("no address of this machine"));
    }
}
