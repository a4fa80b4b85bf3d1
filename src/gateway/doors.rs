//! The two doors: the public one for people and programs, the agent door for pi's tools (gateway-api.md 3.3). They
//! share code, mind and meter; connections, permits and life are each door's own.

use std::sync::Arc;
use std::time::Duration;

use super::settings;
use crate::config::Config;
use crate::http::{Door, Parts, PiTokens, Settings};
use crate::message::{Frame, Observation};
use crate::roster::Teller;

pub struct Doors {
    pub public: Door,
    agent: Door,
    agent_url: String,
}

/// Which door cannot be opened, and why.
pub enum Shut {
    Public(String),
    Agent(String),
}

impl Doors {
    pub fn open(c: &Config, public: Settings, parts: Parts, tokens: Arc<PiTokens>) -> Result<Doors, Shut> {
        let for_pi = settings::agent_port(c, &public);
        let public = Door::open(public, parts).map_err(Shut::Public)?;
        let agent = public.beside(for_pi, tokens).map_err(Shut::Agent)?;
        let agent_url = agent.addresses().first().map(|a| format!("http://{a}"));
        let agent_url = agent_url.ok_or_else(|| Shut::Agent("it has no address".into()))?;
        Ok(Doors { public, agent, agent_url })
    }

    /// What pi calls: `PI_GATEWAY_URL`.
    pub fn agent_url(&self) -> &str {
        &self.agent_url
    }

    pub fn publish(&self, frame: &Frame) {
        self.public.publish(frame); // pi reads no frames
    }

    /// Pages and the list of what happened hear how channels stand.
    pub fn teller(self: &Arc<Doors>) -> Box<Teller> {
        let doors = Arc::downgrade(self); // the doors keep the roster, and that keeps this
        Box::new(move |channel, account, stage, why| {
            let (channel, account) = (channel.to_owned(), account.to_owned());
            let frame = Frame::Channel { channel, account, state: stage.word(), error: why.map(str::to_owned) };
            if let Some(doors) = doors.upgrade() {
                doors.publish(&frame);
            }
        })
    }

    /// For the operator's list of what happened.
    pub fn observe(&self, seen: Observation) {
        self.public.observe(seen);
    }

    /// New settings for both.
    pub fn apply(&self, c: &Config, public: Settings) {
        self.agent.apply(settings::agent_port(c, &public));
        self.public.apply(public);
    }

    /// The public door takes nothing new; running turns still call their tools at the other one.
    pub fn drain(&self, reason: &str, back_in: Option<Duration>) {
        self.public.drain(reason, back_in);
    }

    /// When the pi processes are gone (core.md 20, step 8).
    pub fn close(&self, restart: bool) {
        self.agent.close(restart);
        self.public.close(restart);
    }
}
