//! What the buttons under our messages mean (core.md 22.6, table `action`): one row per keyboard. Core's queries.

use rusqlite::{OptionalExtension, Row as SqlRow};

use super::{Result, Store};
use crate::message::{Target, Wall};

/// Kinds: a menu, a menu of which something final was chosen, a question of the agent.
pub const MENU: &str = "menu";
pub const USED: &str = "used";
pub const ASK: &str = "ask";

/// Keyboards that one account may have; the oldest give way.
const MOST: i64 = 2000;
const COLUMNS: &str = "id, kind, channel, account, chat, sender, session, data, expires";

/// A keyboard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Action {
    /// 8 random characters `a-z2-7`.
    pub id: String,
    pub kind: String,
    pub channel: String,
    pub account: String,
    pub chat: String,
    /// For whom it was made.
    pub sender: Option<String>,
    pub session: String,
    /// JSON: what each button does.
    pub data: String,
    pub expires: Wall,
}

impl Action {
    /// It was shown there.
    pub fn is_at(&self, t: &Target) -> bool {
        (&self.channel, &self.account, &self.chat) == (&t.channel, &t.account, &t.chat)
    }
}

fn action(r: &SqlRow) -> rusqlite::Result<Action> {
    Ok(Action {
        id: r.get(0)?,
        kind: r.get(1)?,
        channel: r.get(2)?,
        account: r.get(3)?,
        chat: r.get(4)?,
        sender: r.get(5)?,
        session: r.get(6)?,
        data: r.get(7)?,
        expires: r.get(8)?,
    })
}

impl Store {
    pub fn add_action(&self, a: &Action) -> Result<()> {
        let db = self.db()?;
        db.prepare_cached("INSERT OR REPLACE INTO action VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute((&a.id, &a.kind, &a.channel, &a.account, &a.chat, &a.sender, &a.session, &a.data, a.expires))?;
        db.prepare_cached(
            "DELETE FROM action WHERE id IN (SELECT id FROM action INDEXED BY action_account
             WHERE channel = ? AND account = ? ORDER BY expires DESC LIMIT -1 OFFSET ?)",
        )?
        .execute((&a.channel, &a.account, MOST))?;
        Ok(())
    }

    pub fn action(&self, id: &str) -> Result<Option<Action>> {
        let sql = format!("SELECT {COLUMNS} FROM action WHERE id = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([id], action).optional()?)
    }

    pub fn set_action(&self, id: &str, data: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE action SET data = ? WHERE id = ?")?.execute((data, id))?;
        Ok(())
    }

    /// Something final was chosen: nothing more comes of its buttons.
    pub fn use_action(&self, id: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE action SET kind = 'used' WHERE id = ?")?.execute([id])?;
        Ok(())
    }

    pub fn forget_action(&self, id: &str) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM action WHERE id = ?")?.execute([id])?;
        Ok(())
    }

    /// Questions that nobody has answered.
    pub fn open_questions(&self) -> Result<Vec<Action>> {
        let sql = format!("SELECT {COLUMNS} FROM action INDEXED BY action_ask WHERE kind = 'ask' LIMIT 1000");
        let mut q = self.db()?.prepare_cached(&sql)?;
        let rows = q.query_map([], action)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The keyboards of a chat that has another id.
    pub fn move_actions(&self, from: &Target, to: &str) -> Result<()> {
        let sql = "UPDATE action INDEXED BY action_account SET chat = ? WHERE channel = ? AND account = ? AND chat = ?";
        self.db()?.prepare_cached(sql)?.execute([to, &from.channel, &from.account, &from.chat])?;
        Ok(())
    }

    pub fn clean_actions(&self, now: Wall) -> Result<()> {
        self.db()?.prepare_cached("DELETE FROM action WHERE expires < ?")?.execute([now])?;
        Ok(())
    }
}
