//! Saving what a damaged store still gives (core.md 22.8, "corrupt at open").
//!
//! Rows are read through SQLite, never from raw pages: a page that SQLite no longer counts as the table's may hold
//! a row's past, and a message that waits in the past would be answered a second time. Whatever cannot be read is
//! left out, everything else goes into a new store whose ids begin above all that were seen. The damaged file is
//! only renamed, and not before the new store is complete and on the disk: a kill at any moment loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{row_of, schema, suspect, sync, Error, Result, Store, Table, JUMP};
use crate::message::{Row, Wall};

/// Damaged places that are looked around per table. Each costs some seeks; a table whose upper pages are gone
/// would otherwise be tried id by id.
const PLACES: u32 = 5_000;
/// No table has come that far: a higher id is what the damage made of one.
const HIGHEST: Row = 1 << 53;
/// Ids go on that far above the newest one seen if newer ones may have been lost.
const FAR: i64 = 100 * JUMP;
/// Tables with a text key: read from both ends, then key by key.
const KEYED: [(&str, &str); 4] = [("session", "key"), ("cursor", "channel"), ("cron_job", "id"), ("meta", "k")];
const META: [&str; 3] = ["store_id", "counter", "clean"];

/// Puts a damaged store aside and a new one with everything that can be read in its place. What to tell the
/// operator. `time` goes into the names of the files.
pub fn salvage(path: &Path, why: &str, time: Wall) -> Result<String> {
    let part = path.with_extension("db.part");
    for leftover in [part.clone(), side(&part, "-wal"), side(&part, "-shm")] {
        let _ = fs::remove_file(leftover); // of a salvage that was interrupted
    }
    let aside = aside(path, &time.to_string());
    let said = match build(path, &part, &aside, why) {
        Ok(said) => said,
        Err(e) => {
            let _ = fs::remove_file(&part);
            suspect(path); // nothing has been renamed: the next start tries again
            return Err(e);
        }
    };
    rename(&part, &done(path, &time.to_string()))?;
    finish(path)?;
    Ok(said)
}

/// Completes the renames of a salvage. Called at every start: it may have been killed between two of them.
pub fn finish(path: &Path) -> Result<()> {
    let prefix = done(path, "").file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(dir) = path.parent() else { return Ok(()) };
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let Some(time) = names.filter_map(|n| n.strip_prefix(&prefix).map(str::to_owned)).max() else { return Ok(()) };
    let aside = aside(path, &time);
    // The log first: beside the new store it would be taken for that one's.
    for suffix in ["-wal", "-shm", ""] {
        let from = side(path, suffix);
        if from.exists() {
            rename(&from, &side(&aside, suffix))?;
        }
    }
    rename(&done(path, &time), path)?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::Other(e.to_string()))
}

/// What was told about the salvage this store came from, as long as the damaged file is still there.
pub(super) fn remembered(store: &Store) -> Result<Option<String>> {
    let there = store.meta_text("salvaged_from")?.is_some_and(|aside| Path::new(&aside).exists());
    if there {
        store.meta_text("salvaged")
    } else {
        Ok(None)
    }
}

fn side(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}
fn aside(path: &Path, time: &str) -> PathBuf {
    path.with_extension(format!("db.corrupt-{time}"))
}
fn done(path: &Path, time: &str) -> PathBuf {
    path.with_extension(format!("db.salvaged-{time}"))
}
fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .map_err(|e| Error::Other(format!("{} cannot be renamed {}: {e}", from.display(), to.display())))
}

/// Writes the new store to `part`: whole, closed and synced.
fn build(path: &Path, part: &Path, aside: &Path, why: &str) -> Result<String> {
    let new = Store::open(part)?;
    let mut copy = Copy { new, found: BTreeMap::new(), seen: Seen::default() };
    // A destroyed header fails here or with the first query; then there is nothing to save.
    let old = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|db| {
        db.busy_timeout(std::time::Duration::from_secs(2))?;
        db.pragma_update(None, "cell_size_check", "ON")?; // rather no row than a wrong one
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(db)
    });
    copy.new.db.execute_batch("BEGIN")?;
    match &old {
        Ok(old) => {
            let version: i64 = old.pragma_query_value(None, "user_version", |r| r.get(0)).unwrap_or(0);
            if version > schema::newest() as i64 {
                return Err(Error::Newer(version as usize));
            }
            copy.all(old)?;
        }
        Err(e) => log::warn!("{}: {e}", path.display()),
    }
    copy.mend()?;
    let said = copy.report(path, aside, why, old.is_ok());
    copy.number_on()?;
    copy.new.set_meta("salvaged", &said)?;
    copy.new.set_meta("salvaged_from", &aside.display().to_string())?;
    copy.new.db.execute_batch("COMMIT")?;
    copy.new.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    copy.new.db.close().map_err(|(_, e)| e)?;
    let _ = fs::remove_file(sync::wal_path(part)); // empty now
    File::open(part).and_then(|f| f.sync_all()).map_err(|e| Error::Other(e.to_string()))?;
    Ok(said)
}

