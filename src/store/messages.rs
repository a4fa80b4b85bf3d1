//! Messages, turns and what was said: core's queries. Every one uses an index and a LIMIT or a key.

use rusqlite::{named_params, OptionalExtension};

use super::rows::*;
use super::{Result, Store, Table};
use crate::message::{Row, Usage, Wall};

impl Store {
    // ---- inbox

    pub fn add_inbox(&self, m: &NewInbox) -> Result<Row> {
        let id = self.ids.next(Table::Inbox);
        self.db()?
            .prepare_cached(
                "INSERT INTO inbox(id, dkey, dkey2, kind, session, agent, state, prio, at, clock_ok, source, text, media, body_hash, solo, files, grp)
                 VALUES(:id, :dkey, :dkey2, :kind, :session, :agent, :state, :prio, :at, :ok, :source, :text, :media, :hash, :solo, :files, :grp)",
            )?
            .execute(named_params! {
                ":id": id, ":dkey": m.dkey, ":dkey2": m.dkey2, ":kind": m.kind, ":session": m.session, ":agent": m.agent,
                ":state": m.state, ":prio": m.prio, ":at": m.at, ":ok": m.clock_ok, ":source": json(m.source),
                ":text": m.text, ":media": json(m.images), ":hash": m.body_hash,
                ":solo": m.solo.map(json), ":files": (!m.files.is_empty()).then(|| json(m.files)), ":grp": m.group,
            })?;
        Ok(id)
    }

    /// The id that the next row of the inbox will get.
    pub fn next_inbox(&self) -> Row {
        self.ids.peek(Table::Inbox)
    }

    /// The row with that unique key, in either key column.
    pub fn inbox_by_key(&self, dkey: &str) -> Result<Option<InboxRow>> {
        let first = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_key WHERE dkey = ?");
        if let Some(row) = self.db()?.prepare_cached(&first)?.query_row([dkey], inbox).optional()? {
            return Ok(Some(row));
        }
        let second = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_key2 WHERE dkey2 = ?");
        Ok(self.db()?.prepare_cached(&second)?.query_row([dkey], inbox).optional()?)
    }

