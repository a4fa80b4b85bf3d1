//! The live view: what a running turn shows before its reply is recorded.
//!
//! One [`Live`] per session holds the latest state of the run; `pi-<n>-out` writes it, any number of
//! viewers read it at their own pace with a [`Cursor`] and are woken by a doorbell. Nothing durable depends
//! on it, a slow viewer costs nothing, and one that comes late catches up from the same place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::bell::Bell;
use crate::message::AssistantMessage;

mod board;
mod past;
#[cfg(test)]
mod tests;
mod told;
pub use board::Board;
pub use told::part;

/// Text kept for the view of one run, bytes; what comes after is counted but not shown live.
pub const MAX_BYTES: usize = 4 << 20;
/// Views of ended runs that are kept for clients that come late.
pub const MAX_ENDED: usize = 16;
/// Pieces kept for one run.
pub const MAX_ITEMS: usize = 4096;
/// Events kept for one run (starts and ends of messages and turns), beside the pieces.
pub const MAX_EVENTS: usize = 4 * MAX_ITEMS;

/// One piece of the view, in order of appearance. Text pieces grow, tool pieces change state.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Text(String),
    Thinking(String),
    Tool(Tool),
    /// Any other event of pi worth showing, as a JSON object's text (`{"type":"agent_start"}`).
    Event(Arc<str>),
    /// An assistant message begins. `joined`: its first text has the blank line in front that joins it to the
    /// message before.
    Start {
        joined: bool,
    },
    /// It is complete. Its text is not kept twice: `shown` says that it is what the pieces since `Start` say,
    /// and then the message's own is empty.
    End {
        message: Arc<AssistantMessage>,
        shown: bool,
    },
    /// The model's turn ends: its message and its tools are done.
    TurnEnd,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tool {
    pub id: String,
    pub name: String,
    pub label: String,
    /// Arguments as JSON text, at most 2 KiB.
    pub args: String,
    /// Output so far (its tail), at most 4 KiB.
    pub output: String,
    pub done: bool,
    pub error: bool,
    /// Rises with every change, so that a cursor sees it.
    pub version: u32,
}

/// Characters of what a tool was asked.
const ASKED: usize = 160;

/// What a tool was asked, on one line: its label, else the argument that says most.
pub fn asked(label: &str, name: &str, args: &str) -> String {
    let of_args = || {
        let args: serde_json::Map<String, serde_json::Value> = serde_json::from_str(args).unwrap_or_default();
        let named = ["command", "path", "file_path", "pattern", "query", "url"].iter().find_map(|name| args.get(*name));
        named.or_else(|| args.values().find(|v| v.is_string())).and_then(|v| v.as_str().map(str::to_owned))
    };
    let label = Some(label.to_owned()).filter(|l| !l.is_empty() && l != name);
    let text = label.or_else(of_args).unwrap_or_default();
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(ASKED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// State of one session's view.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Rises whenever `items` starts anew.
    pub generation: u64,
    /// External id of the message being answered.
    pub run: String,
    pub active: bool,
    pub items: Vec<Item>,
    bytes: usize,
    /// Rises from one ended view to the next.
    ended: u64,
    /// Where injected messages came in, as numbers of items.
    boundaries: Vec<usize>,
    /// How many of the items are events.
    events: usize,
    /// Events of a failed message go into `held`, see [`Live::hold`].
    holding: bool,
    held: Vec<Item>,
    /// What steers took off the view of this run, the oldest first.
    past: Vec<View>,
}

/// Where a viewer is. `Default` = has seen nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cursor {
    pub generation: u64,
    /// Without `message_end` and `turn_end`.
    brief: bool,
    item: usize,
    offset: usize,
    /// Last seen versions of tools that were not done when the cursor passed them.
    open: Vec<(usize, u32)>,
}

impl Cursor {
    /// For a viewer that needs nothing that repeats what it has seen.
    pub fn brief(self) -> Cursor {
        Cursor { brief: true, ..self }
    }
}

