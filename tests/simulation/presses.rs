//! People who press buttons, and a tool that asks them.

use std::collections::{BTreeMap, BTreeSet};

use pi_gateway::message::*;

use super::platform::Platforms;
use super::world::{World, PLATFORMS, SENDERS};

#[derive(Clone, Debug)]
struct Touch {
    press: Press,
    platform: usize,
    /// The reader's batch is on disk.
    acked: bool,
}

/// What the world knows of its presses.
#[derive(Debug, Default)]
pub struct Presses {
    touches: Vec<Touch>,
    /// Delivered in this life, not answered yet.
    unanswered: BTreeSet<String>,
    batches: BTreeMap<ReqId, Vec<usize>>,
    /// Keyboards whose button to delete that role was pressed, and how often it was deleted.
    wanted: BTreeMap<String, BTreeSet<String>>,
    deleted: BTreeMap<String, usize>,
    /// Choices that somebody waits for, and those that were told.
    asked: BTreeSet<ReqId>,
    told: BTreeSet<ReqId>,
    late: u32,
    /// Sessions in which a button of the roles was touched: that ends a turn.
    pub switched: BTreeSet<String>,
}

impl Presses {
    pub fn die(&mut self) {
        self.unanswered.clear();
        self.batches.clear();
        self.asked.clear();
    }

    /// Some more presses when everything works: long ways through menus need that.
    pub fn once_more(&mut self) -> bool {
        self.late += 1;
        self.late < 80
    }

    /// Somebody waits for a choice.
    pub fn waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    pub fn answered(&mut self, query: &str) {
        self.unanswered.remove(query);
    }

    pub fn told(&mut self, id: ReqId, answer: &Answer) -> Result<(), String> {
        if matches!(answer, Answer::Ok) {
            for n in self.batches.remove(&id).unwrap_or_default() {
                self.touches[n].acked = true;
            }
        }
        self.batches.remove(&id);
        let choice = matches!(answer, Answer::Choice(_));
        if choice && !self.told.insert(id) {
            return Err(format!("the choice {id:?} was made twice"));
        }
        self.asked.remove(&id);
        Ok(())
    }

    pub fn deleted(&mut self, role: &str) -> Result<(), String> {
        let n = self.deleted.entry(role.to_owned()).or_default();
        *n += 1;
        let wanted = self.wanted.get(role).map_or(0, BTreeSet::len);
        match *n > wanted {
            true => Err(format!("the role {role} was deleted {n} times by {wanted} keyboards")),
            false => Ok(()),
        }
    }

    pub fn judge(
        &self,
        platforms: &Platforms,
        power_cuts: u32,
        refused: &BTreeSet<String>,
        doubtful: &BTreeSet<String>,
        lost: impl Fn(&Target) -> bool,
    ) -> Result<(), String> {
        if let Some(query) = self.unanswered.first() {
            return Err(format!("the press {query} was not answered"));
        }
        if let Some(id) = self.asked.first() {
            return Err(format!("the choice {id:?} has no end"));
        }
        let known = |p: &&&super::platform::Posted| {
            !lost(&p.target)
                && !refused.contains(&p.id)
                && p.nonce.as_ref().is_some_and(|n| !doubtful.contains(n) && !refused.contains(n))
        };
        let open = platforms.with_buttons();
        let open = open.iter().filter(|p| p.text.starts_with("ask ")).find(known);
        match open {
            Some(p) if power_cuts == 0 => Err(format!("a question stays open: {p:?}")),
            _ => Ok(()),
        }
    }
}

