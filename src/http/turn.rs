//! A request that waits for a turn: handed to the mind, waited for, streamed, given up when its client leaves. What
//! `/api/chat` and `/v1` have in common; their words are their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver};

use crate::ask::Pending;
use crate::live::{Cursor, Live, News};
use crate::message::{Answer, ChatReply, ChatRequest, Code, Request, Row};

use super::exchange::{Exchange, Reply};
use super::fault::Fault;
use super::images::Stored;
use super::port::{Permit, Port};

/// Live text taken in one look.
const STEP: usize = 16 << 10;

/// A checked request, before anything is asked.
pub struct Asked {
    pub request: ChatRequest,
    pub images: Stored,
    /// The client's leaving ends its turn.
    pub abort_when_gone: bool,
    pub _permit: Permit,
}

/// A message that is on disk.
pub struct Accepted {
    pub row: Row,
    pub run: String,
    pub session: String,
    pub replayed: bool,
}

/// The permit to wait, while there is one (R53).
pub fn permit(port: &Port) -> Result<Permit, Fault> {
    let permit = port.waiting.take(port.settings.get().limits.waiting);
    permit.ok_or_else(|| Fault::busy("Too many requests wait for an answer"))
}

impl Asked {
    /// Hands the message over and waits until it is on disk.
    pub fn accept(&mut self, port: &Port) -> Result<Accepted, Fault> {
        let request = std::mem::take(&mut self.request);
        let (session, fleeting) = (request.session.clone(), request.fleeting);
        match port.mind.ask(Request::Chat(Box::new(request)), port.settings.get().times.accept) {
            Answer::Accepted { row, run, replayed } => {
                if !replayed {
                    self.images.keep(); // a repeat has its pictures already
                }
                let session = if fleeting { session + &run } else { session };
                Ok(Accepted { row, run, session, replayed })
            }
            other => {
                if matches!(&other, Answer::Error { code: Code::Timeout, .. }) {
                    self.images.keep(); // it may still be accepted
                }
                Err(Fault::from_answer(other))
            }
        }
    }

    fn left(&self, port: &Port, accepted: &Accepted) {
        if self.abort_when_gone {
            let _ = port.mind.submit(Request::Withdraw { row: accepted.row }); // best effort
        }
    }
}

/// Waits for the reply to an accepted message.
pub fn wait(port: &Port, ex: &mut dyn Exchange, asked: &Asked, accepted: &Accepted) -> Result<ChatReply, Fault> {
    reply(port, ex, accepted.row, || asked.left(port, accepted))
}

/// Waits for the reply to a message; `left` is called if the client does not.
pub fn reply(port: &Port, ex: &mut dyn Exchange, row: Row, left: impl FnOnce()) -> Result<ChatReply, Fault> {
    let begun = Instant::now();
    let pending = port.mind.submit(Request::Wait { row }).map_err(Fault::from_answer)?;
    let times = port.settings.get().times.clone();
    let end = begun + times.reply;
    loop {
        match pending.wait(times.peek) {
            Some(Answer::Reply(reply)) => return Ok(*reply),
            Some(other) => return Err(Fault::from_answer(other)),
            None if ex.gone() => {
                left();
                return Err(Fault::new(499, "timeout", "The client left"));
            }
            None if Instant::now() >= end => {
                return Err(Fault::new(504, "timeout", "No reply in time; ask again with the same Idempotency-Key"))
            }
            None => {}
        }
    }
}

/// Headers that name what a request became.
pub fn named(reply: Reply, accepted: &Accepted) -> Reply {
    let reply = reply.with("X-Session-Key", &*accepted.session).with("X-Run-Id", &*accepted.run);
    match accepted.replayed {
        true => reply.with("Idempotent-Replay", "true"),
        false => reply,
    }
}

/// What a stream shows of a run, in its own frames.
pub trait Frames {
    /// News of this very run.
    fn note(&mut self, news: &News);
    /// The frames made so far; they are sent now.
    fn take(&mut self) -> String;
    /// The frames that end the stream. `Err`: there is no reply.
    fn last(&mut self, reply: Result<ChatReply, Fault>) -> String;
    /// A comment that keeps the connection open.
    fn comment(&self) -> &'static str;
}

/// A session's live view, watched from before the message is handed over: its first words may come at once (R20).
pub struct Watch {
    live: Option<(Arc<Live>, Cursor)>,
    bell: Receiver<()>,
}

