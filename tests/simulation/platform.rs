//! A model of a platform: what stands in its chats.

use std::collections::BTreeSet;

use pi_gateway::message::*;

use super::world::Rng;

#[derive(Debug)]
pub struct Posted {
    pub id: String,
    pub target: Target,
    /// Of a send; a live view has none.
    pub nonce: Option<String>,
    pub text: String,
    /// It shows a turn's growing text.
    pub live: bool,
    pub gone: bool,
    pub buttons: Vec<Button>,
}

#[derive(Debug, Default)]
pub struct Platforms {
    pub posted: Vec<Posted>,
    /// Live messages that nobody may know of: their id was lost on the way, or taken back by a power cut.
    pub orphans: BTreeSet<String>,
    /// Made since the last sync.
    pub young: Vec<String>,
    next: u64,
}

impl Platforms {
    fn post(&mut self, target: &Target, nonce: Option<&str>, text: &str) -> String {
        self.next += 1;
        let id = format!("p{}", self.next);
        self.posted.push(Posted {
            id: id.clone(),
            target: target.clone(),
            nonce: nonce.map(str::to_owned),
            text: text.to_owned(),
            live: nonce.is_none(),
            gone: false,
            buttons: Vec::new(),
        });
        if nonce.is_none() {
            self.young.push(id.clone());
        }
        id
    }

    fn set_buttons(&mut self, id: &str, content: &Content) {
        if let Some(p) = self.find(id) {
            p.buttons = content.buttons.concat();
        }
    }

    /// Messages that have buttons.
    pub fn with_buttons(&self) -> Vec<&Posted> {
        self.posted.iter().filter(|p| !p.gone && !p.buttons.is_empty()).collect()
    }

    /// Somebody removes a message with buttons.
    pub fn remove_keyboard(&mut self, rng: &mut Rng) {
        let mut all: Vec<&mut Posted> = self.posted.iter_mut().filter(|p| !p.gone && !p.buttons.is_empty()).collect();
        let n = all.len() as u64;
        if n > 0 {
            all[rng.below(n) as usize].gone = true;
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Posted> {
        self.posted.iter_mut().find(|p| p.id == id && !p.gone)
    }

    /// Carries a call out. `safe`: a nonce that was seen makes no second message.
    pub fn take(&mut self, call: &Call, safe: bool, rng: &mut Rng) -> Outcome {
        match &call.op {
            Op::Send { content, nonce, .. } => {
                let known = self.posted.iter().find(|p| p.nonce.as_ref() == Some(nonce)).map(|p| p.id.clone());
                let id = match known.filter(|_| safe) {
                    Some(id) => id,
                    None => self.post(&call.target, Some(nonce), &content.text),
                };
                self.set_buttons(&id, content);
                match rng.one_in(8) {
                    true => Outcome::SentAll { ids: vec![id.clone(), format!("{id}-2")] },
                    false => Outcome::Sent { id },
                }
            }
            Op::Edit { id, content } => match self.find(id) {
                Some(p) => {
                    if !content.text.is_empty() {
                        p.text = content.text.clone();
                    }
                    p.buttons = content.buttons.concat();
                    p.live = false;
                    Outcome::Sent { id: id.clone() }
                }
                None => Outcome::Gone,
            },
            Op::Delete { id } => match self.find(id) {
                Some(p) => {
                    p.gone = true;
                    Outcome::Sent { id: id.clone() }
                }
                None => Outcome::Gone,
            },
            // What a turn says here is never finished before its end.
            Op::View(View { taken: Some(_), .. }) => Outcome::Shown { id: None, full: false, idle: true, bare: false },
            Op::View(View { message: Some(id), .. }) => match self.find(id) {
                Some(_) => Outcome::Shown {
                    id: Some(id.clone()),
                    full: rng.one_in(3),
                    idle: rng.one_in(4),
                    bare: rng.one_in(3),
                },
                None => Outcome::Gone,
            },
            Op::View(View { message: None, .. }) if rng.one_in(3) => {
                Outcome::Shown { id: None, full: false, idle: true, bare: false }
            }
            Op::View(View { message: None, .. }) => {
                let id = self.post(&call.target, None, "growing");
                Outcome::Shown { id: Some(id), full: rng.one_in(3), idle: false, bare: rng.one_in(3) }
            }
            Op::React { .. } | Op::Pin { .. } | Op::AnswerPress { .. } | Op::Typing => {
                Outcome::Sent { id: String::new() }
            }
        }
    }

    /// The outcome of that call is lost: what it made is an orphan.
    pub fn lose(&mut self, outcome: &Outcome) {
        if let Outcome::Sent { id } | Outcome::Shown { id: Some(id), .. } = outcome {
            self.orphans.insert(id.clone());
        }
        if let Outcome::SentAll { ids } = outcome {
            self.orphans.extend(ids.iter().cloned());
        }
    }

    /// Nothing is changed in that chat any more: what still grows there stays as it is.
    pub fn leave(&mut self, chat: &Target) {
        let there = |p: &&Posted| p.live && p.target.channel == chat.channel && p.target.chat == chat.chat;
        self.orphans.extend(self.posted.iter().filter(there).map(|p| p.id.clone()));
    }

    /// Somebody removes a message that still grows.
    pub fn remove_one(&mut self, rng: &mut Rng) {
        let mut live: Vec<&mut Posted> = self.posted.iter_mut().filter(|p| p.live && !p.gone).collect();
        let n = live.len() as u64;
        if n > 0 {
            live[rng.below(n) as usize].gone = true;
        }
    }

    /// A live message that nobody will ever change.
    pub fn stale(&self) -> Option<&Posted> {
        self.posted.iter().find(|p| p.live && !p.gone && !self.orphans.contains(&p.id))
    }

    /// What people read: repeats of one send once.
    pub fn texts(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut texts = Vec::new();
        for p in self.posted.iter().filter(|p| !p.gone && !p.live) {
            if p.nonce.as_ref().is_none_or(|n| seen.insert(n.clone())) {
                texts.push(p.text.clone());
            }
        }
        texts
    }
}
