//! What pi writes as it goes to the live view: text, tools, and where messages and turns begin and end, each once,
//! also when pi tries a failed message again. The cheap part of every line of pi; it keeps nothing of them.

use std::sync::Arc;

use super::rpc::{Line, Phase};
use crate::live::{Live, Mark, Tool};
use crate::message::PiEvent;

/// The live view's state for one process.
#[derive(Default)]
pub(super) struct Shown {
    live: Option<Arc<Live>>,
    now: Now,
    /// The next text begins a message.
    fresh: bool,
    /// A message began of which nothing is on view yet: one that fails at once leaves no trace.
    unseen: bool,
    /// Where the current message began, and what was on view then.
    start: Option<(Mark, Now)>,
    /// The last message failed; its end is held back.
    failed: bool,
    /// It was taken back, because pi tries again: that goes on from here.
    again: Option<Now>,
    /// The run's own prompt was seen.
    prompted: bool,
}

/// What is on view.
#[derive(Clone, Copy, Default)]
struct Now {
    /// Text of this run.
    text: bool,
    /// `agent_start` without its `agent_end`.
    run: bool,
    /// `turn_start` without its `turn_end`.
    turn: bool,
}

impl Shown {
    pub fn of(live: Option<Arc<Live>>) -> Shown {
        Shown { live, ..Shown::default() }
    }

    /// Nothing more is shown.
    pub fn leave(&mut self) {
        self.live = None;
    }

    pub fn take(&mut self, line: &Line) {
        let Some(live) = self.live.clone() else { return };
        match line {
            Line::Text(delta) if !delta.is_empty() => {
                self.message(&live);
                // The recorded reply joins messages by a blank line.
                if std::mem::take(&mut self.fresh) && self.now.text {
                    live.text("\n\n");
                }
                self.now.text = true;
                live.text(delta);
            }
            Line::Thinking(delta) if !delta.is_empty() => {
                self.message(&live);
                live.thinking(delta);
            }
            Line::AssistantStart => {
                self.go_on(&live);
                if !std::mem::replace(&mut self.now.turn, true) {
                    live.event(r#"{"type":"turn_start"}"#);
                }
                self.start = Some((live.mark(), self.now));
                (self.fresh, self.unseen) = (true, true);
            }
            Line::Tool(t) => live.tool(Tool {
                id: t.id.clone(),
                name: t.name.clone(),
                label: t.label.clone(),
                args: t.args.clone(),
                output: t.output.clone(),
                done: t.phase == Phase::End,
                error: t.error,
                version: 0,
            }),
            Line::TurnEnd => self.turn_end(&live),
            Line::Event(event) => self.event(&live, event),
            _ => {}
        }
    }

    fn event(&mut self, live: &Live, event: &PiEvent) {
        match event {
            PiEvent::Assistant(m) => {
                self.go_on(live);
                self.failed = m.stop == "error";
                if self.failed {
                    live.hold();
                }
                self.message(live);
                live.message_end(m);
            }
            PiEvent::RetryStart { .. } | PiEvent::CompactionEnd { will_retry: true, .. } if self.failed => {
                if let Some((mark, before)) = self.start.take() {
                    live.rollback(&mark);
                    self.again = Some(before);
                }
            }
            // The first is the prompt itself; a later one was handed into the run.
            PiEvent::UserStart { .. } if !self.prompted => self.prompted = true,
            PiEvent::UserStart { .. } => {
                self.go_on(live);
                live.boundary();
                self.now.text = false;
            }
            PiEvent::AgentStart => {
                self.go_on(live);
                if !std::mem::replace(&mut self.now.run, true) {
                    live.event(r#"{"type":"agent_start"}"#);
                }
            }
            PiEvent::AgentEnd { .. } => {
                self.turn_end(live);
                self.now.run = false;
                live.event(r#"{"type":"agent_end"}"#);
            }
            _ => {}
        }
    }

    /// The message that began has something to show.
    fn message(&mut self, live: &Live) {
        if std::mem::take(&mut self.unseen) {
            live.message_start(self.now.text);
        }
    }

    fn turn_end(&mut self, live: &Live) {
        if std::mem::take(&mut self.now.turn) {
            live.turn_end();
        }
    }

    /// Something follows a failed message: either the new attempt, which takes its place, or what comes after it.
    fn go_on(&mut self, live: &Live) {
        if !std::mem::take(&mut self.failed) {
            return;
        }
        match self.again.take() {
            Some(before) => {
                live.forget();
                self.now = before;
            }
            None => live.release(),
        }
    }
}
