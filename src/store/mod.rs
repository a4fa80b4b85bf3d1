//! The store: SQLite in one file, written by `core` alone, read by everybody (core.md 22).
//!
//! `Store` is core's connection: cheap commits that survive a kill. The sync thread ([`sync`]) makes them
//! survive a power cut. Typed rows and queries are in [`rows`].

mod actions;
mod ballast;
mod beside;
mod chats;
mod cron;
mod cron_original;
mod early;
mod error;
mod events;
mod ids;
mod letters;
mod memory;
mod messages;
pub mod original;
mod outgoing;
mod people;
mod posts;
mod reader;
pub mod rows;
mod salvage;
mod schema;
mod sessions;
pub mod sync;
mod traces;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::message::Row;
use ids::{Ids, Table};

pub use actions::{Action, ASK, MENU, USED};
pub use ballast::{Ballast, ENOUGH_FREE};
pub use beside::{Allowed, Approval, Asked, Beside, Which};
pub use chats::Alias;
pub use cron::{JobRow, KEEP_RUNS, RUNNING};
pub use error::{Error, Result};
pub use ids::{external_id, random_id, row_of};
pub use letters::Letter;
pub use memory::share as share_memory;
pub use people::{Approved, NewPairing, Pairing, PAIRING_LIFE};
pub use posts::{Known, Part};
pub use reader::{HistoryLine, Owed, Reader, MANY};
pub use rows::*;
pub use salvage::{finish as finish_salvage, salvage};
pub use traces::Trace;

/// Counters jump by this much after an unclean end (core.md 22.6).
const JUMP: i64 = 10_000;

/// Core's connection, the only writer of a running gateway.
pub struct Store {
    db: Connection,
    path: PathBuf,
    /// 8 random characters `a-z2-7`, made once.
    pub id: String,
    /// The last run ended without closing the store.
    pub unclean: bool,
    /// It came out of a damaged one, which still lies beside it: what the operator has to know.
    pub salvaged: Option<String>,
    ids: Ids,
    batch: Cell<Batch>,
}

/// How far the transaction at hand has come. Nothing is locked before the first statement: most events of a
/// turn need none.
#[derive(Clone, Copy, Default)]
struct Batch {
    wanted: bool,
    begun: bool,
    event_wanted: bool,
    event_begun: bool,
}

impl Store {
    /// Opens or creates the store and takes the clean mark away.
    pub fn open(path: &Path) -> Result<Store> {
        Store::open_as(path, random_id)
    }

