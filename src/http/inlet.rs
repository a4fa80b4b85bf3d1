//! What platforms deliver to the gateway's port: the path and the key are an account's, the rest is the channel's.

use serde_json::Value;

use super::exchange::{Exchange, Handled, Reply};
use super::fault::Fault;
use super::guard::same;
use super::head::Head;
use super::port::{Entry, Port};
use super::routes::{Route, DELIVERY};
use crate::roster::Inlet;
use std::sync::Arc;

/// Who is delivered to by a caller with this head.
fn opened(port: &Port, head: &Head) -> Option<Arc<dyn Inlet>> {
    port.roster.inlets_at(&head.path).into_iter().find(|inlet| {
        let (name, key) = inlet.key();
        head.field(name).is_some_and(|given| same(given, key))
    })
}

/// `None`: no platform delivers there. The key alone lets in: what host the platform calls is the operator's affair,
/// and wrong keys are not held against an address, which may be the proxy's that the right ones come from too.
pub fn admit(port: &Port, head: &Head) -> Option<Result<&'static Route, Fault>> {
    if !matches!(port.entry, Entry::Public) || port.roster.inlets_at(&head.path).is_empty() {
        return None;
    }
    Some(match () {
        () if head.method != "POST" => {
            let mut fault = Fault::new(405, "method_not_allowed", "Only POST");
            fault.allow = Some("POST".into());
            Err(fault)
        }
        () if opened(port, head).is_none() => Err(Fault::unauthorized()),
        () if port.draining() => Err(Fault::new(503, "shutting_down", "The gateway is stopping").retry(5)),
        () => Ok(&DELIVERY),
    })
}

/// Stored and synced, then 200 without a word; 503: it shall be delivered again.
pub fn take(port: &Port, ex: &mut dyn Exchange) -> Handled {
    let call = ex.call();
    let body: Value = match serde_json::from_slice(&call.body) {
        Ok(body @ Value::Object(_)) => body,
        _ => return Err(Fault::invalid("Invalid JSON body")),
    };
    let inlet = opened(port, &call.head).ok_or_else(Fault::unauthorized)?; // it may have been closed meanwhile
    match inlet.deliver(body) {
        true => Ok(Reply::new(200)),
        false => Err(Fault::busy("Nothing can be taken now; deliver it again")),
    }
}
