//! The tools that the gateway offers to a model (core.md 11), as data. How they come to pi is the agent's affair, what they
//! do that of the port.

use serde_json::Value;

/// Name, description and JSON Schema of each tool, and when it is there.
const TOOLS: &str = include_str!("tools.json");

/// What the tools depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// People read the conversation.
    pub people: bool,
    /// There is a channel beside WebChat.
    pub channels: bool,
    pub cron: bool,
    /// There is somebody to delegate to.
    pub agents: bool,
}

/// `[{name, label, description, parameters}]`
pub fn offered(offer: Offer) -> Vec<Value> {
    let mut all: Vec<Value> = serde_json::from_str(TOOLS).expect("tools.json is an array (a test reads it)");
    let here = |tool: &mut Value| match tool.as_object_mut().and_then(|t| t.shift_remove("when")) {
        Some(Value::String(when)) => match when.as_str() {
            "people" => offer.people,
            "channel" => offer.people && offer.channels,
            "cron" => offer.cron,
            "agents" => offer.agents,
            _ => true,
        },
        _ => true,
    };
    all.retain_mut(here);
    all
}

/// The names of [`offered`] tools: pi's `--tools` filters those too.
pub fn names(offer: Offer) -> Vec<String> {
    offered(offer).iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_offered_as_far_as_the_gateway_has_what_they_need() {
        let full = Offer { people: true, channels: true, cron: true, agents: true };
        let all = names(full);
        let every = "send_message send_media message keyboard_select cron session_status gateway delegate_to_agent";
        assert_eq!(all.join(" "), every);
        let alone = Offer { people: true, ..Offer::default() };
        assert_eq!(names(alone).join(" "), "send_message send_media keyboard_select session_status gateway");
        assert_eq!(names(Offer { people: false, ..full }).join(" "), "cron session_status gateway delegate_to_agent");
        for tool in offered(full) {
            assert_eq!(tool["parameters"]["type"], "object");
            assert!(
                tool["description"].is_string() && tool["label"].is_string() && tool.get("when").is_none(),
                "{tool}"
            );
        }
    }

    #[test]
    fn what_tools_cost_a_model_stays_small() {
        let text =
            serde_json::to_string(&offered(Offer { people: true, channels: true, cron: true, agents: true })).unwrap();
        assert!(text.len() < 6000, "{} bytes", text.len());
    }
}