    /// The same with another source of random characters (the simulator's).
    pub fn open_as(path: &Path, mut random: impl FnMut(usize) -> String) -> Result<Store> {
        let new = !path.exists();
        let mut db =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if new {
            private(path)?;
            // A message touches some 14 pages in two commits, and each goes to the log whole.
            db.pragma_update(None, "page_size", 1024)?;
            db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        // SQLite syncs the header of a new log before the first commit, because frames of an older one might
        // lie behind it. Nothing lies in an empty file: there the sync thread's first sync is soon enough.
        let empty_log = sync::wal_path(path).metadata().map_or(true, |m| m.len() == 0);
        db.pragma_update(None, "synchronous", if empty_log { "OFF" } else { "NORMAL" })?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        db.pragma_update(None, "journal_size_limit", sync::PASSIVE_AT as i64)?; // keeps its length telling
        db.pragma_update(None, "cache_size", -512)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "foreign_keys", "ON")?;
        db.busy_timeout(std::time::Duration::from_millis(250))?;
        db.set_prepared_statement_cache_capacity(64);
        let found: usize = db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))?.try_into().unwrap_or(0);
        if found > schema::newest() {
            return Err(Error::Newer(found));
        }
        if found > 0 && found < schema::newest() {
            db.execute("VACUUM INTO ?", [format!("{}.v{found}", path.display())])?;
        }
        schema::migrate(&mut db)?;
        let mut store = Store {
            db,
            path: path.to_owned(),
            id: String::new(),
            unclean: false,
            salvaged: None,
            ids: Ids::default(),
            batch: Cell::default(),
        };
        store.begin()?;
        store.id = match store.meta_text("store_id")? {
            Some(id) => id,
            None => {
                let id = random(8);
                store.set_meta("store_id", &id)?;
                store.set_meta("clean", "1")?;
                id
            }
        };
        store.unclean = store.meta_text("clean")?.as_deref() != Some("1");
        let jump = if store.unclean { JUMP } else { 0 };
        for (table, name) in Table::ALL {
            let floor = format!("last_{name}");
            let sql = format!("SELECT ifnull(max(id), 0) FROM {name}");
            let newest: Row = store.db()?.query_row(&sql, [], |r| r.get(0))?;
            let last = newest.max(store.meta_int(&floor)?) + jump;
            store.ids.0[table as usize].set(last);
            if jump > 0 {
                store.set_meta_int(&floor, last)?;
            }
        }
        if store.unclean {
            store.set_meta_int("counter", store.meta_int("counter")? + JUMP)?;
        }
        store.set_meta("clean", "0")?;
        store.salvaged = salvage::remembered(&store)?;
        store.commit()?;
        store.db.pragma_update(None, "synchronous", "NORMAL")?;
        if found == 0 {
            // A log beside an empty file would be thrown away. SQLite syncs the file itself: a descriptor of ours
            // that is closed would take the locks of every connection along.
            store.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(store)
    }

    /// Marks a clean end. The sync thread has to sync it.
    pub fn close(self) -> Result<()> {
        self.begin()?;
        for (table, name) in Table::ALL {
            self.set_meta_int(&format!("last_{name}"), self.ids.0[table as usize].get())?;
        }
        self.set_meta("clean", "1")?;
        self.commit()?;
        self.db.close().map_err(|(_, e)| e.into())
    }

    /// A statement of every batch or event, prepared once.
    fn short(&self, sql: &str) -> Result<()> {
        self.db.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// The connection, inside the batch's transaction if there is a batch.
    pub(super) fn db(&self) -> Result<&Connection> {
        let mut b = self.batch.get();
        if b.wanted && !b.begun {
            loop {
                match self.short("BEGIN IMMEDIATE") {
                    Err(Error::Busy) => log::debug!("the store is locked by another process; waiting"),
                    other => break other?,
                }
            }
            b.begun = true;
        }
        if b.event_wanted && !b.event_begun {
            self.short("SAVEPOINT e")?;
            b.event_begun = true;
        }
        self.batch.set(b);
        Ok(&self.db)
    }

    /// One batch begins; the write lock is taken by its first statement.
    pub fn begin(&self) -> Result<()> {
        self.batch.set(Batch { wanted: true, ..Batch::default() });
        Ok(())
    }
    pub fn commit(&self) -> Result<()> {
        match self.batch.take().begun {
            true => self.short("COMMIT"),
            false => Ok(()),
        }
    }
    /// Gives the batch up; harmless outside one.
    pub fn rollback(&self) {
        self.batch.take();
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK"); // a full disk may have rolled it back already
        }
    }
    /// One event of the batch begins.
    pub fn savepoint(&self) -> Result<()> {
        self.batch.set(Batch { event_wanted: true, event_begun: false, ..self.batch.get() });
        Ok(())
    }
    pub fn release(&self) -> Result<()> {
        self.event_ends("RELEASE e")
    }
    pub fn rollback_event(&self) -> Result<()> {
        self.event_ends("ROLLBACK TO e; RELEASE e")
    }

    fn event_ends(&self, sql: &str) -> Result<()> {
        let b = self.batch.get();
        self.batch.set(Batch { event_wanted: false, event_begun: false, ..b });
        match b.event_begun {
            true if sql.contains(';') => Ok(self.db.execute_batch(sql)?),
            true => self.short(sql),
            false => Ok(()),
        }
    }

    /// Has anything been written in this batch?
    pub fn changes(&self) -> u64 {
        self.db.total_changes()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next value of the counter of process marks and file names; never repeats.
    pub fn next_counter(&self) -> Result<u64> {
        let n = self.meta_int("counter")? + 1;
        self.set_meta_int("counter", n)?;
        Ok(n as u64)
    }

    /// External id of a row: store id, letter of the table, row id in base32.
    pub fn ext(&self, table: char, row: i64) -> String {
        external_id(&self.id, table, row)
    }

    fn meta_text(&self, k: &str) -> Result<Option<String>> {
        use rusqlite::OptionalExtension;
        Ok(self.db()?.prepare_cached("SELECT v FROM meta WHERE k = ?")?.query_row([k], |r| r.get(0)).optional()?)
    }
    fn set_meta(&self, k: &str, v: &str) -> Result<()> {
        self.db()?.prepare_cached("INSERT OR REPLACE INTO meta VALUES(?, ?)")?.execute((k, v))?;
        Ok(())
    }
    fn meta_int(&self, k: &str) -> Result<i64> {
        Ok(self.meta_text(k)?.and_then(|v| v.parse().ok()).unwrap_or(0))
    }
    fn set_meta_int(&self, k: &str, v: i64) -> Result<()> {
        self.set_meta(k, &v.to_string())
    }
}

/// Damage was met in mid-life: the next start looks at every page before it trusts this file.
pub fn suspect(path: &Path) {
    let _ = fs::write(suspicion(path), ""); // the next start may meet it by itself
}

/// Was damage met in an earlier life? Asked once.
pub fn take_suspicion(path: &Path) -> bool {
    fs::remove_file(suspicion(path)).is_ok()
}

fn suspicion(path: &Path) -> PathBuf {
    path.with_extension("db.damaged")
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| Error::ReadOnly(e.to_string()))
}
