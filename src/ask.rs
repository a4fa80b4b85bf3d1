//! Asking the mind: one request in, one answer out, with a deadline (design.md R6).
//!
//! The table of waiting callers is the only thing shared; its lock is held for an insert or a remove.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender, TrySendError};

use crate::bell::Bell;
use crate::message::{Answer, Batch, Code, Event, ReqId, Request};

/// Who waits for which answer.
#[derive(Debug, Default)]
pub struct Answers {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Caller>>,
}

#[derive(Debug)]
struct Caller {
    to: Sender<Answer>,
    /// Rung when the answer is there.
    bell: Option<Bell>,
}

impl Answers {
    fn open(&self, bell: Option<Bell>) -> (ReqId, Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (to, rx) = bounded(1);
        self.lock().insert(id, Caller { to, bell });
        (ReqId(id), rx)
    }
    /// Hands over an answer; nobody waiting any more is fine.
    pub fn give(&self, id: ReqId, answer: Answer) {
        let caller = self.lock().remove(&id.0);
        if let Some(Caller { to, bell }) = caller {
            let _ = to.try_send(answer); // capacity 1, used once: never full
            if let Some(bell) = bell {
                bell.ring();
            }
        }
    }
    fn forget(&self, id: ReqId) -> bool {
        self.lock().remove(&id.0).is_some()
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Caller>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A handle to the mind for every thread that asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mind {
    inbox: Sender<Event>,
    answers: Arc<Answers>,
}

/// An answer that is still to come. Dropping it tells the mind that nobody waits.
#[derive(Debug)]
pub struct Pending {
    id: ReqId,
    answer: Receiver<Answer>,
    mind: Mind,
}

impl Mind {
    pub fn new(inbox: Sender<Event>, answers: Arc<Answers>) -> Mind {
        Mind { inbox, answers }
    }

    /// Sends a request without waiting; `Err` holds the answer to give instead (inbox full: `busy`).
    pub fn submit(&self, req: Request) -> Result<Pending, Answer> {
        self.post(req, None)
    }

    /// The same; the bell rings when the answer is there, for somebody who waits for other things too.
    pub fn submit_and_ring(&self, req: Request, bell: Bell) -> Result<Pending, Answer> {
        self.post(req, Some(bell))
    }

    fn post(&self, req: Request, bell: Option<Bell>) -> Result<Pending, Answer> {
        let (id, answer) = self.answers.open(bell);
        self.send(Event::Request { id, req: Box::new(req) }, id)?;
        Ok(Pending { id, answer, mind: self.clone() })
    }

    /// Asks and waits; no word within the deadline is [`Code::Timeout`].
    pub fn ask(&self, req: Request, wait: Duration) -> Answer {
        match self.submit(req) {
            Ok(pending) => pending.wait(wait).unwrap_or_else(|| no_word(wait)),
            Err(answer) => answer,
        }
    }

    /// Hands over a reader's batch. Blocks while the inbox is full: readers may (design.md R2).
    pub fn deliver(&self, batch: Batch) -> Option<Pending> {
        let (id, answer) = self.answers.open(None);
        self.inbox.send(Event::Inbound { id, batch: Box::new(batch) }).ok()?;
        Some(Pending { id, answer, mind: self.clone() })
    }

    /// The same for who must not wait; `None`: the inbox is full, or the mind is gone.
    pub fn deliver_now(&self, batch: Batch) -> Option<Pending> {
        let (id, answer) = self.answers.open(None);
        self.send(Event::Inbound { id, batch: Box::new(batch) }, id).ok()?;
        Some(Pending { id, answer, mind: self.clone() })
    }

    /// Reports an event; blocks while the inbox is full, gives up when the mind is gone.
    pub fn tell(&self, event: Event) -> bool {
        self.inbox.send(event).is_ok()
    }

    /// The same without waiting, for who must not block; false: it was not taken.
    pub fn tell_now(&self, event: Event) -> bool {
        self.inbox.try_send(event).is_ok()
    }

    fn send(&self, event: Event, id: ReqId) -> Result<(), Answer> {
        self.inbox.try_send(event).map_err(|e| {
            self.answers.forget(id);
            let (code, message) = match e {
                TrySendError::Full(_) => (Code::Busy, "The gateway is busy; try again in a second."),
                TrySendError::Disconnected(_) => (Code::ShuttingDown, "The gateway is stopping."),
            };
            Answer::Error { code, message: message.into() }
        })
    }
}

fn no_word(wait: Duration) -> Answer {
    Answer::Error { code: Code::Timeout, message: format!("No answer within {} s.", wait.as_secs()) }
}

impl Pending {
    /// `None`: nothing came in that time; it may be asked again.
    pub fn wait(&self, time: Duration) -> Option<Answer> {
        match self.answer.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Answer::Error { code: Code::ShuttingDown, message: "The gateway is stopping.".into() })
            }
        }
    }
    /// To be used in a `select!` with other things.
    pub fn receiver(&self) -> &Receiver<Answer> {
        &self.answer
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.mind.answers.forget(self.id) {
            let _ = self.mind.inbox.try_send(Event::Gone { id: self.id }); // lost word: the answer finds nobody
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_full_inbox_when_somebody_asks_then_they_are_told_busy_at_once() {
        let (tx, _rx) = bounded(0);
        let mind = Mind::new(tx, Arc::default());
        assert!(matches!(mind.ask(Request::Ping, Duration::from_secs(9)), Answer::Error { code: Code::Busy, .. }));
        assert!(mind.answers.lock().is_empty());
    }

    #[test]
    fn a_caller_that_leaves_is_reported() {
        let (tx, rx) = bounded(4);
        let mind = Mind::new(tx, Arc::default());
        drop(mind.submit(Request::Ping).unwrap());
        assert!(matches!(rx.recv().unwrap(), Event::Request { .. }));
        assert!(matches!(rx.recv().unwrap(), Event::Gone { .. }));
    }
}