/// What a viewer has to show next, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Forget what was shown of this run; what follows is all of it.
    Restart {
        run: String,
    },
    Text {
        run: String,
        delta: String,
    },
    /// `first`: a new block begins.
    Thinking {
        run: String,
        delta: String,
        first: bool,
    },
    ThinkingEnd {
        run: String,
    },
    ToolStart {
        run: String,
        tool: Tool,
    },
    ToolChange {
        run: String,
        tool: Tool,
    },
    Event {
        run: String,
        json: Arc<str>,
    },
}

/// A moment of a view, see [`Live::mark`].
#[derive(Clone, Debug)]
pub struct Mark {
    generation: u64,
    items: usize,
    text: usize,
    bytes: usize,
}

#[derive(Debug)]
pub struct Live {
    pub session: Arc<str>,
    view: Mutex<View>,
    bells: Arc<Mutex<Vec<Bell>>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner()) // plain data: a panic elsewhere leaves it usable
}

fn ring(bells: &Mutex<Vec<Bell>>) {
    lock(bells).retain(|b| b.ring());
}

impl Live {
    fn change(&self, f: impl FnOnce(&mut View)) {
        f(&mut lock(&self.view));
        ring(&self.bells);
    }
    /// A run begins, or begins anew: nothing is on view.
    pub fn begin(&self, run: &str) {
        self.change(|v| {
            v.generation += 1;
            v.run = run.to_owned();
            v.active = true;
            v.items.clear();
            v.boundaries.clear();
            v.past.clear();
            v.items.shrink_to(64);
            v.bytes = 0;
            v.events = 0;
            v.forget();
        });
    }
    /// A message was handed into the run here: what follows belongs to it.
    pub fn boundary(&self) {
        self.change(|v| v.boundaries.push(v.items.len()));
    }
    /// The run is over; the view stays until the next begins.
    pub fn end(&self) {
        static ENDED: AtomicU64 = AtomicU64::new(0);
        self.change(|v| {
            v.release();
            v.active = false;
            v.ended = ENDED.fetch_add(1, Ordering::Relaxed);
        });
    }
    pub fn text(&self, delta: &str) {
        self.change(|v| v.grow(delta, false));
    }
    pub fn thinking(&self, delta: &str) {
        self.change(|v| v.grow(delta, true));
    }
    pub fn tool(&self, tool: Tool) {
        self.change(|v| v.tool(tool));
    }
    pub fn event(&self, json: &str) {
        self.change(|v| v.told(Item::Event(json.into())));
    }
    /// A place to go back to.
    pub fn mark(&self) -> Mark {
        let v = lock(&self.view);
        let text = match v.items.last() {
            Some(Item::Text(t) | Item::Thinking(t)) => t.len(),
            _ => 0,
        };
        Mark { generation: v.generation, items: v.items.len(), text, bytes: v.bytes }
    }
    /// Forgets what was shown since the mark (pi tries that message again); nothing if another run began. What
    /// is held stays: the attempt may still be given up.
    pub fn rollback(&self, to: &Mark) {
        self.change(|v| {
            if v.generation != to.generation || v.items.len() < to.items {
                return;
            }
            let Some(gone) = v.cut(to) else { return }; // nothing was shown: nothing to take back
            if gone && v.holding {
                v.held.insert(0, Item::Start { joined: false });
            }
            if let Some(Item::Text(t) | Item::Thinking(t)) = v.items.last_mut() {
                t.truncate(to.text);
            }
            v.bytes = to.bytes;
            v.generation += 1;
        });
    }
    /// Text shown so far does not count (pi tries again).
    pub fn discard(&self) {
        let run = lock(&self.view).run.clone();
        self.begin(&run);
    }
    /// Reads what is new for this viewer, at most about `max` bytes of text, and moves the cursor.
    /// Empty = nothing new.
    pub fn read(&self, at: &mut Cursor, max: usize) -> Vec<News> {
        lock(&self.view).read(at, max)
    }
    /// `(active, run, items)` now.
    pub fn snapshot(&self) -> (bool, String, Vec<Item>) {
        let v = lock(&self.view);
        (v.active, v.run.clone(), v.items.clone())
    }
    /// The whole view, and a cursor that has seen it.
    pub fn look(&self) -> (Cursor, View) {
        let v = lock(&self.view);
        (v.seen(), v.clone())
    }
    pub fn active(&self) -> bool {
        lock(&self.view).active
    }
    /// External id of the run on view.
    pub fn run(&self) -> String {
        lock(&self.view).run.clone()
    }
    /// A cursor that has seen everything so far.
    pub fn now(&self) -> Cursor {
        lock(&self.view).seen()
    }
}

