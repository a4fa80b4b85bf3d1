//! This process calls the platform itself. The call runs on a thread of its own: whatever it hangs in, the deadline holds.

use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{again, exit, Failure, Order, Sent};
use crate::channels::{telegram, Caller};
use crate::message::{Call, Content, Op, OutFile, Outcome, Target};
use crate::net::{self, Backoff, Net, Route};
use crate::store::random_id;

/// The chat is another one: believed so often.
const MOVES: usize = 2;

/// A call ends so long before the end of all: it is known then whether anything left.
const LAST_WORD: Duration = Duration::from_millis(200);

/// What a thread tells of its work.
enum News {
    Part(Vec<String>),
    End(Result<(), (u8, String, bool)>),
}

pub fn send(order: &Order, target: &Target, parts: Vec<Content>) -> Result<Sent, Failure> {
    let caller = caller(order, target).map_err(|why| Failure::new(exit::CONFIG, why))?;
    let (of, mut target) = (parts.len(), target.clone());
    let (retries, deadline) = (order.retries, order.deadline);
    let resend = again(order);
    let (tell, hear) = channel();
    let work = move || {
        let end = net::until(deadline - LAST_WORD, || {
            parts.into_iter().try_for_each(|part| {
                let ids = Part { caller: &*caller, retries, deadline, resend }.send(&mut target, part)?;
                let _ = tell.send(News::Part(ids)); // nobody hears it any more: the deadline passed
                Ok(())
            })
        });
        let _ = tell.send(News::End(end));
    };
    let thread = std::thread::Builder::new().name("send".into()).spawn(work);
    thread.map_err(|e| Failure::new(exit::TEMPORARY, format!("no thread to send with: {e}")))?;
    let (mut ids, mut sent) = (Vec::new(), 0);
    let failed = |code: u8, why: String, sent, doubt| {
        // What is there already must not be sent again as a whole.
        let code = if sent > 0 { exit::TEMPORARY } else { code };
        Failure { code, why, sent, of, doubt, keyed: false }
    };
    loop {
        match hear.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(News::Part(more)) => {
                ids.extend(more);
                sent += 1;
            }
            Ok(News::End(Ok(()))) => return Ok(Sent { ids, chunks: of, left: None }),
            Ok(News::End(Err((code, why, doubt)))) => return Err(failed(code, why, sent, doubt)),
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("no answer within {} s (--timeout)", order.timeout.as_secs());
                return Err(failed(exit::TEMPORARY, why, sent, true));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failed(exit::INTERNAL, "the sending thread ended".into(), sent, true));
            }
        }
    }
}

fn caller(order: &Order, target: &Target) -> Result<Arc<dyn Caller>, String> {
    let c = &order.config;
    let account = c.channels.telegram.accounts.get(&target.account).ok_or("there is no such account")?;
    let net = Net::open(&c.network)?;
    let route = Route::new(&c.network, account.proxy.as_ref())?;
    // Whoever calls us may read what they name.
    let open = |file: &OutFile| {
        let opened = std::fs::File::open(&file.at).and_then(|f| f.metadata().map(|data| (f, data.len())));
        opened.map_err(|e| format!("{}: {e}", file.at))
    };
    let sender = telegram::sender(account, &route, &net, Arc::new(open), &c.security.ssrf)?;
    Ok(Arc::new(sender))
}

/// The platform's ids; else the exit code, why, and whether it may have arrived.
type Done = Result<Vec<String>, (u8, String, bool)>;

/// One message on its way.
struct Part<'a> {
    caller: &'a dyn Caller,
    retries: u32,
    deadline: Instant,
    /// What may have arrived is sent once more.
    resend: bool,
}

