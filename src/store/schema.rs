//! Tables and numbered migrations (core.md 22.6). A migration is never changed once released.
//!
//! Every page that a message touches is written to the disk twice: there are no more indexes than queries need,
//! and most hold only what is still open. Row ids come from [`super::Ids`], which never gives one twice.

use rusqlite::{Connection, Result};

/// One entry per schema version, applied in order, each in one transaction.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE cursor(channel TEXT, account TEXT, value TEXT NOT NULL, updated INTEGER NOT NULL,
    PRIMARY KEY(channel, account)) WITHOUT ROWID;
CREATE TABLE inbox(
    id INTEGER PRIMARY KEY,
    dkey TEXT, dkey2 TEXT,
    kind TEXT NOT NULL, session TEXT NOT NULL, agent TEXT NOT NULL, state TEXT NOT NULL,
    prio INTEGER NOT NULL, at INTEGER NOT NULL, clock_ok INTEGER NOT NULL,
    source TEXT NOT NULL, text TEXT NOT NULL, media TEXT NOT NULL,
    turn INTEGER, inj INTEGER, attempts INTEGER NOT NULL DEFAULT 0, body_hash TEXT, reason TEXT, solo TEXT);
CREATE UNIQUE INDEX inbox_key ON inbox(dkey) WHERE dkey IS NOT NULL;
CREATE UNIQUE INDEX inbox_key2 ON inbox(dkey2) WHERE dkey2 IS NOT NULL;
CREATE INDEX inbox_open ON inbox(state, session, id) WHERE state IN ('queued', 'in_turn', 'executing');
CREATE INDEX inbox_turn ON inbox(turn) WHERE turn IS NOT NULL;
CREATE INDEX inbox_session ON inbox(session, id);
CREATE TABLE turn(
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, prompt TEXT NOT NULL, media TEXT NOT NULL,
    plain INTEGER NOT NULL, file TEXT NOT NULL, file_len INTEGER NOT NULL, proc INTEGER NOT NULL, pid INTEGER NOT NULL,
    at INTEGER NOT NULL, at_boot INTEGER NOT NULL, stop TEXT, model TEXT, usage TEXT);
CREATE TABLE segment(
    id INTEGER PRIMARY KEY,
    turn INTEGER, session TEXT NOT NULL, n INTEGER, origin TEXT NOT NULL, inbox INTEGER,
    text TEXT NOT NULL, media TEXT NOT NULL, target TEXT NOT NULL, at INTEGER NOT NULL);
CREATE UNIQUE INDEX segment_turn ON segment(turn, n) WHERE turn IS NOT NULL;
CREATE INDEX segment_session ON segment(session, id);
CREATE INDEX segment_inbox ON segment(inbox) WHERE inbox IS NOT NULL AND turn IS NULL;
CREATE TABLE outbox(
    id INTEGER PRIMARY KEY,
    dkey TEXT, segment INTEGER, chunk INTEGER NOT NULL,
    channel TEXT NOT NULL, account TEXT NOT NULL, chat TEXT NOT NULL, thread TEXT NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, how TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER, expires_at INTEGER NOT NULL, at INTEGER NOT NULL, clock_ok INTEGER NOT NULL,
    platform_id TEXT, body_hash TEXT, error TEXT);
