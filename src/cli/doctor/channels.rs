//! Which channels are on, and what the configuration switches on that this version does not have.

use super::check::Check;
use super::Context;

const NAME: &str = "channels";

pub fn check(context: &Context) -> Vec<Check> {
    let config = &context.loaded.config;
    let channels = &config.channels;
    let word = |on: bool| if on { "on" } else { "off" };
    let telegram = channels.telegram.active().next().is_some();
    let mut checks =
        vec![Check::ok(NAME, format!("webchat {}, telegram {}", word(channels.webchat.enabled), word(telegram)))];
    let later = [("discord", channels.discord.enabled), ("feishu", channels.feishu.active().next().is_some())];
    checks.extend(later.into_iter().filter(|(_, on)| *on).map(|(channel, _)| {
        Check::warning(NAME, format!("{channel} is switched on, but this version has no such channel: nobody is heard"))
            .remedy(format!("set channels.{channel}.enabled to false until a later version is installed"))
    }));
    if !config.agent.runners.is_empty() {
        let text = "agent.runners has no effect in this version: every pi runs here, without a command before it";
        checks.push(Check::warning("runners", text).remedy("take it out until a later version is installed"));
    }
    checks
}
