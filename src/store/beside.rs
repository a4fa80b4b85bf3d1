//! The command line's hand in the store: single short statements beside a gateway, or without one (config.md 10).
//!
//! Who may write is all it changes. The gate looks at the store for every message, so what is written here holds at
//! once; a gateway that runs is only poked to tell people of it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::rows::{session, SessionRow, SESSION};
use super::{schema, Error, Result, PAIRING_LIFE};
use crate::message::{Source, Wall};

/// A gateway holds its lock for milliseconds; a sick disk for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection of its own. It syncs what it writes and leaves the log to the gateway.
pub struct Beside {
    pub(super) db: Connection,
}

/// An open request, as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub channel: String,
    pub account: String,
    pub code: String,
    pub sender: String,
    pub name: Option<String>,
    pub at: Wall,
}

/// Somebody who may write.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    pub channel: String,
    pub account: String,
    pub sender: String,
    pub name: Option<String>,
    pub at: Wall,
}

/// What became of a code.
#[derive(Clone, Debug, PartialEq)]
pub enum Approval {
    Done(Asked),
    Expired(Asked),
    Unknown,
}

/// Which requests or people; `None`: all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    pub channel: Option<&'a str>,
    pub account: Option<&'a str>,
}

impl Beside {
    /// `Ok(None)`: there is no store yet.
    pub fn open(path: &Path) -> Result<Option<Beside>> {
        if !path.exists() {
            return Ok(None);
        }
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(PATIENCE)?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        let found: usize = db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))?.try_into().unwrap_or(0);
        match found {
            n if n > schema::newest() => Err(Error::Newer(n)),
            n if n < schema::newest() => Err(Error::Other(
                "written by an older version: start the gateway once, which brings it up to date".into(),
            )),
            _ => Ok(Some(Beside { db })),
        }
    }

    /// Open requests that are still good, oldest first.
    pub fn asked(&self, which: Which<'_>, now: Wall) -> Result<Vec<Asked>> {
        let mut q = self.db.prepare(
            "SELECT channel, account, code, sender, name, at FROM pairing
             WHERE (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR account = ?2) AND at > ?3 ORDER BY at LIMIT 1000",
        )?;
        let rows = q.query_map((which.channel, which.account, now - PAIRING_LIFE), asked)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Approved people, by channel and account.
    pub fn allowed(&self, which: Which<'_>) -> Result<Vec<Allowed>> {
        let mut q = self.db.prepare(
            "SELECT channel, account, sender, name, at FROM approved
             WHERE (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR account = ?2)
             ORDER BY channel, account, at LIMIT 10000",
        )?;
        let rows = q.query_map((which.channel, which.account), |r| {
            Ok(Allowed { channel: r.get(0)?, account: r.get(1)?, sender: r.get(2)?, name: r.get(3)?, at: r.get(4)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Lets the person in who was given that code, once. They have not heard of it then.
    pub fn approve(&mut self, which: Which<'_>, code: &str, now: Wall) -> Result<Approval> {
        let tx = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let found = tx
            .query_row(
                "SELECT channel, account, code, sender, name, at FROM pairing
                 WHERE code = ?3 AND (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR account = ?2)
                 ORDER BY at DESC LIMIT 1",
                (which.channel, which.account, code),
                asked,
            )
            .optional()?;
        let Some(a) = found else { return Ok(Approval::Unknown) };
        if now - a.at >= PAIRING_LIFE {
            return Ok(Approval::Expired(a));
        }
        tx.execute(
            "INSERT OR REPLACE INTO approved(channel, account, sender, name, chat, at, told)
             SELECT channel, account, sender, name, chat, ?4, 0 FROM pairing
             WHERE channel = ?1 AND account = ?2 AND sender = ?3",
            (&a.channel, &a.account, &a.sender, now),
        )?;
        forget(&tx, &a)?;
        tx.commit()?;
        Ok(Approval::Done(a))
    }

    /// Takes a request away; `None`: there is none with that code.
    pub fn deny(&mut self, which: Which<'_>, code: &str) -> Result<Option<Asked>> {
        let sql =
            "DELETE FROM pairing WHERE code = ?3 AND (?1 IS NULL OR channel = ?1) AND (?2 IS NULL OR account = ?2)
                   RETURNING channel, account, code, sender, name, at";
        Ok(self.db.query_row(sql, (which.channel, which.account, code), asked).optional()?)
    }

    /// Lets somebody in who has not asked. They may never have written: nothing is sent to them. `false`: they were in.
    pub fn allow(&mut self, channel: &str, account: &str, sender: &str, now: Wall) -> Result<bool> {
        let sql = "INSERT OR IGNORE INTO approved(channel, account, sender, at, told) VALUES(?, ?, ?, ?, 1)";
        Ok(self.db.execute(sql, (channel, account, sender, now))? > 0)
    }

    /// Shuts somebody out again. Gives the accounts they could write to.
    pub fn revoke(&mut self, channel: &str, account: Option<&str>, sender: &str) -> Result<Vec<String>> {
        let mut q = self.db.prepare(
            "DELETE FROM approved WHERE channel = ?1 AND (?2 IS NULL OR account = ?2) AND sender = ?3 RETURNING account",
        )?;
        let rows = q.query_map((channel, account, sender), |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

impl Beside {
    /// The conversations, those with the latest activity first.
    pub fn conversations(&self, limit: usize) -> Result<Vec<SessionRow>> {
        let mut q = self.db.prepare(&format!("SELECT {SESSION} FROM session ORDER BY last_at DESC LIMIT ?"))?;
        let all = q.query_map([limit as i64], session)?.collect::<rusqlite::Result<_>>()?;
        Ok(all)
    }

    pub fn conversation(&self, key: &str) -> Result<Option<SessionRow>> {
        let sql = format!("SELECT {SESSION} FROM session WHERE key = ?");
        Ok(self.db.query_row(&sql, [key], session).optional()?)
    }

    /// Where the people of a conversation wrote last; `None`: there is no such conversation, or nobody wrote in it.
    pub fn place(&self, key: &str) -> Result<Option<Source>> {
        Ok(self.conversation(key)?.and_then(|s| s.last))
    }

    /// Key and place of the conversation, of this agent or any, that somebody wrote in last; jobs are nobody.
    pub fn last_place(&self, agent: Option<&str>) -> Result<Option<(String, Source)>> {
        let sql = format!(
            "SELECT {SESSION} FROM session WHERE (?1 IS NULL OR agent = ?1) AND key LIKE 'agent:%'
             ORDER BY last_at DESC LIMIT 100"
        );
        let mut q = self.db.prepare(&sql)?;
        let all = q.query_map([agent], session)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(all.into_iter().find_map(|s| s.last.map(|last| (s.key, last))))
    }
}

fn forget(db: &Connection, a: &Asked) -> Result<()> {
    let sql = "DELETE FROM pairing WHERE channel = ? AND account = ? AND sender = ?";
    db.execute(sql, (&a.channel, &a.account, &a.sender))?;
    Ok(())
}

fn asked(r: &rusqlite::Row<'_>) -> rusqlite::Result<Asked> {
    Ok(Asked {
        channel: r.get(0)?,
        account: r.get(1)?,
        code: r.get(2)?,
        sender: r.get(3)?,
        name: r.get(4)?,
        at: r.get(5)?,
    })
}