CREATE UNIQUE INDEX outbox_key ON outbox(dkey) WHERE dkey IS NOT NULL;
CREATE INDEX outbox_open ON outbox(state, id) WHERE state IN ('ready', 'sending');
CREATE INDEX outbox_lane ON outbox(channel, account, chat, thread, id) WHERE state IN ('ready', 'sending');
CREATE INDEX outbox_segment ON outbox(segment, chunk);
CREATE INDEX outbox_platform ON outbox(channel, account, platform_id) WHERE platform_id IS NOT NULL;
CREATE TABLE session(
    key TEXT PRIMARY KEY, sid TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, role TEXT, role_manual INTEGER NOT NULL,
    file TEXT NOT NULL, last TEXT NOT NULL, mode TEXT, model TEXT, thinking TEXT,
    count INTEGER NOT NULL, last_at INTEGER NOT NULL, created INTEGER NOT NULL,
    reset_at INTEGER NOT NULL, title TEXT,
    minute INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX session_minute ON session(minute DESC, key);
",
    "
ALTER TABLE outbox ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET base = id;
DROP INDEX outbox_open;
DROP INDEX outbox_lane;
CREATE INDEX outbox_open ON outbox(state, id) WHERE state IN ('raw', 'ready', 'sending');
CREATE INDEX outbox_lane ON outbox(channel, account, chat, thread, base, chunk)
    WHERE state IN ('raw', 'ready', 'sending');
CREATE TABLE live(
    turn INTEGER NOT NULL, n INTEGER NOT NULL, idx INTEGER NOT NULL,
    channel TEXT NOT NULL, account TEXT NOT NULL, chat TEXT NOT NULL, thread TEXT NOT NULL,
    platform_id TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY(turn, n, idx)) WITHOUT ROWID;
ALTER TABLE inbox ADD COLUMN files TEXT;
ALTER TABLE inbox ADD COLUMN grp TEXT;
CREATE TABLE action(id TEXT PRIMARY KEY, kind TEXT NOT NULL, channel TEXT NOT NULL, account TEXT NOT NULL,
    chat TEXT NOT NULL, sender TEXT, session TEXT NOT NULL, data TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX action_expires ON action(expires);
CREATE TABLE alias(channel TEXT NOT NULL, account TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,
    at INTEGER NOT NULL, PRIMARY KEY(channel, account, old)) WITHOUT ROWID;
CREATE TABLE approved(channel TEXT NOT NULL, account TEXT NOT NULL, sender TEXT NOT NULL,
    name TEXT, chat TEXT, at INTEGER NOT NULL, told INTEGER NOT NULL,
    PRIMARY KEY(channel, account, sender)) WITHOUT ROWID;
CREATE INDEX approved_untold ON approved(told) WHERE told = 0;
CREATE TABLE pairing(channel TEXT NOT NULL, account TEXT NOT NULL, sender TEXT NOT NULL,
    code TEXT NOT NULL, name TEXT, chat TEXT NOT NULL, at INTEGER NOT NULL, told INTEGER NOT NULL,
    PRIMARY KEY(channel, account, sender)) WITHOUT ROWID;
CREATE INDEX alias_at ON alias(at);
CREATE INDEX outbox_failed ON outbox(channel, account, chat, id) WHERE state = 'failed';
CREATE INDEX action_account ON action(channel, account, expires);
CREATE INDEX action_ask ON action(id) WHERE kind = 'ask';
ALTER TABLE inbox ADD COLUMN tail TEXT;
ALTER TABLE inbox ADD COLUMN lead INTEGER;
ALTER TABLE inbox ADD COLUMN fetches INTEGER NOT NULL DEFAULT 0;
CREATE INDEX inbox_early ON inbox(session, id) WHERE state IN ('accepted', 'held');
CREATE INDEX inbox_lead ON inbox(lead) WHERE lead IS NOT NULL;
",
    "
CREATE TABLE cron_job(
    id TEXT PRIMARY KEY, def TEXT, sched TEXT NOT NULL, anchor INTEGER NOT NULL, clock_ok INTEGER NOT NULL,
    next_at INTEGER, done INTEGER NOT NULL, last_at INTEGER, errors INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cron_run(
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, due INTEGER NOT NULL, started INTEGER NOT NULL, finished INTEGER,
    status TEXT NOT NULL, preview TEXT, error TEXT, delivery TEXT, inbox INTEGER);
CREATE UNIQUE INDEX cron_run_due ON cron_run(job, due);
CREATE INDEX cron_run_finished ON cron_run(finished);
",
    "
CREATE INDEX inbox_event ON inbox(session, id) WHERE state = 'pending';
CREATE TABLE heartbeat(agent TEXT PRIMARY KEY, last INTEGER NOT NULL, clock_ok INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE scratch(file TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID;
",
];

/// Brings the store to the newest version. Returns the version found (0: new).
pub fn migrate(db: &mut Connection) -> Result<usize> {
    let found: usize = db.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0))?.try_into().unwrap_or(0);
    for (n, sql) in MIGRATIONS.iter().enumerate().skip(found) {
        let tx = db.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "user_version", (n + 1) as i64)?;
        tx.commit()?;
    }
    Ok(found)
}

/// Newest schema version this program knows.
pub fn newest() -> usize {
    MIGRATIONS.len()
}
