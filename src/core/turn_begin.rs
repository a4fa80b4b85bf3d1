//! How a turn begins: its row, its members, its prompt (core.md 5, 8).
//!
//! What pi says to it is not looked at here.

use super::asks::Asker;
use super::cron_runs::is_cron;
use super::events::is_event;
use super::prompt::{self, Item};
use super::session::{Session, Stage, Verify, Work};
use super::turn::{Phase, Turn};
use super::{State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result, TurnRow};

/// A prompt may compact first.
const PROMPT_WAIT: u64 = 120_000;

impl State {
    /// The process is ready and bound: the turn begins, or goes on.
    pub(super) fn prompt_turn(&mut self, s: &mut Session, work: Work, proc: ProcId, len: u64) -> Result<()> {
        if self.procs.get(&proc).is_none_or(|p| p.file.as_ref() != Some(s.file())) {
            return self.begin(s, work); // `/new` came in between
        }
        let mut t = match work {
            Work::Resume(t) => t,
            Work::Queue if s.verify == Verify::Look => return self.verify(s, proc, len),
            // A message with another model came first, or the one with that model was taken back.
            Work::Queue if !self.suits(s, proc) => return self.begin(s, Work::Queue),
            Work::Queue => {
                let members = self.take_members(s);
                if members.is_empty() {
                    s.stage = Stage::Idle;
                    self.todo.push_back(Todo::Pool); // the process may be what somebody waits for
                    return Ok(());
                }
                let mut all = self.events_for(s, &members)?;
                all.extend(members);
                Box::new(self.new_turn(s, all, None)?)
            }
            Work::Compact { who, instructions } => {
                let cmd = self.write(proc, PiCmd::Compact { instructions });
                s.stage = Stage::Compact { who, cmd, until: self.now.mono + 600_000 };
                return Ok(());
            }
            Work::Ask { row, ask } => {
                s.stage = Stage::Idle;
                self.todo.push_back(Todo::Kick(s.key.clone()));
                self.ask_pi(proc, Asker::Command(s.key.clone(), row), ask);
                return Ok(());
            }
        };
        t.reset_run(self.now.mono);
        t.proc = Some(proc);
        t.row.attempts += 1;
        t.row.file = s.file().clone();
        t.row.file_len = len;
        t.row.proc = proc.0;
        t.row.pid = self.procs.get(&proc).map_or(0, |p| p.pid);
        t.row.at_boot = self.now.mono;
        self.store.set_turn(&t.row)?;
        for m in &t.members {
            self.store.set_inbox(m.id, st::IN_TURN, Some(t.row.id), None, None)?;
        }
        let first = t.note.is_empty();
        let message = if first { t.row.prompt.clone() } else { t.note.clone() };
        let images = if first { t.row.images.clone() } else { Vec::new() };
        let run = t.addressee().map(|m| self.store.ext('i', m.id)).unwrap_or_default();
        let live = LiveRef { session: s.key.clone(), run: run.clone(), fresh: true };
        let beat = t.is_beat();
        self.emit(Effect::Show { proc, live: (!beat).then(|| Box::new(live)) });
        // Viewers know of the run before pi can say anything.
        if !beat {
            self.frame(Frame::Typing { session: s.key.to_string(), run, on: true });
        }
        let cmd = self.write(proc, PiCmd::Prompt { message, images, inject: None });
        t.phase = Phase::Prompting { cmd, until: self.now.mono + PROMPT_WAIT };
        if let Some(p) = self.procs.get_mut(&proc) {
            p.used = self.now.mono;
        }
        s.start_failures = 0;
        s.told_full = false;
        match t.members.iter().any(is_cron) {
            true => self.cron_prompted(&t)?,
            false if beat => {}
            false => self.begin_view(&s.key, &t)?,
        }
        s.stage = Stage::Turn(t);
        Ok(())
    }

    /// The process has the model and the level that the next turn is for.
    fn suits(&self, s: &Session, proc: ProcId) -> bool {
        let wanted = self.wanted_for(s, &Work::Queue);
        let on_its_file = self.next_is_apart(s) == s.copy.is_some();
        s.queue.is_empty() || on_its_file && self.procs.get(&proc).is_some_and(|p| p.profile.same_soft(&wanted))
    }

    /// Makes the turn's row and its prompt. `id`: of a turn that the store forgot.
    pub(super) fn new_turn(&mut self, s: &mut Session, members: Vec<InboxRow>, id: Option<Row>) -> Result<Turn> {
        let id = self.store.add_turn(id, &s.key, self.now.wall, self.now.mono)?;
        let ext = self.store.ext('t', id);
        let dropped = std::mem::take(&mut s.dropped);
        let plain = match &members[..] {
            [one] => dropped.is_empty() && self.is_pi_command(&one.text),
            _ => false,
        };
        let (events, said): (Vec<&InboxRow>, Vec<&InboxRow>) = members.iter().partition(|m| is_event(m));
        let ids: Vec<String> =
            said.iter().map(|m| m.source.message_id.clone().unwrap_or_else(|| self.store.ext('i', m.id))).collect();
        let mut texts: Vec<_> = said.iter().map(|m| prompt::body(&m.text, &m.tail, m.images.len())).collect();
        if let ([one], [text]) = (&said[..], &mut texts[..]) {
            if super::heartbeat::is_beat(one) {
                *text = self.beat_text(&s.row.agent, &events).into();
            }
        }
        if let Some(text) = texts.first_mut().filter(|_| !said.iter().any(|m| super::heartbeat::is_beat(m))) {
            *text = self.with_events(&events, text).into();
        }
        let items: Vec<Item> = said
            .iter()
            .zip(ids.iter().zip(&texts))
            .map(|(m, (id, text))| Item { source: &m.source, msg_id: id, at: m.at, text, images: m.images.len() })
            .collect();
        let text = match (plain, &members[..]) {
            (true, [one]) => one.text.trim().to_owned(),
            _ => prompt::prompt(&items, &dropped, &ext, self.now.wall, self.rules.zone.as_ref()),
        };
        let row = TurnRow {
            id,
            session: s.key.to_string(),
            state: "prompting".into(),
            attempts: 0,
            prompt: text,
            images: members.iter().flat_map(|m| m.images.clone()).collect(),
            plain,
            file: s.file().clone(),
            file_len: 0,
            proc: 0,
            pid: 0,
            at: self.now.wall,
            at_boot: self.now.mono,
            stop: None,
        };
        Ok(Turn::new(row, ext, members, self.now.mono))
    }

    /// The id by which the agent knows a message: the platform's, else our own.
    pub(super) fn msg_id(&self, m: &InboxRow) -> String {
        m.source.message_id.clone().unwrap_or_else(|| self.store.ext('i', m.id))
    }

    pub(super) fn is_pi_command(&self, text: &str) -> bool {
        let Some(rest) = text.trim_start().strip_prefix('/') else { return false };
        let name = rest.split_whitespace().next().unwrap_or("");
        self.pi_commands.as_ref().is_some_and(|list| list.iter().any(|(n, _)| n == name))
    }
}
