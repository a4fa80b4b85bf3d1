//! Where the call of this thread stands: until when it may wait, and how much of its request has left.
//!
//! ureq hands nothing of a request down to its transports, and a pooled connection serves many calls. So the call's
//! state is the thread's: a call begins, waits and ends on one thread.

use std::cell::Cell;
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
struct State {
    deadline: Instant,
    /// The system took at least one byte of the request.
    sent: bool,
    /// The last byte of the request was not yet asked for: nobody can have it.
    incomplete: bool,
}

thread_local! {
    static CALL: Cell<Option<State>> = const { Cell::new(None) };
    /// No call of this thread goes on beyond it.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does something whose calls all end by then, each with its own word of whether it may have arrived.
pub fn until<T>(end: Instant, job: impl FnOnce() -> T) -> T {
    let outer = END.replace(Some(end));
    let done = job();
    END.set(outer);
    done
}

/// A call; ends when dropped.
pub(super) struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        CALL.set(None);
    }
}

/// Begins a call of this thread.
pub(super) fn begin(deadline: Instant) -> Running {
    let deadline = END.get().map_or(deadline, |end| end.min(deadline));
    CALL.set(Some(State { deadline, sent: false, incomplete: false }));
    Running(())
}

fn change(f: impl FnOnce(&mut State)) {
    if let Some(mut state) = CALL.get() {
        f(&mut state);
        CALL.set(Some(state));
    }
}

/// The time that is left; `None`: over. Outside of a call nothing may wait.
pub(super) fn left() -> Option<Duration> {
    let left = CALL.get()?.deadline.saturating_duration_since(Instant::now());
    // A socket's timeout of less than a microsecond would mean "for ever".
    (left >= Duration::from_millis(1)).then_some(left)
}

/// Runs a step that has less time than the call.
pub(super) fn within<T>(limit: Duration, step: impl FnOnce() -> T) -> T {
    let outer = CALL.get().map(|s| s.deadline);
    change(|s| s.deadline = s.deadline.min(Instant::now() + limit));
    let result = step();
    if let Some(deadline) = outer {
        change(|s| s.deadline = deadline);
    }
    result
}

/// Moves the call's end.
pub(super) fn set_deadline(deadline: Instant) {
    let end = END.get();
    change(|s| s.deadline = end.map_or(deadline, |end| end.min(deadline)));
}

/// The body is being read and is not yet at its end.
pub(super) fn set_incomplete(incomplete: bool) {
    change(|s| s.incomplete = incomplete);
}

/// The call goes on with another request; the first one has its answer.
pub(super) fn begin_hop() {
    change(|s| s.sent = false);
}

pub(super) fn mark_sent() {
    change(|s| s.sent = true);
}

/// Whether the other side may have the whole request.
pub(super) fn may_have_arrived() -> bool {
    CALL.get().is_some_and(|s| s.sent && !s.incomplete)
}