impl Watch {
    pub fn open(port: &Port, asked: &Asked) -> Watch {
        let (ring, bell) = bounded(1);
        port.board.watch(Arc::new(ring));
        // The session of a single request has no name yet, and nothing of others to be passed over.
        let live = (!asked.request.fleeting).then(|| port.board.open(&asked.request.session));
        Watch { live: live.map(|l| (l.clone(), l.now().brief())), bell }
    }
}

/// Streams a run until its reply, or until the client leaves.
pub fn stream(
    port: &Port,
    ex: &mut dyn Exchange,
    asked: &Asked,
    accepted: &Accepted,
    watch: Watch,
    show: &mut dyn Frames,
) -> Result<Reply, Fault> {
    let pending = port.mind.submit(Request::Wait { row: accepted.row }).map_err(Fault::from_answer)?;
    let head = Reply::new(200).with("Content-Type", "text/event-stream; charset=utf-8");
    let head = head.with("Cache-Control", "no-cache").with("X-Accel-Buffering", "no");
    if ex.begin(named(head, accepted)).is_err() {
        asked.left(port, accepted);
        return Ok(Reply::streamed());
    }
    let (live, mut at) = watch.live.unwrap_or_else(|| (port.board.open(&accepted.session), Cursor::default().brief()));
    let mut pace = Pace::new(port);
    let mut answer = None;
    loop {
        loop {
            let news = live.read(&mut at, STEP);
            for n in news.iter().filter(|n| run_of(n) == accepted.run) {
                show.note(n);
            }
            let out = show.take();
            if !out.is_empty() && pace.sent(ex.send(out.as_bytes())).is_err() || news.is_empty() {
                break;
            }
        }
        if let Some(answer) = answer {
            let reply = match answer {
                Answer::Reply(reply) => Ok(*reply),
                other => Err(Fault::from_answer(other)),
            };
            let _ = ex.send(show.last(reply).as_bytes()); // the stream ends either way
            return Ok(Reply::streamed());
        }
        match pace.due(ex, show) {
            Ok(()) => {}
            Err(Over::Left) => {
                asked.left(port, accepted);
                return Ok(Reply::streamed());
            }
            Err(Over::Late) => {
                let fault = Fault::new(504, "timeout", "No reply in time");
                let _ = ex.send(show.last(Err(fault)).as_bytes());
                return Ok(Reply::streamed());
            }
        }
        answer = wake(&pending, &watch.bell, pace.peek);
    }
}

fn run_of(news: &News) -> &str {
    let (News::Restart { run }
    | News::Text { run, .. }
    | News::Thinking { run, .. }
    | News::ThinkingEnd { run }
    | News::ToolStart { run, .. }
    | News::ToolChange { run, .. }
    | News::Event { run, .. }) = news;
    run
}

/// Waits for the answer, a change of the view, or the time to look after the connection.
fn wake(pending: &Pending, bell: &Receiver<()>, wait: Duration) -> Option<Answer> {
    crossbeam_channel::select! {
        recv(pending.receiver()) -> answer => {
            let gone = || Answer::Error { code: Code::ShuttingDown, message: "The gateway is stopping.".into() };
            Some(answer.unwrap_or_else(|_| gone()))
        }
        recv(bell) -> _ => None,
        default(wait) => None,
    }
}

/// Why a stream ends without an answer.
enum Over {
    Left,
    Late,
}

/// When to look whether the client left, to send a comment, and to give up.
struct Pace {
    peek: Duration,
    comment: Duration,
    end: Instant,
    /// Sent something; looked after the client.
    last: Instant,
    looked: Instant,
    broken: bool,
}

impl Pace {
    fn new(port: &Port) -> Pace {
        let (t, begun) = (&port.settings.get().times, Instant::now());
        Pace { peek: t.peek, comment: t.comment, end: begun + t.reply, last: begun, looked: begun, broken: false }
    }
    fn sent(&mut self, result: std::io::Result<()>) -> std::io::Result<()> {
        self.last = Instant::now();
        self.broken |= result.is_err();
        result
    }
    fn due(&mut self, ex: &mut dyn Exchange, show: &dyn Frames) -> Result<(), Over> {
        if self.broken {
            return Err(Over::Left);
        }
        // bells of other sessions must not keep us from it
        if self.looked.elapsed() < self.peek {
            return Ok(());
        }
        self.looked = Instant::now();
        if ex.gone() {
            return Err(Over::Left);
        }
        if Instant::now() >= self.end {
            return Err(Over::Late);
        }
        if self.last.elapsed() >= self.comment {
            return self.sent(ex.send(show.comment().as_bytes())).map_err(|_| Over::Left);
        }
        Ok(())
    }
}

/// One frame of an event stream.
pub fn frame(value: &serde_json::Value) -> String {
    format!("data: {value}\n\n")
}
