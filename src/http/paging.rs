//! Strict numbers of queries (R21), and lists in pages (R71).

use serde_json::{json, Value};

use super::fault::Fault;
use super::head::Head;
use super::json::{session_key, Members};
use super::shapes;
use crate::message::{Request, SessionInfo};

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

/// The question for a page of sessions: one more than it shows, to know whether there is a next.
pub fn ask_sessions(page: &Page) -> Result<Request, Fault> {
    let place = |cursor: &String| {
        let (minute, key) = cursor.split_once('-').ok_or_else(Page::foreign)?;
        let minute = minute.parse().map_err(|_| Page::foreign())?;
        Ok((minute, session_key(key).map_err(|_| Page::foreign())?.to_owned()))
    };
    let after = page.cursor.as_ref().map(place).transpose()?;
    Ok(Request::Sessions { after, limit: page.limit.unwrap_or(MOST as usize) + 1 })
}

/// A page of sessions, those with the latest activity first, as clients see them.
pub fn sessions(list: Vec<SessionInfo>, page: &Page) -> (Vec<Value>, Option<String>) {
    let page = Page { limit: Some(page.limit.unwrap_or(MOST as usize)), cursor: None };
    let (mut list, next) = page.cut(list, |s| format!("{}-{}", s.last_activity.div_euclid(60_000), s.key));
    list.sort_by_key(|s| std::cmp::Reverse(s.last_activity)); // pages are of whole minutes
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