impl World {
    /// Somebody touches a button, an old one perhaps; a tool asks; a message with buttons goes; a delivery is repeated.
    pub(super) fn press(&mut self) -> Result<(), String> {
        match self.rng.below(10) {
            0 => return self.ask_people(),
            1 if self.faults => self.platforms.remove_keyboard(&mut self.rng),
            2 | 3 => return self.deliver_presses(),
            _ => {}
        }
        if self.rng.one_in(3) {
            // A button once more that was touched before, whatever its message shows now.
            let dice = self.rng.next();
            let Some(presses) = self.presses.as_mut().filter(|p| !p.touches.is_empty()) else { return Ok(()) };
            let (n, old) = (presses.touches.len(), dice as usize % presses.touches.len());
            let Touch { mut press, platform, .. } = presses.touches[old].clone();
            (press.dkey, press.query) = (format!("{}:q{n}", press.source.channel), format!("q{n}"));
            presses.touches.push(Touch { press, platform, acked: false });
            return self.deliver_presses();
        }
        let all = self.platforms.with_buttons();
        if all.is_empty() {
            return Ok(());
        }
        let deleting = all.iter().find(|p| p.text.starts_with("Delete the role ")).filter(|_| self.rng.one_in(2));
        let p = deleting.unwrap_or(&all[self.rng.below(all.len() as u64) as usize]);
        let b = &p.buttons[self.rng.below(p.buttons.len() as u64) as usize];
        let (target, message, role) = (p.target.clone(), p.id.clone(), p.text.strip_prefix("Delete the role "));
        let person = target.chat.trim_end_matches("-new").to_owned();
        let role = role.map(|r| r.trim_end_matches('?').to_owned());
        let roles = p.text.starts_with("Role:");
        let (label, mut data) = (b.text.clone(), b.data.clone());
        if self.rng.one_in(12) {
            data = "k:zzzzzzzz:0".into();
        }
        let Some(platform) = PLATFORMS.iter().position(|p| *p == target.channel) else { return Ok(()) };
        let sender = match self.rng.below(8) {
            0 => "evil".to_owned(),
            1 => SENDERS[self.rng.below(2) as usize].to_owned(),
            _ => person.clone(),
        };
        let Some(presses) = &mut self.presses else { return Ok(()) };
        let n = presses.touches.len();
        if roles {
            presses.switched.insert(format!("agent:main:{}:dm:{person}", target.channel));
        }
        if let (Some(role), "🗑 Delete", false) = (role, label.as_str(), sender == "evil") {
            let id = data.split(':').nth(1).unwrap_or_default().to_owned();
            presses.wanted.entry(role).or_default().insert(id);
        }
        let source = Source {
            channel: target.channel.clone(),
            chat: target.chat.clone(),
            sender,
            message_id: Some(message.clone()),
            ..Source::default()
        };
        let press = Press {
            dkey: format!("{}:q{n}", target.channel),
            query: format!("q{n}"),
            source,
            message: Some(message),
            data,
            ..Press::default()
        };
        presses.touches.push(Touch { press, platform, acked: false });
        self.deliver_presses()
    }

    /// What is not acknowledged is delivered, and now and then what is.
    pub(super) fn deliver_presses(&mut self) -> Result<(), String> {
        let again = self.faults && self.rng.one_in(4);
        let Some(presses) = &mut self.presses else { return Ok(()) };
        let busy: BTreeSet<usize> = presses.batches.values().flatten().copied().collect();
        let open = presses.touches.iter().enumerate().filter(|(n, t)| !busy.contains(n) && (!t.acked || again));
        let open: Vec<usize> = open.map(|(n, _)| n).collect();
        let Some(platform) = open.last().map(|n| presses.touches[*n].platform) else { return Ok(()) };
        let mut open: Vec<usize> = open.into_iter().filter(|n| presses.touches[*n].platform == platform).collect();
        if again {
            open.push(open[0]); // the same twice
        }
        let updates: Vec<Update> = open.iter().map(|n| Update::Pressed(presses.touches[*n].press.clone())).collect();
        presses.unanswered.extend(open.iter().map(|n| presses.touches[*n].press.query.clone()));
        let id = ReqId(self.next_req);
        self.next_req += 1;
        presses.batches.insert(id, open);
        let channel = PLATFORMS[platform].to_owned();
        let batch = Batch { channel, account: String::new(), updates, cursor: None };
        self.feed(Event::Inbound { id, batch: Box::new(batch) })?;
        match self.presses.as_ref().and_then(|p| p.unanswered.first()) {
            Some(query) if !self.crash_now => Err(format!("the press {query} was not answered at once")),
            _ => Ok(()),
        }
    }

    fn ask_people(&mut self) -> Result<(), String> {
        let id = ReqId(self.next_req);
        self.next_req += 1;
        let platform = self.rng.below(2) as usize;
        let session = format!("agent:main:{}:dm:{}", PLATFORMS[platform], SENDERS[self.rng.below(2) as usize]);
        let options = (0..1 + self.rng.below(30)).map(|n| format!("option {n}")).collect();
        let title = format!("ask {}", id.0);
        let timeout = 5_000 + self.rng.below(100_000);
        let columns = 1 + self.rng.below(3) as usize;
        let request = ChoiceRequest { session, title, options, columns, timeout };
        if let Some(p) = &mut self.presses {
            p.asked.insert(id);
        }
        self.feed(Event::Request { id, req: Box::new(Request::Choose(Box::new(request))) })?;
        if self.rng.one_in(6) {
            if let Some(p) = &mut self.presses {
                p.asked.remove(&id);
            }
            self.feed(Event::Gone { id })?;
        }
        Ok(())
    }
}
