//! The outbox: what is owed to platforms, and what was handed over (core.md 22.2). Core's queries.

use rusqlite::OptionalExtension;

use super::rows::*;
use super::{Result, Store, Table};
use crate::message::{Content, Row, Target, Wall};

impl Store {
    /// Where something is owed.
    pub fn lanes_with_work(&self) -> Result<Vec<Target>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT DISTINCT channel, account, chat, thread FROM outbox INDEXED BY outbox_lane
             WHERE state IN ('raw', 'ready', 'sending') LIMIT 1000",
        )?;
        let target = |r: &rusqlite::Row| {
            Ok(Target { channel: r.get(0)?, account: r.get(1)?, chat: r.get(2)?, thread: r.get(3)? })
        };
        let all = q.query_map([], target)?.collect::<rusqlite::Result<_>>()?;
        Ok(all)
    }

    /// A text that is owed: `raw` until it is rendered and cut.
    pub fn add_outbox(&self, o: &NewOutbox) -> Result<Row> {
        let id = self.ids.next(Table::Outbox);
        let t = o.target;
        self.db()?
            .prepare_cached(
                "INSERT INTO outbox(id, base, segment, chunk, channel, account, chat, thread, kind, body, state, platform_id, expires_at, at, clock_ok)
                 VALUES(?1, ?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute((
                id, o.segment, &t.channel, &t.account, &t.chat, &t.thread, o.kind, json(o.content),
                first_state(o), o.message, o.expires, o.at, o.clock_ok,
            ))?;
        Ok(id)
    }

    /// The text of a raw row as the messages it takes, which stand in its place.
    pub fn set_rendered(&self, row: &OutboxRow, parts: &[Content]) -> Result<()> {
        let Some((first, rest)) = parts.split_first() else {
            return self.set_outbox(row.id, "skipped", row.attempts, None, Some("nothing to show"));
        };
        let db = self.db()?;
        db.prepare_cached("UPDATE outbox SET state = 'ready', body = ?, kind = ? WHERE id = ?")?.execute((
            json(first),
            kind_of(row, first),
            row.id,
        ))?;
        for (n, part) in rest.iter().enumerate() {
            db.prepare_cached(
                "INSERT INTO outbox(id, base, chunk, body, state, segment, channel, account, chat, thread, kind, expires_at, at, clock_ok)
                 SELECT ?, id, ?, ?, 'ready', segment, channel, account, chat, thread, ?, expires_at, at, clock_ok FROM outbox WHERE id = ?",
            )?
            .execute((self.ids.next(Table::Outbox), n as i64 + 1, json(part), rest_kind(row, part), row.id))?;
        }
        Ok(())
    }

    /// A row became several messages at once: the others' ids, found like that of the first.
    pub fn add_sent_along(&self, row: Row, ids: impl Iterator<Item = String>) -> Result<()> {
        for id in ids {
            self.db()?
                .prepare_cached(
                    "INSERT INTO outbox(id, base, chunk, body, state, segment, channel, account, chat, thread, kind, expires_at, at, clock_ok, platform_id)
                     SELECT ?, base, chunk, '', 'sent', segment, channel, account, chat, thread, kind, expires_at, at, clock_ok, ? FROM outbox WHERE id = ?",
                )?
                .execute((self.ids.next(Table::Outbox), id, row))?;
        }
        Ok(())
    }

    /// The record of what was delivered by being stored.
    pub fn add_sent(&self, o: &SentOutbox) -> Result<Row> {
        let id = self.ids.next(Table::Outbox);
        let t = o.target;
        self.db()?
            .prepare_cached(
                "INSERT INTO outbox(id, base, dkey, body_hash, segment, chunk, channel, account, chat, thread, kind, body, state, expires_at, at, clock_ok)
                 VALUES(?1, ?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, '', 'sent', ?10, ?11, ?12)",
            )?
            .execute((
                id, o.dkey, o.body_hash, o.segment, &t.channel, &t.account, &t.chat, &t.thread, o.kind, o.at, o.at,
                o.clock_ok,
            ))?;
        Ok(id)
    }

    /// Segment and body hash of the send with that unique key.
    pub fn sent_by_key(&self, dkey: &str) -> Result<Option<(Row, Option<String>)>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT segment, body_hash FROM outbox INDEXED BY outbox_key WHERE dkey = ? AND segment IS NOT NULL",
        )?;
        Ok(q.query_row([dkey], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    pub fn set_outbox(
        &self,
        id: Row,
        state: &str,
        attempts: i64,
        platform_id: Option<&str>,
        error: Option<&str>,
    ) -> Result<()> {
        self.db()?
            .prepare_cached("UPDATE outbox SET state = ?, attempts = ?, platform_id = coalesce(?, platform_id), error = ? WHERE id = ?")?
            .execute((state, attempts, platform_id, error, id))?;
        Ok(())
    }

    /// Rows not yet closed, oldest first, of all lanes behind `after`.
    pub fn outbox_open(&self, state: &str, after: Row, limit: usize) -> Result<Vec<OutboxRow>> {
        let sql = format!("SELECT {OUTBOX} FROM outbox INDEXED BY outbox_open WHERE state = ? AND state IN ('raw', 'ready', 'sending') AND id > ? ORDER BY id LIMIT ?");
        Ok(self
            .db
            .prepare_cached(&sql)?
            .query_map((state, after, limit as i64), outbox)?
            .collect::<rusqlite::Result<_>>()?)
    }

    /// The oldest open row of a lane.
    pub fn outbox_head(&self, t: &Target) -> Result<Option<OutboxRow>> {
        let sql = format!(
            "SELECT {OUTBOX} FROM outbox INDEXED BY outbox_lane
             WHERE channel = ? AND account = ? AND chat = ? AND thread = ? AND state IN ('raw', 'ready', 'sending') ORDER BY base, chunk LIMIT 1"
        );
        Ok(self
            .db()?
            .prepare_cached(&sql)?
            .query_row((&t.channel, &t.account, &t.chat, &t.thread), outbox)
            .optional()?)
    }

    /// How the call at hand delivers a row: `edit` or `send`.
    pub fn set_outbox_how(&self, id: Row, how: &str) -> Result<()> {
        self.db()?.prepare_cached("UPDATE outbox SET how = ? WHERE id = ?")?.execute((how, id))?;
        Ok(())
    }

    /// The same chunk again, without any form.
    pub fn set_outbox_body(&self, id: Row, content: &Content) -> Result<()> {
        self.db()?.prepare_cached("UPDATE outbox SET body = ? WHERE id = ?")?.execute((json(content), id))?;
        Ok(())
    }

    /// The message that was to be edited is gone: its new text is sent.
    pub fn set_outbox_sent_anew(&self, id: Row) -> Result<()> {
        let sql = "UPDATE outbox SET kind = 'send', platform_id = NULL WHERE id = ?";
        self.db()?.prepare_cached(sql)?.execute([id])?;
        Ok(())
    }

    /// Edits of a message that is gone are meant for the one that row `by` becomes.
    pub fn redirect_edits(&self, target: &Target, gone: &str, by: Row) -> Result<()> {
        let db = self.db()?;
        let (channel, account) = (&target.channel, &target.account);
        let mut q = db.prepare_cached(
            "SELECT id FROM outbox INDEXED BY outbox_platform WHERE channel = ? AND account = ? AND platform_id = ? AND chat = ? AND kind = 'send'",
        )?;
        let sent = q.query_map((channel, account, gone, &target.chat), |r| r.get::<_, Row>(0))?;
        let sent: Vec<Row> = sent.collect::<rusqlite::Result<_>>()?;
        for name in sent.iter().map(|id| format!("row:{id}")).chain([gone.to_owned()]) {
            db.prepare_cached(
                "UPDATE outbox SET platform_id = ? WHERE channel = ? AND account = ? AND platform_id = ? AND chat = ? AND kind = 'edit' AND state IN ('raw', 'ready')",
            )?
            .execute((format!("row:{by}"), channel, account, name, &target.chat))?;
        }
        Ok(())
    }

    /// Takes back what nobody has been sent yet; false: too late.
    pub fn unsend(&self, id: Row) -> Result<bool> {
        let sql = "UPDATE outbox SET state = 'skipped', error = 'taken back' WHERE id = ? AND state IN ('raw', 'ready') AND attempts = 0";
        Ok(self.db()?.prepare_cached(sql)?.execute([id])? > 0)
    }

    /// The platform's message that a row became.
    pub fn message_of(&self, id: Row) -> Result<Option<String>> {
        let sql = "SELECT platform_id FROM outbox WHERE id = ?";
        Ok(self.db()?.prepare_cached(sql)?.query_row([id], |r| r.get(0)).optional()?.flatten())
    }

    /// The platform did not take (a piece of) that segment.
    pub fn not_taken(&self, segment: Row) -> Result<bool> {
        let sql = "SELECT 1 FROM outbox WHERE segment = ? AND state = 'failed' LIMIT 1";
        Ok(self.db()?.prepare_cached(sql)?.exists([segment])?)
    }

    /// Where a row goes.
    pub fn target_of(&self, id: Row) -> Result<Option<Target>> {
        let sql = "SELECT channel, account, chat, thread FROM outbox WHERE id = ?";
        let target = |r: &rusqlite::Row| {
            Ok(Target { channel: r.get(0)?, account: r.get(1)?, chat: r.get(2)?, thread: r.get(3)? })
        };
        Ok(self.db()?.prepare_cached(sql)?.query_row([id], target).optional()?)
    }

    // ---- messages that show a turn's text while it grows

    pub fn set_live(&self, l: &LiveRow, at: Wall) -> Result<()> {
        let t = &l.target;
        self.db()?
            .prepare_cached("INSERT OR REPLACE INTO live VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute((l.turn, l.n, l.index, &t.channel, &t.account, &t.chat, &t.thread, &l.message, at))?;
        Ok(())
    }

    /// Live messages of a turn, by segment and index.
    pub fn lives(&self, turn: Row) -> Result<Vec<LiveRow>> {
        let sql = "SELECT n, idx, channel, account, chat, thread, platform_id FROM live WHERE turn = ? ORDER BY n, idx LIMIT 1000";
        let mut q = self.db()?.prepare_cached(sql)?;
        let rows = q.query_map([turn], |r| {
            let target = Target { channel: r.get(2)?, account: r.get(3)?, chat: r.get(4)?, thread: r.get(5)? };
            Ok(LiveRow { turn, n: r.get(0)?, index: r.get(1)?, target, message: r.get(6)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Those of one segment.
    pub fn live_of(&self, turn: Row, n: i64) -> Result<Vec<LiveRow>> {
        Ok(self.lives(turn)?.into_iter().filter(|l| l.n == n).collect())
    }

    /// Turn and number of a segment of a reply.
    pub fn place_of(&self, segment: Row) -> Result<Option<(Row, i64)>> {
        let sql = "SELECT turn, n FROM segment WHERE id = ? AND turn IS NOT NULL AND n IS NOT NULL";
        Ok(self.db()?.prepare_cached(sql)?.query_row([segment], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
    }

    /// The segment at that place of a turn's reply.
    pub fn segment_at(&self, turn: Row, n: i64) -> Result<Option<Row>> {
        let sql = "SELECT id FROM segment INDEXED BY segment_turn WHERE turn = ? AND n = ? AND turn IS NOT NULL";
        Ok(self.db()?.prepare_cached(sql)?.query_row((turn, n), |r| r.get(0)).optional()?)
    }

    /// How many messages a segment takes; `None`: not rendered yet.
    pub fn parts_of(&self, segment: Row) -> Result<Option<i64>> {
        let sql =
            "SELECT count(*), ifnull(sum(state = 'raw'), 0) FROM outbox INDEXED BY outbox_segment WHERE segment = ? AND kind = 'send'";
        let (parts, raw): (i64, i64) =
            self.db()?.prepare_cached(sql)?.query_row([segment], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok((raw == 0).then_some(parts))
    }

    /// The live message in whose place that chunk of a segment belongs.
    pub fn live_for(&self, segment: Row, chunk: i64, target: &Target) -> Result<Option<LiveRow>> {
        let Some((turn, n)) = self.place_of(segment)? else { return Ok(None) };
        Ok(self.live_of(turn, n)?.into_iter().find(|l| l.index == chunk && l.target == *target))
    }

    pub fn forget_live(&self, l: &LiveRow) -> Result<()> {
        self.db()?
            .prepare_cached("DELETE FROM live WHERE turn = ? AND n = ? AND idx = ?")?
            .execute((l.turn, l.n, l.index))?;
        Ok(())
    }

    /// Rows that are not delivered, by channel and account; counted up to 10 000 in all.
    pub fn outbox_owed_by_account(&self) -> Result<Vec<(String, String, i64)>> {
        let mut q = self.db()?.prepare_cached(
            "SELECT channel, account, count(*) FROM (SELECT channel, account FROM outbox INDEXED BY outbox_open
             WHERE state IN ('raw', 'ready', 'sending') LIMIT 10000) GROUP BY channel, account",
        )?;
        let rows = q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// `(rows, oldest time)` still owed.
    pub fn outbox_owed(&self) -> Result<(i64, Option<Wall>)> {
        let mut q = self.db()?.prepare_cached(
            "SELECT count(*), min(at) FROM (SELECT at FROM outbox INDEXED BY outbox_open WHERE state IN ('raw', 'ready', 'sending') LIMIT 10000)",
        )?;
        Ok(q.query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?)
    }
}

fn kind_of<'a>(row: &'a OutboxRow, part: &Content) -> &'a str {
    match part.file {
        Some(_) => MEDIA,
        None => &row.kind,
    }
}

/// Parts behind the first stand for themselves: one that replaces the text of a message cannot do that twice.
fn rest_kind<'a>(row: &'a OutboxRow, part: &Content) -> &'a str {
    match kind_of(row, part) {
        EDIT => TEXT,
        kind => kind,
    }
}

/// Only what says something has to be rendered.
fn first_state(o: &NewOutbox) -> &'static str {
    let says = !o.content.text.is_empty() || o.content.files().next().is_some();
    if says && matches!(o.kind, TEXT | EDIT) {
        "raw"
    } else {
        "ready"
    }
}