impl View {
    fn grow(&mut self, delta: &str, thinking: bool) {
        self.bytes += delta.len();
        if self.bytes > MAX_BYTES {
            return;
        }
        let full = self.full();
        let fresh = self.boundaries.last() == Some(&self.items.len());
        match (self.items.last_mut().filter(|_| !fresh), thinking) {
            (Some(Item::Text(t)), false) | (Some(Item::Thinking(t)), true) => t.push_str(delta),
            _ if full => {}
            (_, false) => self.items.push(Item::Text(delta.to_owned())),
            (_, true) => self.items.push(Item::Thinking(delta.to_owned())),
        }
    }

    fn tool(&mut self, new: Tool) {
        let known = self.items.iter().rposition(|i| matches!(i, Item::Tool(t) if t.id == new.id));
        let full = self.full();
        match known.and_then(|at| self.items.get_mut(at)) {
            Some(Item::Tool(t)) => {
                let keep = |new: String, old: &mut String| if new.is_empty() { std::mem::take(old) } else { new };
                *t = Tool {
                    name: keep(new.name, &mut t.name),
                    label: keep(new.label, &mut t.label),
                    args: keep(new.args, &mut t.args),
                    output: keep(new.output, &mut t.output),
                    version: t.version + 1,
                    ..new
                };
            }
            _ if full => {}
            _ => self.items.push(Item::Tool(new)),
        }
    }

    /// For a cursor of this generation.
    fn read_on(&self, at: &mut Cursor, max: usize) -> Vec<News> {
        let mut news = Vec::new();
        let mut taken = 0;
        let run = || self.run.clone();
        at.open.retain_mut(|(i, seen)| match self.items.get(*i) {
            Some(Item::Tool(t)) => {
                if t.version != *seen {
                    *seen = t.version;
                    news.push(News::ToolChange { run: run(), tool: t.clone() });
                }
                !t.done
            }
            _ => false,
        });
        while let Some(item) = self.items.get(at.item) {
            if taken >= max {
                break;
            }
            let last = at.item + 1 == self.items.len();
            match item {
                Item::Text(t) | Item::Thinking(t) => {
                    let mut end = t.len().min(at.offset.saturating_add(max - taken));
                    while !t.is_char_boundary(end) {
                        end += 1;
                    }
                    if end > at.offset {
                        let delta = t[at.offset..end].to_owned();
                        taken += delta.len();
                        news.push(match item {
                            Item::Text(_) => News::Text { run: run(), delta },
                            _ => News::Thinking { run: run(), delta, first: at.offset == 0 },
                        });
                        at.offset = end;
                    }
                    if last || end < t.len() {
                        break;
                    }
                    if matches!(item, Item::Thinking(_)) {
                        news.push(News::ThinkingEnd { run: run() });
                    }
                }
                Item::Tool(t) => {
                    news.push(News::ToolStart { run: run(), tool: t.clone() });
                    if !t.done {
                        at.open.push((at.item, t.version));
                    }
                    taken += t.args.len() + t.output.len();
                }
                told => {
                    if let Some(json) = self.event(at.item, told, at.brief) {
                        taken += json.len();
                        news.push(News::Event { run: run(), json });
                    }
                }
            }
            at.item += 1;
            at.offset = 0;
        }
        news
    }
}
