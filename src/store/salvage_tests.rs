//! Damage of every kind in a store of some thousand pages: what is saved is what was there.

use super::*;
use crate::message::Source;
use crate::store::{external_id, inbox_state as st, NewInbox};

const ID: &str = "abcdefgh";
const MESSAGES: i64 = 300;

fn text(n: i64) -> String {
    format!("message {n} {}", "word ".repeat(40))
}

struct House {
    dir: tempfile::TempDir,
    path: PathBuf,
    page: usize,
}

/// A store with messages, turns, answers and sessions; the last two messages are owed.
fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.db");
    let store = Store::open_as(&path, |_| ID.into()).unwrap();
    store.begin().unwrap();
    for n in 1..=MESSAGES {
        let session = format!("agent:main:webchat:s{}", n % 20);
        let state = if n < MESSAGES { st::ANSWERED } else { st::QUEUED };
        let id = store
            .add_inbox(&NewInbox {
                dkey: Some(&format!("k{n}")),
                dkey2: None,
                kind: "message",
                session: &session,
                agent: "main",
                state,
                prio: 0,
                at: 1000 + n,
                clock_ok: true,
                source: &Source::default(),
                text: &text(n),
                images: &[],
                body_hash: None,
                solo: None,
                files: &[],
                group: None,
            })
            .unwrap();
        let file = format!("/data/sessions/x/{}.jsonl", external_id(ID, 'f', n));
        let db = store.db().unwrap();
        let turn = "INSERT INTO turn VALUES(?1, ?2, ?3, 1, 'prompt', '[]', 0, ?4, 0, ?1, 7, 1, 1, NULL, NULL, NULL)";
        let open = n == MESSAGES - 1;
        db.execute(turn, (n, &session, if open { "prompting" } else { "finished" }, &file)).unwrap();
        if open {
            store.set_inbox(id, st::IN_TURN, Some(n), None, None).unwrap();
        } else if n < MESSAGES {
            let answer = "INSERT INTO segment VALUES(?1, ?1, ?2, 0, 'reply', ?1, ?3, '[]', '{}', 1)";
            db.execute(answer, (n, &session, format!("answer {n}"))).unwrap();
        }
        let row = "INSERT OR IGNORE INTO session VALUES(?1, ?1, 'main', NULL, 0, ?2, '{}', NULL, NULL, NULL, 1, 1, 1, 0, NULL, 0)";
        db.execute(row, (&session, &file)).unwrap();
    }
    store.set_meta_int("counter", 900).unwrap();
    store.ids.0.iter().for_each(|c| c.set(MESSAGES));
    store.commit().unwrap();
    store.close().unwrap();
    let page = Connection::open(&path).unwrap().pragma_query_value(None, "page_size", |r| r.get::<_, i64>(0)).unwrap();
    House { dir, path, page: page as usize }
}

impl House {
    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
    fn damage(&self, at: std::ops::Range<usize>, with: u8) {
        let mut bytes = self.bytes();
        bytes[at].fill(with);
        fs::write(&self.path, bytes).unwrap();
    }
    /// The page that holds a text.
    fn page_of(&self, text: &str) -> std::ops::Range<usize> {
        let at = memchr::memmem::find(&self.bytes(), text.as_bytes()).unwrap() / self.page * self.page;
        at..at + self.page
    }
    /// The upper page of a table or index.
    fn root_of(&self, name: &str) -> std::ops::Range<usize> {
        let db = Connection::open(&self.path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
        let n: i64 = db.query_row(sql, [name], |r| r.get(0)).unwrap();
        (n as usize - 1) * self.page..n as usize * self.page
    }
    fn salvage(&self) -> (String, Store) {
        let said = salvage(&self.path, "a test", 77).unwrap();
        assert!(self.path.with_extension("db.corrupt-77").exists());
        let store = Store::open(&self.path).unwrap();
        let check: String = store.db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        assert_eq!(check, "ok");
        assert!(store.unclean, "pi's files are asked about forgotten messages after an unclean end only");
        (said, store)
    }
}

fn messages(store: &Store) -> Vec<(i64, String, String)> {
    let mut q = store.db.prepare("SELECT id, state, text FROM inbox ORDER BY id").unwrap();
    let rows = q.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).unwrap();
    rows.map(|r| r.unwrap()).collect()
}

fn count(store: &Store, table: &str) -> i64 {
    store.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
}

#[test]
fn given_a_zeroed_page_then_all_but_its_rows_are_saved_and_ids_go_on_rising() {
    let house = house();
    house.damage(house.page_of("message 150 "), 0);
    let (said, store) = house.salvage();
    let saved = messages(&store);
    let ids: Vec<i64> = saved.iter().map(|m| m.0).collect();
    let lost: Vec<i64> = (1..=MESSAGES).filter(|n| !ids.contains(n)).collect();
    assert!(lost.contains(&150) && lost.len() < 10, "{lost:?}");
    assert!(saved.iter().all(|m| m.2 == text(m.0)));
    assert_eq!(saved.iter().filter(|m| m.1 == st::QUEUED).count(), 1);
    assert_eq!(saved.iter().find(|m| m.1 == st::IN_TURN).map(|m| m.0), Some(MESSAGES - 1));
    assert_eq!((count(&store, "turn"), count(&store, "segment"), count(&store, "session")), (300, 298, 20));
    assert_eq!(store.id, ID, "pi's files name turns by it");
    assert!(store.ids.next(Table::Inbox) > MESSAGES + JUMP && store.next_counter().unwrap() > 900 + 9_000);
    assert!(said.contains("some messages could not be read") && said.contains("2 messages still wait"), "{said}");
    assert_eq!(store.salvaged.as_ref(), Some(&said), "told until the damaged file is deleted");
    fs::remove_file(house.path.with_extension("db.corrupt-77")).unwrap();
    drop(store);
    assert_eq!(Store::open(&house.path).unwrap().salvaged, None);
}

