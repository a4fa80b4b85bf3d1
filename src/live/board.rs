//! All views of this process, and who is woken when one changes.
//!
//! What stands in a view is not looked at here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{lock, Live, MAX_ENDED};
use crate::bell::Bell;

/// All sessions' views, and who wants to be woken.
#[derive(Debug, Default)]
pub struct Board {
    lives: Mutex<HashMap<Arc<str>, Arc<Live>>>,
    bells: Arc<Mutex<Vec<Bell>>>,
}

impl Board {
    /// The view of a session; made if missing.
    pub fn open(&self, session: &str) -> Arc<Live> {
        let mut lives = lock(&self.lives);
        if let Some(l) = lives.get(session) {
            return l.clone();
        }
        let key: Arc<str> = session.into();
        let live = Arc::new(Live { session: key.clone(), view: Mutex::default(), bells: self.bells.clone() });
        lives.insert(key, live.clone());
        live
    }
    /// The view of a session if anything was ever shown there.
    pub fn get(&self, session: &str) -> Option<Arc<Live>> {
        lock(&self.lives).get(session).cloned()
    }
    /// Sessions that have a run on view.
    pub fn active(&self) -> Vec<Arc<Live>> {
        lock(&self.lives).values().filter(|l| lock(&l.view).active).cloned().collect()
    }
    /// Every session's view.
    pub fn all(&self) -> Vec<Arc<Live>> {
        lock(&self.lives).values().cloned().collect()
    }
    /// Ring this bell whenever any view changes, until nobody listens to it.
    pub fn watch(&self, bell: Bell) {
        lock(&self.bells).push(bell);
    }
    /// Forgets the views that ended longest ago, beyond [`MAX_ENDED`] and not being looked at.
    pub fn trim(&self) {
        let mut lives = lock(&self.lives);
        let over = |l: &Arc<Live>| Arc::strong_count(l) == 1 && !lock(&l.view).active;
        let mut ended: Vec<(u64, Arc<str>)> =
            lives.iter().filter(|(_, l)| over(l)).map(|(k, l)| (lock(&l.view).ended, k.clone())).collect();
        ended.sort_unstable();
        for (_, key) in ended.iter().take(ended.len().saturating_sub(MAX_ENDED)) {
            lives.remove(key);
        }
    }
}
