//! Memory under lasting use: conversations by turns, long texts and short ones, a new pi process for most of them.
//! What a program keeps after the first hundreds of messages it must not keep adding to.
#![allow(clippy::unwrap_used)] // a bench that cannot measure has to stop loudly

use serde_json::json;

use crate::house::{House, TOKEN};
use crate::raw_http::ask;
use crate::table::Table;

const CONVERSATIONS: u64 = 11;

pub fn run(table: &mut Table, count: u64) {
    table.section(&format!("Memory while {count} messages come by turns in {CONVERSATIONS} conversations, pool of 2"));
    let house = House::running("new", false);
    let fields = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let mut after = |n: u64| {
        let text = format!("[[say:ok]] {}", "x".repeat([0, 500, 3000][n as usize % 3]));
        let session = format!("agent:main:webchat:grow{}", n % CONVERSATIONS);
        let body = json!({"sessionKey": session, "message": text}).to_string();
        let answer = ask(house.addr, "POST", "/api/chat", &fields, &body);
        assert_eq!(answer.status, 200, "{}; {}", answer.text(), house.log());
        house.proc().anon() as f64 / 1024.0
    };
    let memory: Vec<f64> = (0..count).map(&mut after).collect();
    // The highest of a stretch: between two turns some of it is free for a moment.
    let most =
        |part: std::ops::Range<u64>| memory[part.start as usize..part.end as usize].iter().fold(0.0, |a, b| b.max(a));
    let (quarter, last) = (most(count / 8..count / 4), most(count - count / 8..count));
    table.note("anonymous part, at most, after a quarter of them", format!("{quarter:.2} MB"));
    table.note("                         at the end", format!("{last:.2} MB"));
    let per_thousand = (last - quarter).max(0.0) / (count as f64 * 0.75) * 1e3;
    table.goal("grown per 1000 messages", per_thousand, 0.5, "MB");
}