/// How a table fared.
#[derive(Default, Clone, Copy)]
struct Fate {
    saved: u64,
    /// Rows that were there and not whole.
    broken: u64,
    /// Places that could not be read.
    gaps: u32,
    /// The end of the table is among them.
    no_end: bool,
}

/// What other rows tell about those that are lost.
#[derive(Default)]
struct Seen {
    newest: [Row; 4],
    counter: i64,
    store: Option<String>,
    /// The store's id was read where it stands.
    own_id: bool,
    sessions: BTreeSet<String>,
}

struct Copy {
    new: Store,
    found: BTreeMap<&'static str, Fate>,
    seen: Seen,
}

struct Column {
    name: String,
    integer: bool,
    text: bool,
    required: bool,
}

impl Copy {
    fn all(&mut self, old: &Connection) -> Result<()> {
        for (_, name) in Table::ALL {
            self.numbered(old, name)?;
        }
        for (name, key) in KEYED {
            self.keyed(old, name, key)?;
        }
        Ok(())
    }

    /// The columns that both stores have; an older schema has fewer.
    fn columns(&self, old: &Connection, table: &str) -> Result<Vec<Column>> {
        let sql = format!("SELECT name, type, \"notnull\" FROM pragma_table_info('{table}')");
        let theirs: Vec<String> =
            match old.prepare(&sql).and_then(|mut q| q.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()) {
                Ok(names) => names,
                Err(_) => return Ok(Vec::new()),
            };
        let mut q = self.new.db.prepare(&sql)?;
        let ours = q.query_map([], |r| {
            let (name, kind): (String, String) = (r.get(0)?, r.get(1)?);
            Ok(Column { name, integer: kind == "INTEGER", text: kind == "TEXT", required: r.get(2)? })
        })?;
        Ok(ours.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().filter(|c| theirs.contains(&c.name)).collect())
    }

    /// A table with row ids: from both ends towards the damage, then around it by halves.
    fn numbered(&mut self, old: &Connection, name: &'static str) -> Result<()> {
        let columns = self.columns(old, name)?;
        let mut fate = Fate::default();
        let mut open = vec![(1, HIGHEST)];
        if columns.is_empty() {
            open.clear();
            (fate.gaps, fate.no_end) = (1, true);
        }
        let list = names(&columns);
        while let Some((low, high)) = open.pop() {
            let (mut after, mut before) = (low - 1, high);
            let up = format!("SELECT {list} FROM {name} WHERE id BETWEEN ? AND ? ORDER BY id");
            let whole = read(old, &up, [low, high], |row| {
                after = id_of(&row)?;
                self.put(name, &columns, row, &mut fate)
            })?;
            if whole {
                continue;
            }
            let down = format!("{up} DESC");
            let mut any = false;
            read(old, &down, [after + 1, high], |row| {
                (before, any) = (id_of(&row)? - 1, true);
                self.put(name, &columns, row, &mut fate)
            })?;
            fate.no_end |= high == HIGHEST && !any;
            let (low, high) = (after + 1, before);
            fate.gaps += 1;
            if low >= high || fate.gaps > PLACES {
                continue;
            }
            let middle = low + (high - low) / 2;
            open.push((middle + 1, high)); // the lower half first: ids are dense below and sparse above
            open.push((low, middle));
        }
        self.found.insert(name, fate);
        Ok(())
    }