#[test]
fn given_bytes_overwritten_anywhere_then_what_is_saved_is_what_was_there() {
    let whole = house();
    let size = whole.bytes().len();
    let mut saved = 0;
    for at in (4096..size - 5000).step_by(size / 40) {
        let house = House { dir: tempfile::tempdir().unwrap(), path: PathBuf::new(), page: whole.page };
        let house = House { path: house.dir.path().join("gateway.db"), ..house };
        fs::copy(&whole.path, &house.path).unwrap();
        house.damage(at..at + 5000, 0x5a);
        let schema = memchr::memmem::find(&whole.bytes()[at..at + 5000], b"CREATE ").is_some();
        let (said, store) = house.salvage();
        if schema {
            assert!(store.ids.next(Table::Inbox) > JUMP, "{at}: {said}");
            continue; // where the tables begin is not known any more
        }
        for (id, state, found) in messages(&store) {
            let stands_for = id > MESSAGES && found == "prompt" && state == st::IN_TURN;
            let z = stands_for || found.contains('Z'); // SQLite has no checksums: text is not known to be wrong
            assert!(z || found == text(id), "{at}: message {id} became {found:?}");
            let owed = [st::QUEUED, st::IN_TURN].contains(&state.as_str());
            assert_eq!(owed, id >= MESSAGES - 1, "{at}: message {id} is {state}");
            saved += 1;
        }
        assert!(store.ids.next(Table::Inbox) > MESSAGES + JUMP, "{at}: {said}");
        assert_eq!(store.id, ID, "{at}: {said}");
    }
    assert!(saved > 40 * MESSAGES / 2, "{saved} rows in 41 tries");
}

#[test]
fn given_an_index_that_is_damaged_then_everything_is_saved() {
    for index in ["inbox_key", "inbox_session", "segment_turn"] {
        let house = house();
        house.damage(house.root_of(index), 0x5a);
        let (said, store) = house.salvage();
        assert_eq!(messages(&store).len() as i64, MESSAGES, "{index}: {said}");
        assert!(said.contains("(all of them)"), "{index}: {said}");
    }
}

#[test]
fn given_a_table_without_its_upper_page_then_the_others_are_saved_and_its_ids_go_far_on() {
    let house = house();
    house.damage(house.root_of("inbox"), 0);
    let (said, store) = house.salvage();
    assert_eq!(count(&store, "segment"), 298, "{said}");
    // The running turn's prompt stands for its message, so that the answer finds its way.
    assert_eq!(messages(&store), [(MESSAGES - 1 + FAR, st::IN_TURN.to_owned(), "prompt".to_owned())]);
    assert!(store.ids.next(Table::Inbox) > MESSAGES + FAR, "newer ones than any seen may have been lost");
}

#[test]
fn given_a_turn_that_is_lost_then_its_message_waits_again() {
    let house = house();
    house.damage(house.root_of("turn"), 0);
    let (said, store) = house.salvage();
    let owed: Vec<i64> = messages(&store).iter().filter(|m| m.1 == st::QUEUED).map(|m| m.0).collect();
    assert_eq!(owed, [MESSAGES - 1, MESSAGES], "{said}");
}

#[test]
fn given_the_marks_of_the_store_are_lost_then_its_id_and_counter_come_from_pi_s_files() {
    let house = house();
    house.damage(house.root_of("meta"), 0);
    let (said, store) = house.salvage();
    assert_eq!(store.id, ID, "{said}");
    assert!(store.next_counter().unwrap() > MESSAGES as u64 + FAR as u64);
}

#[test]
fn given_a_destroyed_header_then_a_new_store_is_empty_and_that_is_said() {
    let house = house();
    house.damage(0..64, 0x41);
    let (said, store) = house.salvage();
    assert!(messages(&store).is_empty());
    assert!(said.contains("nothing in it could be read, an empty store was begun"), "{said}");
}

#[test]
fn given_a_kill_between_the_renames_then_the_next_start_completes_them() {
    let house = house();
    house.damage(house.page_of("message 150 "), 0);
    fs::write(side(&house.path, "-wal"), "an old log").unwrap();
    let (part, aside) = (house.path.with_extension("db.part"), aside(&house.path, "78"));
    let said = build(&house.path, &part, &aside, "a test").unwrap();
    rename(&part, &done(&house.path, "78")).unwrap();
    // One after the other: the log is moved, then the file.
    rename(&side(&house.path, "-wal"), &side(&aside, "-wal")).unwrap();
    for _ in 0..2 {
        finish(&house.path).unwrap();
        assert!(aside.exists() && !side(&house.path, "-wal").exists());
    }
    let store = Store::open(&house.path).unwrap();
    assert!(messages(&store).len() > 280, "{said}");
    drop(store);
    // The file was moved and the new one not yet put in its place.
    fs::rename(&house.path, done(&house.path, "79")).unwrap();
    finish(&house.path).unwrap();
    assert!(Store::open(&house.path).is_ok());
    drop(house.dir);
}