    pub fn inbox(&self, id: Row) -> Result<Option<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox WHERE id = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([id], inbox).optional()?)
    }

    pub fn inbox_of_turn(&self, turn: Row) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox WHERE turn = ? AND lead IS NULL ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([turn], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Waiting messages of a session, oldest first.
    pub fn inbox_waiting(&self, session: &str, state: &str) -> Result<Vec<InboxRow>> {
        let sql = format!("SELECT {INBOX} FROM inbox INDEXED BY inbox_open WHERE session = ? AND state = ? AND state IN ('queued', 'in_turn', 'executing') ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([session, state], inbox)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Keys of sessions that have rows in that state.
    pub fn sessions_with(&self, state: &str) -> Result<Vec<String>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT DISTINCT session FROM inbox INDEXED BY inbox_open WHERE state = ? AND state IN ('queued', 'in_turn', 'executing') LIMIT 1000",
        )?;
        let rows = q.query_map([state], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    pub fn set_inbox(
        &self,
        id: Row,
        state: &str,
        turn: Option<Row>,
        inj: Option<i64>,
        reason: Option<&str>,
    ) -> Result<()> {
        let db = self.db()?;
        db.prepare_cached("UPDATE inbox SET state = ?, inj = ?, reason = ? WHERE id = ?")?
            .execute((state, inj, reason, id))?;
        // An index of its own: not written anew for what stays.
        db.prepare_cached("UPDATE inbox SET turn = ?1 WHERE id = ?2 AND turn IS NOT ?1")?.execute((turn, id))?;
        match inbox_state::terminal(state) {
            true => self.end_parts(id, state, turn, reason),
            false => Ok(()),
        }
    }

    // ---- turns

    /// `known`: the id of a turn whose row a power cut took away.
    pub fn add_turn(&self, known: Option<Row>, session: &str, at: Wall, at_boot: u64) -> Result<Row> {
        let id = known.unwrap_or_else(|| self.ids.next(Table::Turn));
        self.db()?
            .prepare_cached(
                "INSERT INTO turn(id, session, state, attempts, prompt, media, plain, file, file_len, proc, pid, at, at_boot)
                 VALUES(?, ?, 'prompting', 0, '', '[]', 0, '', 0, 0, 0, ?, ?)",
            )?
            .execute((id, session, at, at_boot as i64))?;
        Ok(id)
    }

    /// One more attempt begins: everything recovery needs.
    pub fn set_turn(&self, t: &TurnRow) -> Result<()> {
        self.db()?
            .prepare_cached(
                "UPDATE turn SET state = ?, attempts = ?, prompt = ?, media = ?, plain = ?, file = ?, file_len = ?,
                 proc = ?, pid = ?, at_boot = ? WHERE id = ?",
            )?
            .execute((
                &t.state,
                t.attempts,
                &t.prompt,
                json(&t.images),
                t.plain,
                t.file.to_string_lossy(),
                t.file_len as i64,
                t.proc as i64,
                t.pid,
                t.at_boot as i64,
                t.id,
            ))?;
        Ok(())
    }

    /// The turn is to end, whatever happens to this process.
    pub fn stop_turn(&self, id: Row, why: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE turn SET stop = ? WHERE id = ?")?.execute((why, id))?;
        Ok(())
    }

    pub fn end_turn(&self, id: Row, state: &str, stop: &str, model: &str, usage: &Usage) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE turn SET state = ?, stop = ?, model = ?, usage = ? WHERE id = ?")?
            .execute((state, stop, model, json(usage), id))?;
        Ok(())
    }

    /// How a turn ended, and what it has used.
    pub fn turn_end(&self, id: Row) -> Result<(String, Usage)> {
        let mut q = self.db()?.prepare_cached("SELECT stop, usage FROM turn WHERE id = ?")?;
        let (stop, usage): (Option<String>, Option<String>) =
            q.query_row([id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?.unwrap_or_default();
        Ok((stop.unwrap_or_default(), usage.map(|text| parse(&text)).unwrap_or_default()))
    }

    pub fn turn(&self, id: Row) -> Result<Option<TurnRow>> {
        let sql = format!("SELECT {TURN} FROM turn WHERE id = ?");
        Ok(self.db()?.prepare_cached(&sql)?.query_row([id], turn).optional()?)
    }

    /// Turns whose end is not recorded, oldest first: a message of each is in it.
    pub fn open_turns(&self) -> Result<Vec<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id IN (SELECT turn FROM inbox INDEXED BY inbox_open WHERE state = 'in_turn' AND state IN ('queued', 'in_turn', 'executing') LIMIT 10000)
             AND state = 'prompting' ORDER BY id LIMIT 1000"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_map([], turn)?.collect::<rusqlite::Result<_>>()?)
    }

    pub fn open_turn_of(&self, session: &str) -> Result<Option<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id IN (SELECT turn FROM inbox INDEXED BY inbox_open WHERE session = ? AND state = 'in_turn' AND state IN ('queued', 'in_turn', 'executing') LIMIT 1000)
             AND state = 'prompting' ORDER BY id DESC LIMIT 1"
        );
        Ok(self.db()?.prepare_cached(&sql)?.query_row([session], turn).optional()?)
    }

    /// The newest turn of a session, if it failed. The messages of a session's newest turn are among its newest.
    pub fn last_failed_turn(&self, session: &str) -> Result<Option<TurnRow>> {
        let sql = format!(
            "SELECT {TURN} FROM turn WHERE id = (SELECT max(turn) FROM (SELECT turn FROM inbox WHERE session = ?
             AND kind NOT IN ('heartbeat', 'event') ORDER BY id DESC LIMIT 200))"
        );
        let row = self.db()?.prepare_cached(&sql)?.query_row([session], turn).optional()?;
        Ok(row.filter(|t| t.state == "failed"))
    }

    // ---- segments

    pub fn add_segment(&self, s: &NewSegment) -> Result<Row> {
        let id = self.ids.next(Table::Segment);
        self.db()?
            .prepare_cached(
                "INSERT INTO segment(id, turn, session, n, origin, inbox, text, media, target, at)
                 VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                id,
                s.turn,
                s.session,
                s.n,
                s.origin,
                s.inbox,
                s.text,
                s.media.unwrap_or("[]"),
                json(s.target),
                s.at,
            ))?;
        Ok(id)
    }

    pub fn segments_of(&self, turn: Row) -> Result<Vec<SegmentRow>> {
        let sql = format!("SELECT {SEGMENT} FROM segment WHERE turn = ? ORDER BY id LIMIT 1000");
        Ok(self.db()?.prepare_cached(&sql)?.query_map([turn], segment)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The segment that answers a message: of a turn, or by itself.
    pub fn segment_for(&self, inbox: Row) -> Result<Option<SegmentRow>> {
        let db = self.db()?;
        let of_turn = format!(
            "SELECT {SEGMENT} FROM segment WHERE turn = (SELECT turn FROM inbox WHERE id = ?1) AND inbox = ?1 AND origin <> 'tool' ORDER BY id DESC LIMIT 1"
        );
        let alone = format!(
            "SELECT {SEGMENT} FROM segment INDEXED BY segment_inbox WHERE inbox = ? AND turn IS NULL AND origin <> 'tool' ORDER BY id DESC LIMIT 1"
        );
        let of_turn = db.prepare_cached(&of_turn)?.query_row([inbox], segment).optional()?;
        let alone = db.prepare_cached(&alone)?.query_row([inbox], segment).optional()?;
        Ok([of_turn, alone].into_iter().flatten().max_by_key(|s| s.id))
    }

    /// The newest message of a session, all parts of it as one; of one whose messages were cleaned away, the newest that was answered.
    pub fn newest_inbox(&self, session: &str) -> Result<Option<Row>> {
        let mut q = self
            .db()?
            .prepare_cached("SELECT COALESCE(lead, id) FROM inbox WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        if let Some(id) = q.query_row([session], |r| r.get(0)).optional()? {
            return Ok(Some(id));
        }
        let mut q =
            self.db()?.prepare_cached("SELECT inbox FROM segment WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        Ok(q.query_row([session], |r| r.get(0)).optional()?.flatten())
    }

    pub fn newest_segment(&self, session: &str) -> Result<Row> {
        let mut q = self.db()?.prepare_cached("SELECT id FROM segment WHERE session = ? ORDER BY id DESC LIMIT 1")?;
        Ok(q.query_row([session], |r| r.get(0)).optional()?.unwrap_or(0))
    }
}
