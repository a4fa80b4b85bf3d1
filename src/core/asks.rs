//! Questions to pi beside any turn: what it counts, which models and commands it knows.

use std::sync::Arc;

use super::commands::thousands;
use super::keys::Menu;
use super::session::{Key, Session, Stage, Who, Work};
use super::{Due, State, Todo};
use crate::message::*;
use crate::store::{inbox_state as st, InboxRow, Result};

/// pi answers these at once, whatever it is doing.
const ASK_WAIT: u64 = 30_000;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// For the API: counts, then the state.
    Stats,
    State {
        stats: Arc<str>,
    },
    Models,
    /// `/model <provider/id>`: is there such a one?
    Model(Arc<str>),
    /// `/context`
    Context,
    /// `/skills`
    Skills,
    /// `/refresh`
    Commands,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asker {
    Request(ReqId),
    Command(Key, Row),
}

pub struct PendingAsk {
    proc: ProcId,
    who: Asker,
    what: Ask,
}

impl State {
    pub(super) fn ask_pi(&mut self, proc: ProcId, who: Asker, what: Ask) {
        let cmd = match what {
            Ask::Stats | Ask::Context => PiCmd::GetStats,
            Ask::State { .. } => PiCmd::GetState,
            Ask::Models | Ask::Model(_) => PiCmd::GetModels,
            Ask::Skills | Ask::Commands => PiCmd::GetCommands,
        };
        let id = self.write(proc, cmd);
        self.arm(Due::Ask(id), self.now.mono + ASK_WAIT);
        self.asks.insert(id, PendingAsk { proc, who, what });
    }

    /// Somebody waits for this process's word.
    pub(super) fn is_asked(&self, proc: ProcId) -> bool {
        self.asks.values().any(|a| a.proc == proc)
    }

    /// The session's process, if it can be asked.
    pub(super) fn live_proc(&self, s: &Session) -> Option<ProcId> {
        let p = self.procs.get(&s.proc?)?;
        (p.usable() && p.file.as_ref() == Some(&s.row.file)).then_some(p.id)
    }

    /// A command that needs pi's word; a process is started for it if none lives.
    pub(super) fn ask_for(&mut self, s: &mut Session, row: &InboxRow, ask: Ask) -> Result<()> {
        self.store.set_inbox(row.id, st::EXECUTING, None, None, None)?;
        match (self.live_proc(s), &s.stage) {
            (Some(proc), _) => {
                self.ask_pi(proc, Asker::Command(s.key.clone(), row.id), ask);
                Ok(())
            }
            (None, Stage::Idle | Stage::Debounce { .. }) => self.begin(s, Work::Ask { row: row.id, ask }),
            (None, _) if matches!(ask, Ask::Model(_)) => self.model_asked(s, row.id, ask),
            (None, _) => {
                let text = "The agent is just starting; try again in a moment.".to_owned();
                self.tell(s, Who::Row(row.id), Ok(text))
            }
        }
    }

    pub(super) fn on_asked(&mut self, ask: PendingAsk, result: std::result::Result<PiData, String>) -> Result<()> {
        self.todo.push_back(Todo::Pool); // its process may be what somebody waits for
        let data = match result {
            Ok(data) => data,
            Err(why) => return self.ask_failed(ask, &format!("pi refused: {why}")),
        };
        match (ask.who, ask.what, data) {
            (who @ Asker::Request(_), Ask::Stats, PiData::Stats(stats)) => {
                self.ask_pi(ask.proc, who, Ask::State { stats: stats.raw.into() });
                Ok(())
            }
            (Asker::Request(id), Ask::State { stats }, PiData::State(state)) => {
                self.answer(id, Answer::Stats { stats, state: state.raw.into() }, false);
                Ok(())
            }
            (Asker::Request(id), Ask::Models, PiData::Models(list)) => {
                self.answer(id, Answer::Models(list.raw.into()), false);
                Ok(())
            }
            (Asker::Command(key, row), what @ Ask::Model(_), _) => {
                self.with(&key, |core, s| core.model_asked(s, row, what))
            }
            (Asker::Command(key, row), what @ (Ask::Models | Ask::Skills), _) => self.with(&key, |core, s| {
                let Some(row) = core.store.inbox(row)? else { return Ok(()) };
                let (menu, text) = match what {
                    Ask::Models => (Menu::Providers(0), core.model_text(s)),
                    _ => (Menu::Skills(0), core.skills_text()),
                };
                core.offer(s, &row, menu, text)
            }),
            (Asker::Command(key, row), what, data) => self.with(&key, |core, s| {
                let text = match (what, data) {
                    (Ask::Context, PiData::Stats(stats)) => core.context_text(s, &stats),
                    (Ask::Commands, _) => {
                        let list = core.pi_commands.as_deref().unwrap_or_default();
                        let (n, list) = (list.len(), list.into());
                        core.emit(Effect::Commands(list)); // menus are looked at again
                        format!("pi's list of commands is up to date ({n}).")
                    }
                    _ => "pi gave no such answer.".to_owned(),
                };
                core.tell(s, Who::Row(row), Ok(text))
            }),
            (who, what, _) => self.ask_failed(PendingAsk { proc: ask.proc, who, what }, "pi's answer cannot be read"),
        }
    }

