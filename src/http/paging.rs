//! Strict numbers of queries (R21), and lists in pages (R71).

use serde_json::{json, Value};

use super::fault::Fault;
use super::head::Head;
use super::json::Members;
use super::shapes;
use crate::message::SessionInfo;

/// Most entries of one page.
const MOST: u64 = 1000;

/// A whole number of a query. Anything but digits is refused; one that is too large is the largest there is.
pub fn number(head: &Head, name: &str) -> Result<Option<u64>, Fault> {
    match head.param(name) {
        None => Ok(None),
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(text.parse().unwrap_or(u64::MAX)))
        }
        Some(_) => Err(Fault::invalid(format!("{name} must be a whole number"))),
    }
}

/// A part of a list: at most `limit` entries behind the one that `cursor` stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub limit: Option<usize>,
    /// What an earlier page called `nextCursor`.
    pub cursor: Option<String>,
}

impl Page {
    fn new(limit: Option<u64>, cursor: Option<String>) -> Page {
        Page { limit: limit.map(|n| n.clamp(1, MOST) as usize), cursor }
    }

    pub fn of_query(head: &Head) -> Result<Page, Fault> {
        Ok(Page::new(number(head, "limit")?, head.param("cursor")))
    }

    pub fn of_params(m: &Members) -> Result<Page, Fault> {
        Ok(Page::new(m.number("limit")?, m.text("cursor")?.map(str::to_owned)))
    }

    pub fn asked(&self) -> bool {
        *self != Page::default()
    }

    /// A cursor that no page has given.
    pub fn foreign() -> Fault {
        Fault::invalid("cursor must be the nextCursor of an earlier page")
    }

    /// Cuts a sorted list, and gives the cursor of the next page if there is one.
    pub fn cut<T>(&self, mut list: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let Some(limit) = self.limit.filter(|limit| *limit < list.len()) else { return (list, None) };
        list.truncate(limit);
        let next = list.last().map(name);
        (list, next)
    }
}

/// A page of sessions, those with the latest activity first, as clients see them.
pub fn sessions(mut list: Vec<SessionInfo>, page: &Page) -> (Vec<Value>, Option<String>) {
    let cursor = page.cursor.as_deref().and_then(|c| c.split_once('-'));
    let cursor = cursor.and_then(|(at, key)| Some((at.parse::<i64>().ok()?, key)));
    if page.asked() {
        list.sort_by(|a, b| b.last_activity.cmp(&a.last_activity).then_with(|| a.key.cmp(&b.key)));
    }
    if page.cursor.is_some() {
        let behind = |s: &SessionInfo| {
            cursor.is_some_and(|(at, key)| s.last_activity < at || s.last_activity == at && *s.key > *key)
        };
        list.retain(behind);
    }
    let (list, next) = page.cut(list, |s| format!("{}-{}", s.last_activity, s.key));
    (list.iter().map(shapes::session).collect(), next)
}

/// `{NAME: list, nextCursor?}`
pub fn body(name: &str, list: Vec<Value>, next: Option<String>) -> Value {
    let mut body = json!({name: list});
    if let Some(next) = next {
        body["nextCursor"] = json!(next);
    }
    body
}
