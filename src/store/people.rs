//! People who may write: approved senders, and those who asked to be (core.md 2.2).

use rusqlite::OptionalExtension;

use super::{Result, Store};
use crate::message::Wall;

/// A request to be approved is good for that long, milliseconds.
pub const PAIRING_LIFE: i64 = 3_600_000;

impl Store {
    pub fn is_approved(&self, channel: &str, account: &str, sender: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM approved WHERE channel = ? AND account = ? AND sender = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([channel, account, sender], |_| Ok(())).optional()?.is_some())
    }

    /// People who were approved and have not heard of it.
    pub fn untold(&self) -> Result<Vec<Approved>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT channel, account, sender, chat FROM approved INDEXED BY approved_untold WHERE told = 0 LIMIT 100",
        )?;
        let rows = q.query_map([], |r| {
            Ok(Approved { channel: r.get(0)?, account: r.get(1)?, sender: r.get(2)?, chat: r.get(3)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn set_told(&self, p: &Approved) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE approved SET told = 1 WHERE channel = ? AND account = ? AND sender = ?")?
            .execute([&p.channel, &p.account, &p.sender])?;
        Ok(())
    }

    /// Open requests of an account, oldest first.
    pub fn pairings(&self, channel: &str, account: &str) -> Result<Vec<Pairing>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT sender, code, at, told FROM pairing WHERE channel = ? AND account = ? ORDER BY at LIMIT 100",
        )?;
        let rows = q.query_map([channel, account], |r| {
            Ok(Pairing { sender: r.get(0)?, code: r.get(1)?, at: r.get(2)?, told: r.get(3)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub fn set_pairing(&self, at: &NewPairing) -> Result<()> {
        self.db()?
            .prepare_cached("INSERT OR REPLACE INTO pairing VALUES(?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute((at.channel, at.account, at.sender, at.code, at.name, at.chat, at.at, at.told))?;
        Ok(())
    }

    pub fn forget_pairing(&self, channel: &str, account: &str, sender: &str) -> Result<()> {
        self.db()?
            .prepare_cached("DELETE FROM pairing WHERE channel = ? AND account = ? AND sender = ?")?
            .execute([channel, account, sender])?;
        Ok(())
    }
}

/// Somebody who may write since the operator said so.
#[derive(Clone, Debug, PartialEq)]
pub struct Approved {
    pub channel: String,
    pub account: String,
    pub sender: String,
    pub chat: Option<String>,
}

/// An open request.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    pub sender: String,
    pub code: String,
    pub at: Wall,
    /// When its sender was last told the code.
    pub told: Wall,
}

/// A request to be stored, in place of an older one of the same sender.
#[derive(Clone, Debug)]
pub struct NewPairing<'a> {
    pub channel: &'a str,
    pub account: &'a str,
    pub sender: &'a str,
    pub code: &'a str,
    pub name: Option<&'a str>,
    pub chat: &'a str,
    pub at: Wall,
    pub told: Wall,
}
