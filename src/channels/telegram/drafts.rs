//! Native drafts: a text that grows in a private chat without being a message (telegram.md 14.4).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::client::Fail;
use crate::config::types::StreamMode;
use crate::message::{Target, View};

/// A chat that cannot show drafts is not asked again for that long.
const INCAPABLE: Duration = Duration::from_secs(24 * 3600);
/// What stands still is shown again, or the platform takes it away.
const REFRESH: Duration = Duration::from_secs(15);
/// Chats and drafts that are remembered.
const REMEMBERED: usize = 500;

/// Drafts of one account.
pub struct Drafts {
    wanted: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    incapable: HashMap<String, Instant>,
    /// By chat and draft: what it shows, and since when.
    shown: HashMap<(String, i64), (u64, Instant)>,
}

impl Drafts {
    pub fn new(mode: StreamMode) -> Drafts {
        Drafts { wanted: matches!(mode, StreamMode::Draft | StreamMode::Auto), state: Mutex::default() }
    }

    /// May that chat be shown drafts? Only private ones, whose ids are above zero.
    pub fn fit(&self, target: &Target) -> bool {
        let private = target.chat.parse::<i64>().is_ok_and(|id| id > 0);
        let fresh = |at: &Instant| at.elapsed() < INCAPABLE;
        self.wanted && private && !self.lock().incapable.get(&target.chat).is_some_and(fresh)
    }

    /// The draft's number: the same for one piece of one run.
    pub fn id(view: &View) -> i64 {
        let mut hasher = DefaultHasher::new();
        (&view.run, view.index).hash(&mut hasher);
        (hasher.finish() >> 12) as i64 + 1
    }

    /// Has it to be shown, or does it stand there already?
    pub fn due(&self, target: &Target, id: i64, hash: u64) -> bool {
        let state = self.lock();
        let shown = state.shown.get(&(target.chat.clone(), id));
        shown.is_none_or(|(what, at)| *what != hash || at.elapsed() > REFRESH)
    }

    pub fn shown(&self, target: &Target, id: i64, hash: u64) {
        let mut state = self.lock();
        if state.shown.len() >= REMEMBERED {
            state.shown.clear();
        }
        state.shown.insert((target.chat.clone(), id), (hash, Instant::now()));
    }

    /// A refusal that means that there are no drafts here: remembered, and a message takes its place.
    pub fn refused(&self, target: &Target, fail: &Fail) -> bool {
        let no = match fail {
            Fail::Api { code: 404, .. } => true, // an old server: the method is not known
            fail => fail.says("textdraft_peer_invalid") || fail.says("method is available only"),
        };
        if no {
            let mut state = self.lock();
            if state.incapable.len() >= REMEMBERED {
                state.incapable.clear();
            }
            state.incapable.insert(target.chat.clone(), Instant::now());
        }
        no
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A text's parameters as those of a draft.
pub fn dress(p: &mut Map<String, Value>, id: i64) {
    p.remove("link_preview_options");
    p.insert("draft_id".into(), id.into());
    p.insert("can_stop".into(), true.into());
}
