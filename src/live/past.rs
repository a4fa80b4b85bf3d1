//! What a steer took off the view: its rest is still told to those who had not read so far, so that nobody misses
//! the end of a tool that ended a moment before.

use super::{Cursor, Live, News, View};

/// Pages kept of one run; who is further behind has the replies, and the history.
const MOST: usize = 8;

impl Live {
    /// The rest of the run, from the oldest boundary on, answers another message.
    pub fn rename(&self, run: &str) {
        self.change(|v| {
            let at = if v.boundaries.is_empty() { v.items.len() } else { v.boundaries.remove(0) };
            let items: Vec<_> = v.items.drain(..at.min(v.items.len())).collect();
            if !items.is_empty() {
                let run = std::mem::take(&mut v.run);
                v.past.push(View { generation: v.generation, run, items, ..View::default() });
            }
            if v.past.len() > MOST {
                v.past.remove(0);
            }
            v.count_events();
            v.boundaries.iter_mut().for_each(|b| *b = b.saturating_sub(at));
            v.generation += 1;
            v.run = run.to_owned();
            v.active = true;
        });
    }
    /// What this cursor reads next is of the run on view, or the rest of the one before.
    pub fn is_at(&self, at: &Cursor) -> bool {
        let v = super::lock(&self.view);
        v.generation == at.generation || v.rest(&mut at.clone(), usize::MAX).is_some()
    }
}

impl View {
    pub(super) fn read(&self, at: &mut Cursor, max: usize) -> Vec<News> {
        if at.generation == self.generation {
            return self.read_on(at, max);
        }
        if let Some(news) = self.rest(at, max) {
            return news;
        }
        let next = self.past.iter().position(|p| p.generation == at.generation).and_then(|n| self.past.get(n + 1));
        let next = next.unwrap_or(self);
        *at = Cursor { generation: next.generation, brief: at.brief, ..Cursor::default() };
        let mut news = vec![News::Restart { run: next.run.clone() }];
        news.append(&mut next.read_on(at, max));
        news
    }

    /// What a cursor has not read of a page of the past; `None`: nothing.
    fn rest(&self, at: &mut Cursor, max: usize) -> Option<Vec<News>> {
        let page = self.past.iter().find(|p| p.generation == at.generation)?;
        let news = page.read_on(at, max);
        (!news.is_empty()).then_some(news)
    }
}