    /// The list is as well known as it can be.
    pub(super) fn model_asked(&mut self, s: &mut Session, row: Row, ask: Ask) -> Result<()> {
        let Ask::Model(model) = ask else { return Ok(()) };
        let (Ok(text) | Err(text)) = self.choose_model(s, &model)?;
        self.tell(s, Who::Row(row), Ok(text))
    }

    fn ask_failed(&mut self, ask: PendingAsk, why: &str) -> Result<()> {
        match ask.who {
            Asker::Request(id) => {
                self.refuse(id, Code::UpstreamFailed, why);
                Ok(())
            }
            // Who cannot ask can choose all the same: it may be what makes pi work again.
            Asker::Command(key, row) if matches!(ask.what, Ask::Model(_)) => {
                self.with(&key, |core, s| core.model_asked(s, row, ask.what))
            }
            Asker::Command(key, row) => {
                self.with(&key, |core, s| core.tell(s, Who::Row(row), Ok(format!("That failed: {why}."))))
            }
        }
    }

    pub(super) fn ask_late(&mut self, cmd: CmdId) -> Result<()> {
        let Some(ask) = self.asks.remove(&cmd) else { return Ok(()) };
        self.todo.push_back(Todo::Pool);
        let session = self.procs.get(&ask.proc).and_then(|p| p.session.clone());
        self.rpc_late(session.as_deref().unwrap_or_default());
        self.ask_failed(ask, "pi did not answer within 30 s")
    }

    /// The process is gone.
    pub(super) fn drop_asks(&mut self, proc: ProcId) -> Result<()> {
        let gone: Vec<CmdId> = self.asks.iter().filter(|(_, a)| a.proc == proc).map(|(id, _)| *id).collect();
        for id in gone {
            self.disarm(&Due::Ask(id));
            if let Some(ask) = self.asks.remove(&id) {
                self.ask_failed(ask, "the agent process ended")?;
            }
        }
        Ok(())
    }

    /// `/context`: a bar and the figures.
    fn context_text(&self, s: &Session, st: &PiStats) -> String {
        const CELLS: u64 = 20;
        let mut out = match (st.context_tokens, st.context_window) {
            (Some(used), Some(window)) if window > 0 => {
                let full = (used * CELLS / window).min(CELLS) as usize;
                let bar = "█".repeat(full) + &"░".repeat(CELLS as usize - full);
                let share = used * 100 / window;
                format!("`{bar}` {share} % of {} tokens used ({})", thousands(window), thousands(used))
            }
            (_, Some(window)) => format!("Context window: {} tokens; used: not known yet", thousands(window)),
            _ => "The size of the context is not known.".to_owned(),
        };
        let model = self.wanted(s, None).model.unwrap_or_else(|| "pi's default".into());
        out += &format!(
            "\n- Tokens: input {}, output {}, cache read {}, cache write {}\n- Cost: {:.4}\n- Messages: {}, tool calls: {}\n- Model: {model}, thinking {}",
            thousands(st.input),
            thousands(st.output),
            thousands(st.cache_read),
            thousands(st.cache_write),
            st.cost,
            st.user_messages,
            st.tool_calls,
            self.level(s),
        );
        out
    }

    pub(super) fn skills_text(&self) -> String {
        let list = self.pi_commands.iter().flatten().filter(|(name, _)| name.starts_with("skill:"));
        let lines: Vec<String> =
            list.map(|(name, what)| format!("- `/{name}` {}", super::prompt::head(what, 120))).collect();
        match lines.is_empty() {
            true => "pi has no skills here.".to_owned(),
            false => format!("Skills:\n{}", lines.join("\n")),
        }
    }
}