    /// A table with text keys.
    fn keyed(&mut self, old: &Connection, name: &'static str, key: &str) -> Result<()> {
        let columns = self.columns(old, name)?;
        let mut fate = Fate { gaps: columns.is_empty().into(), ..Fate::default() };
        if !columns.is_empty() {
            let list = names(&columns);
            for order in ["", "DESC"] {
                let sql = format!("SELECT {list} FROM {name} ORDER BY {key} {order}");
                if read(old, &sql, [], |row| self.put(name, &columns, row, &mut fate))? {
                    break;
                }
                fate.gaps += 1;
            }
            if fate.gaps > 0 {
                let keys: Vec<String> = match name {
                    "session" => self.seen.sessions.iter().cloned().collect(),
                    "meta" => META.map(String::from).to_vec(),
                    _ => Vec::new(),
                };
                let sql = format!("SELECT {list} FROM {name} WHERE {key} = ?");
                for k in keys {
                    read(old, &sql, [&k], |row| self.put(name, &columns, row, &mut fate))?;
                }
            }
        }
        self.found.insert(name, fate);
        Ok(())
    }

    /// One row into the new store, if its values are what the columns hold.
    fn put(&mut self, table: &'static str, columns: &[Column], row: Vec<Value>, fate: &mut Fate) -> Result<()> {
        let fits = |(c, v): (&Column, &Value)| match v {
            Value::Null => !c.required,
            Value::Integer(_) => !c.text,
            Value::Text(_) => !c.integer,
            _ => false,
        };
        let sound = |(c, v): (&Column, &Value)| match (c.name.as_str(), v) {
            ("source" | "media" | "target" | "last", Value::Text(t)) => {
                t.is_empty() || serde_json::from_str::<serde_json::Value>(t).is_ok()
            }
            ("state", Value::Text(t)) => !t.is_empty() && t.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            _ => true,
        };
        self.learn(table, columns, &row);
        if !columns.iter().zip(&row).all(|pair| fits(pair) && sound(pair)) {
            fate.broken += 1;
            return Ok(());
        }
        // The new store has its own marks already; those of the old one go first, except what is no longer so.
        let verb = if table == "meta" { "REPLACE" } else { "IGNORE" };
        let marks = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT OR {verb} INTO {table}({}) VALUES({marks})", names(columns));
        fate.saved += self.new.db.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(row))? as u64;
        Ok(())
    }

    /// Ids, sessions and file names that a row speaks of.
    fn learn(&mut self, table: &str, columns: &[Column], row: &[Value]) {
        for (c, v) in columns.iter().zip(row) {
            let of = |t: Table, id: Row, seen: &mut Seen| {
                let newest = &mut seen.newest[t as usize];
                *newest = if id <= HIGHEST { (*newest).max(id) } else { *newest };
            };
            match (table, c.name.as_str(), v) {
                ("inbox", "id", Value::Integer(n)) | ("segment", "inbox", Value::Integer(n)) => {
                    of(Table::Inbox, *n, &mut self.seen);
                }
                ("turn", "id", Value::Integer(n)) | ("inbox" | "segment", "turn", Value::Integer(n)) => {
                    of(Table::Turn, *n, &mut self.seen);
                }
                ("segment", "id", Value::Integer(n)) | ("outbox", "segment", Value::Integer(n)) => {
                    of(Table::Segment, *n, &mut self.seen);
                }
                ("outbox", "id", Value::Integer(n)) => of(Table::Outbox, *n, &mut self.seen),
                ("turn", "proc", Value::Integer(n)) if *n <= HIGHEST => self.seen.counter = self.seen.counter.max(*n),
                ("inbox" | "turn", "session", Value::Text(key)) => {
                    self.seen.sessions.insert(key.clone());
                }
                ("meta", "k", Value::Text(k)) => self.seen.own_id |= k == "store_id",
                ("turn" | "session", "file", Value::Text(file)) => self.learn_file(file),
                _ => {}
            }
        }
    }

    /// The gateway names pi's files: store id, `f`, counter.
    fn learn_file(&mut self, file: &str) {
        let Some(stem) = Path::new(file).file_stem().and_then(|s| s.to_str()) else { return };
        let Some(id) = stem.get(..8) else { return };
        let Some(n) = row_of(id, 'f', stem) else { return };
        self.seen.counter = self.seen.counter.max(n.min(HIGHEST));
        self.seen.store = Some(id.to_owned());
    }

    /// Rows that speak of lost ones.
    fn mend(&mut self) -> Result<()> {
        for (table, name) in Table::ALL {
            self.seen.newest[table as usize] += if self.fate(name).no_end { FAR } else { 0 };
        }
        // Their turn is gone: they wait again, and pi's file tells whether it has seen them (core.md 22.4).
        self.new.db.execute_batch(
            "UPDATE inbox SET state = iif(kind = 'event', 'pending', 'queued'), turn = NULL, inj = NULL WHERE state = 'in_turn'
                 AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.id = inbox.turn AND turn.state = 'prompting');",
        )?;
        // A turn whose messages are gone still owes its answer to whoever wrote last: the prompt stands for them.
        let base = self.seen.newest[Table::Inbox as usize];
        let orphans = self.new.db.execute(
            "INSERT INTO inbox(id, kind, session, agent, state, prio, at, clock_ok, source, text, media, turn)
             SELECT ?1 + row_number() OVER (ORDER BY turn.id), 'message', turn.session, session.agent, 'in_turn', 0,
                 turn.at, 1, session.last, turn.prompt, turn.media, turn.id
             FROM turn JOIN session ON session.key = turn.session
             WHERE turn.state = 'prompting' AND NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.turn = turn.id)",
            [base],
        )?;
        self.seen.newest[Table::Inbox as usize] += orphans as i64;
        // What a failure to read looks like from outside is an unclean end.
        self.new.set_meta("clean", "0")
    }

    /// Everything that will be numbered gets higher numbers than before.
    fn number_on(&self) -> Result<()> {
        for (table, name) in Table::ALL {
            let floor = format!("last_{name}");
            let last = self.new.meta_int(&floor)?.max(self.seen.newest[table as usize]);
            self.new.set_meta_int(&floor, last)?;
        }
        let whole = self.found.get("meta").is_some_and(|f| f.gaps == 0);
        let far = if whole { 0 } else { FAR };
        self.new.set_meta_int("counter", self.new.meta_int("counter")?.max(self.seen.counter) + far)?;
        // pi's files name turns by the store's id: with another one they would not be found.
        match &self.seen.store {
            Some(id) if !self.seen.own_id => self.new.set_meta("store_id", id),
            _ => Ok(()),
        }
    }

    fn report(&self, path: &Path, aside: &Path, why: &str, readable: bool) -> String {
        let head = format!("{} was damaged ({why}) and is put aside as {}", path.display(), aside.display());
        let end = "delete that file when you no longer need it";
        let total: u64 = Table::ALL.iter().map(|(_, t)| self.fate(t).saved).sum::<u64>() + self.fate("session").saved;
        if !readable || total == 0 {
            return format!("{head}; nothing in it could be read, an empty store was begun; {end}");
        }
        let owed = |sql: &str| self.new.db.query_row(sql, [], |r| r.get::<_, i64>(0)).optional().ok().flatten();
        let waiting =
            owed("SELECT count(*) FROM inbox WHERE state IN ('queued', 'in_turn', 'executing', 'accepted', 'held')")
                .unwrap_or(0);
        let names = [
            ("inbox", "messages"),
            ("turn", "turns"),
            ("segment", "answers"),
            ("outbox", "reply parts"),
            ("session", "sessions"),
        ];
        let saved = names.map(|(t, name)| format!("{} {name}", self.fate(t).saved)).join(", ");
        let lost: Vec<&str> = names
            .iter()
            .filter(|(t, _)| self.fate(t).gaps > 0 || self.fate(t).broken > 0)
            .map(|(_, name)| *name)
            .collect();
        let lost = match lost.is_empty() {
            true => "all of them".to_owned(),
            false => format!("some {} could not be read", lost.join(", ")),
        };
        format!("{head}; saved: {saved} ({lost}); {waiting} messages still wait for their answer; {end}")
    }

    fn fate(&self, table: &str) -> Fate {
        self.found.get(table).copied().unwrap_or_default()
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The id of a table's row is its first column.
fn id_of(row: &[Value]) -> Result<Row> {
    match row.first() {
        Some(Value::Integer(id)) => Ok(*id),
        _ => Err(Error::Corrupt("a row without its number".into())),
    }
}

/// Hands over rows until the damage; true if there was none. Only errors of `take` are errors.
fn read<P: rusqlite::Params>(
    old: &Connection,
    sql: &str,
    params: P,
    mut take: impl FnMut(Vec<Value>) -> Result<()>,
) -> Result<bool> {
    let Ok(mut q) = old.prepare_cached(sql) else { return Ok(false) };
    let width = q.column_count();
    let Ok(mut rows) = q.query(params) else { return Ok(false) };
    loop {
        match rows.next() {
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
            Ok(Some(row)) => {
                // Text that is no UTF-8 comes as an error; as a blob it is no value of ours either.
                let values = (0..width).map(|n| row.get::<_, Value>(n).unwrap_or(Value::Blob(Vec::new())));
                take(values.collect())?;
            }
        }
    }
}

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;
