//! The store: SQLite in one file, written by `core` alone, read by everybody (core.md 22).
//!
//! `Store` is core's connection: cheap commits that survive a kill. The sync thread ([`sync`]) makes them
//! survive a power cut. Typed rows and queries are in [`rows`].

mod actions;
mod beside;
mod chats;
mod cron;
mod cron_original;
mod early;
mod events;
mod letters;
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

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::message::Row;

pub use actions::{Action, ASK, MENU, USED};
pub use beside::{Allowed, Approval, Asked, Beside, Which};
pub use chats::Alias;
pub use cron::{JobRow, KEEP_RUNS, RUNNING};
pub use letters::Letter;
pub use people::{Approved, NewPairing, Pairing, PAIRING_LIFE};
pub use posts::{Known, Part};
pub use reader::{HistoryLine, Owed, Reader, MANY};
pub use rows::*;
pub use salvage::{finish as finish_salvage, salvage};
pub use traces::Trace;

pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with the store.
#[derive(Debug)]
pub enum Error {
    /// The disk is full: nothing was written.
    Full,
    /// Another connection holds the write lock: try again.
    Busy,
    /// The file system is read-only or the directory is not ours.
    ReadOnly(String),
    /// The file is not a healthy database.
    Corrupt(String),
    /// The store was written by a newer version of this program.
    Newer(usize),
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Full => f.write_str("the disk is full"),
            Error::Busy => f.write_str("the store is locked by another process"),
            Error::ReadOnly(why) => write!(f, "the store cannot be written: {why}"),
            Error::Corrupt(why) => write!(f, "the store is damaged: {why}"),
            Error::Newer(v) => {
                write!(f, "the store has schema version {v}, newer than this program knows ({})", schema::newest())
            }
            Error::Other(why) => write!(f, "store: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        let text = e.to_string();
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::ReadOnly(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(text),
            // No space for the shared-memory file or a short write shows as an I/O error.
            Some(ErrorCode::SystemIoFailure) => Error::Full,
            _ => Error::Other(text),
        }
    }
}

/// Size of the file that is given up on a full disk, bytes.
const BALLAST: u64 = 1 << 20;
/// Free space at which the ballast comes back, bytes.
pub const ENOUGH_FREE: u64 = 8 << 20;
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

/// Tables with row ids of their own.
#[derive(Clone, Copy)]
enum Table {
    Inbox,
    Turn,
    Segment,
    Outbox,
}

impl Table {
    const ALL: [(Table, &'static str); 4] =
        [(Table::Inbox, "inbox"), (Table::Turn, "turn"), (Table::Segment, "segment"), (Table::Outbox, "outbox")];
}

/// The next row id of each table. They only rise: an id that went out and whose row a power cut or a rolled back
/// batch took away must never come again (core.md 22.6). A counter in memory costs no page of the store.
#[derive(Default)]
struct Ids([Cell<Row>; 4]);

impl Ids {
    fn next(&self, table: Table) -> Row {
        let cell = &self.0[table as usize];
        let id = cell.get() + 1;
        cell.set(id);
        id
    }
    fn peek(&self, table: Table) -> Row {
        self.0[table as usize].get() + 1
    }
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
    fn db(&self) -> Result<&Connection> {
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

/// Store id + letter + row id in base32 without padding, at most 22 characters.
pub fn external_id(store: &str, table: char, row: i64) -> String {
    let mut digits = [0u8; 13];
    let mut n = row.max(0) as u64;
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = ALPHABET[(n & 31) as usize];
        n >>= 5;
        if n == 0 {
            break;
        }
    }
    let mut id = String::with_capacity(22);
    id.push_str(store);
    id.push(table);
    id.extend(digits[at..].iter().map(|b| *b as char));
    id
}

/// The row id in an external id of this store and table.
pub fn row_of(store: &str, table: char, ext: &str) -> Option<i64> {
    let digits = ext.strip_prefix(store)?.strip_prefix(table)?;
    if digits.is_empty() || digits.len() > 13 {
        return None;
    }
    digits.bytes().try_fold(0i64, |n, b| {
        let d = ALPHABET.iter().position(|a| *a == b)? as i64;
        n.checked_mul(32)?.checked_add(d)
    })
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Random characters `a-z2-7` from the operating system.
pub fn random_id(len: usize) -> String {
    use ring::rand::SecureRandom;
    let mut bytes = vec![0u8; len];
    // The system generator only fails before the machine has booted; ids then still differ by time.
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        let t = std::time::UNIX_EPOCH.elapsed().map(|d| d.as_nanos()).unwrap_or(0);
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = (t >> (i * 5 % 100)) as u8;
        }
    }
    bytes.iter().map(|b| ALPHABET[(b & 31) as usize] as char).collect()
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

/// The file beside the store that is given up when the disk is full.
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub fn beside(store: &Path) -> Ballast {
        Ballast { path: store.with_file_name("ballast") }
    }
    /// Makes it if it is missing and there is room for it.
    pub fn restore(&self) -> bool {
        if self.path.metadata().is_ok_and(|m| m.len() >= BALLAST) {
            return true;
        }
        if self.free() < ENOUGH_FREE {
            return false;
        }
        let made = fs::write(&self.path, vec![0x5a; BALLAST as usize]).is_ok();
        if !made {
            let _ = fs::remove_file(&self.path);
        }
        made
    }
    /// Is there room to go on? On a small file system the ballast never comes back, but what it would take and as
    /// much again is enough.
    pub fn room(&self) -> bool {
        self.restore() || self.free() >= 2 * BALLAST
    }
    /// Frees its space; true if there was something to free.
    pub fn drop_it(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
    /// Free bytes on its file system.
    pub fn free(&self) -> u64 {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        rustix::fs::statvfs(dir).map_or(u64::MAX, |s| s.f_bavail * s.f_frsize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_ids_are_short_and_unique_over_tables() {
        assert_eq!(external_id("abcdefgh", 't', 0), "abcdefghta");
        assert_eq!(external_id("abcdefgh", 't', 33), "abcdefghtbb");
        assert!(external_id("abcdefgh", 'o', i64::MAX).len() <= 22);
        for n in [0, 1, 31, 32, 12345, i64::MAX] {
            assert_eq!(row_of("abcdefgh", 'i', &external_id("abcdefgh", 'i', n)), Some(n));
        }
        assert_eq!(row_of("abcdefgh", 'i', "abcdefghtb"), None);
    }

    #[test]
    fn c40_given_an_unclean_end_when_opened_again_then_no_id_comes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.db");
        let first = Store::open(&path).unwrap();
        assert!(!first.unclean);
        first.begin().unwrap();
        let a = first.next_counter().unwrap();
        first.commit().unwrap();
        drop(first); // without close()
        let second = Store::open(&path).unwrap();
        assert!(second.unclean);
        let b = second.next_counter().unwrap();
        assert!(b > a + 9_000, "{a} {b}");
        second.close().unwrap();
        assert!(!Store::open(&path).unwrap().unclean);
    }
}
