//! What tools send, and chats that move away or shut us out.

use pi_gateway::message::*;

use super::{World, PLATFORMS, SENDERS};

/// A message that a tool sends, again and again until it is answered.
#[derive(Debug)]
pub struct Sent {
    session: String,
    text: String,
    /// It was told that the message arrived, or that it will.
    promised: bool,
}

impl World {
    /// A tool sends a message, or repeats one whose answer never came.
    pub(super) fn tool_sends(&mut self) -> Result<(), String> {
        let n = match self.rng.below(self.sends.len() as u64 + 2) as usize {
            n if n < self.sends.len() => n,
            _ if self.sends.len() >= 6 => return Ok(()),
            _ => {
                let sender = SENDERS[self.rng.below(2) as usize];
                let platform = PLATFORMS[self.rng.below(2) as usize];
                let n = self.sends.len();
                let session = format!("agent:main:{platform}:dm:{sender}");
                self.sends.push(Sent { session, text: format!("tool{n}"), promised: false });
                n
            }
        };
        // Some begin the conversation if nobody wrote there yet.
        let begins = n % 2 == 0;
        let sent = &self.sends[n];
        let (platform, sender) = sent.session["agent:main:".len()..].split_once(":dm:").unwrap_or_default();
        let begin = begins.then(|| Source {
            channel: platform.to_owned(),
            chat: sender.to_owned(),
            sender: sender.to_owned(),
            ..Source::default()
        });
        let post = Post { text: sent.text.clone(), ..Post::default() };
        let req = PostRequest {
            session: sent.session.clone(),
            post,
            dkey: Some(format!("http:{}", sent.text)),
            body_hash: sent.text.clone(),
            begin,
            ..PostRequest::default()
        };
        let id = ReqId(self.next_req);
        self.next_req += 1;
        self.sending.insert(id, n);
        self.feed(Event::Request { id, req: Box::new(Request::Post(Box::new(req))) })?;
        if self.rng.one_in(6) {
            self.sending.remove(&id);
            self.feed(Event::Gone { id })?;
        }
        Ok(())
    }

    /// True if that answer was for a tool.
    pub(super) fn tool_hears(&mut self, id: ReqId, answer: &Answer) -> bool {
        let Some(n) = self.sending.remove(&id) else { return false };
        if let Answer::Delivered(told) = answer {
            self.sends[n].promised |= told.error.is_none();
        }
        true
    }

    /// The id by which a person's chat goes now.
    pub(super) fn chat_of(&self, platform: usize, sender: &str) -> String {
        self.moved.get(&(platform, sender.to_owned())).cloned().unwrap_or_else(|| sender.to_owned())
    }

    /// What the platform says to a call for a chat that is elsewhere.
    pub(super) fn elsewhere(&self, target: &Target) -> Option<Outcome> {
        let platform = PLATFORMS.iter().position(|p| *p == target.channel)?;
        self.moved.get(&(platform, target.chat.clone())).map(|to| Outcome::Moved { to: to.clone() })
    }

    /// A chat gets another id; we may be told, or only find out.
    pub(super) fn chat_moves(&mut self) -> Result<(), String> {
        let platform = self.rng.below(2) as usize;
        let sender = SENDERS[self.rng.below(2) as usize];
        let place = (platform, sender.to_owned());
        if !self.faults || self.moved.contains_key(&place) {
            return Ok(());
        }
        let to = format!("{sender}-new");
        self.moved.insert(place, to.clone());
        let from = Target { channel: PLATFORMS[platform].into(), chat: sender.into(), ..Target::default() };
        self.platforms.leave(&from);
        if self.rng.one_in(2) {
            return Ok(());
        }
        self.tell(platform, Update::Moved { from, to })
    }

    fn tell(&mut self, platform: usize, update: Update) -> Result<(), String> {
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let batch =
            Batch { channel: PLATFORMS[platform].into(), account: String::new(), updates: vec![update], cursor: None };
        self.feed(Event::Inbound { id, batch: Box::new(batch) })
    }

    /// The bot is shut out of a chat: nothing that is owed there arrives.
    pub(super) fn shut_out(&mut self) -> Result<(), String> {
        let platform = self.rng.below(2) as usize;
        let sender = SENDERS[self.rng.below(2) as usize];
        let chat = self.chat_of(platform, sender);
        if !self.faults || !self.rng.one_in(3) {
            return Ok(());
        }
        let chat = Target { channel: PLATFORMS[platform].into(), chat, ..Target::default() };
        let yes = self.rng.one_in(2);
        if !yes {
            self.barred(&chat);
        }
        self.tell(platform, Update::Reachable { chat, yes })
    }

    /// What was owed to the chat is given up.
    pub(super) fn barred(&mut self, chat: &Target) {
        self.platforms.leave(chat);
        self.refused_sends.insert("shut out".into());
    }

    /// Was a change of a message in that chat given up: it has moved, or shut us out?
    pub(super) fn gave_up(&self, chat: &Target) -> bool {
        let here = |((platform, old), new): (&(usize, String), &String)| {
            PLATFORMS[*platform] == chat.channel && (*old == chat.chat || *new == chat.chat)
        };
        self.refused_sends.contains("shut out") || self.moved.iter().any(here)
    }

    /// The id by which a chat goes now, and nobody shut us out: what is asked there has an end.
    pub(super) fn lives_on(&self, chat: &Target) -> bool {
        !self.refused_sends.contains("shut out") && self.moved.values().any(|new| *new == chat.chat)
    }

    /// Once moved, an edit that nobody knows of may stand in the old chat and come again in the new one.
    pub(super) fn may_stand_twice(&self) -> bool {
        self.doubtful_edits && !self.moved.is_empty()
    }

    /// What was promised to tools arrived, once.
    pub(super) fn judge_tools(&self, lossy: bool) -> Result<(), String> {
        let arrived = self.platforms.texts();
        for sent in &self.sends {
            let n = arrived.iter().filter(|text| **text == sent.text).count();
            if n > 1 {
                return Err(format!("{} of a tool arrived {n} times", sent.text));
            }
            if n == 0 && sent.promised && !lossy {
                return Err(format!("{} was promised to a tool and never arrived", sent.text));
            }
        }
        Ok(())
    }
}