impl Part<'_> {
    fn send(&self, target: &mut Target, part: Content) -> Done {
        let seed = u64::from(std::process::id()) ^ part.text.len() as u64;
        let mut pause = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(60), 0.25, seed);
        let (mut content, mut tries, mut moves, mut doubted) = (part, 0, 0, false);
        let nonce = random_id(22);
        loop {
            let op = Op::Send { content: content.clone(), nonce: nonce.clone(), again: doubted };
            let (why, wait) = match self.caller.perform(&Call { target: target.clone(), op }) {
                Outcome::Sent { id } => return Ok(vec![id]),
                Outcome::SentAll { ids } => return Ok(ids),
                Outcome::Moved { to } if moves < MOVES => {
                    (target.chat, moves) = (to, moves + 1);
                    continue;
                }
                Outcome::Reformat if content.plain.is_some() => {
                    content.text = content.plain.take().unwrap_or_default();
                    continue;
                }
                Outcome::RateLimited { ms, .. } => {
                    (format!("the platform asks to wait {} s", ms.div_ceil(1000)), Duration::from_millis(ms))
                }
                Outcome::Retry { why } => (why, pause.next_pause()),
                Outcome::Ambiguous { why } if self.resend && !doubted => {
                    doubted = true;
                    (why, pause.next_pause())
                }
                Outcome::Ambiguous { why } => {
                    return Err((exit::TEMPORARY, format!("{why}; it may have arrived"), true));
                }
                Outcome::Unauthorized { why } => return Err((exit::PERMISSION, why, false)),
                Outcome::Barred { why, .. } | Outcome::Refused { why } | Outcome::TopicGone { why } => {
                    return Err((exit::FAILED, why, false));
                }
                Outcome::Reformat => return Err((exit::FAILED, "the platform refused its form".into(), false)),
                other => return Err((exit::FAILED, format!("the platform refused it ({other:?})"), false)),
            };
            tries += 1;
            if tries > self.retries {
                return Err((exit::TEMPORARY, format!("{why} (tried {tries} times)"), doubted));
            }
            if Instant::now() + wait >= self.deadline {
                return Err((exit::TEMPORARY, format!("{why}; no time is left (--timeout)"), doubted));
            }
            std::thread::sleep(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Answers one after the other, and keeps what it was asked.
    struct Script(Mutex<Vec<Outcome>>, Mutex<Vec<Call>>);

    impl Caller for Script {
        fn perform(&self, call: &Call) -> Outcome {
            self.1.lock().unwrap().push(call.clone());
            self.0.lock().unwrap().remove(0)
        }
    }

    fn sent(outcomes: Vec<Outcome>, resend: bool) -> (Done, Vec<Call>) {
        let script = Script(Mutex::new(outcomes), Mutex::default());
        let deadline = Instant::now() + Duration::from_secs(3600);
        let part = Part { caller: &script, retries: 0, deadline, resend };
        let mut target = Target { chat: "5".into(), ..Target::default() };
        let content = Content { text: "<b>x</b>".into(), plain: Some("x".into()), ..Content::default() };
        let done = part.send(&mut target, content);
        (done, script.1.into_inner().unwrap())
    }

    #[test]
    fn every_outcome_has_its_exit_code() {
        use Outcome::*;
        let why = || "why".to_owned();
        let code = |outcome| sent(vec![outcome], true).0.unwrap_err().0;
        assert_eq!(code(Retry { why: why() }), exit::TEMPORARY);
        assert_eq!(code(RateLimited { account_wide: false, ms: 9 }), exit::TEMPORARY);
        assert_eq!(code(Unauthorized { why: why() }), exit::PERMISSION);
        assert_eq!(code(Barred { why: why(), ms: None }), exit::FAILED);
        assert_eq!(code(Refused { why: why() }), exit::FAILED);
        assert_eq!(
            sent(vec![Ambiguous { why: why() }], false).0.unwrap_err(),
            (75, "why; it may have arrived".into(), true)
        );
    }

    #[test]
    fn a_form_that_is_refused_and_a_chat_that_moved_cost_no_try() {
        let moved = Outcome::Moved { to: "-1007".into() };
        let (done, calls) = sent(vec![Outcome::Reformat, moved, Outcome::Sent { id: "9".into() }], true);
        assert_eq!(done, Ok(vec!["9".into()]));
        let text = |call: &Call| match &call.op {
            Op::Send { content, .. } => content.text.clone(),
            _ => String::new(),
        };
        assert_eq!(calls.iter().map(text).collect::<Vec<_>>(), ["<b>x</b>", "x", "x"]);
        assert_eq!(calls[2].target.chat, "-1007");
    }
}
