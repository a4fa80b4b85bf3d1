//! Row ids that never come twice, and the names under which the outside knows them (core.md 22.6).
//!
//! No SQL is run here.

use std::cell::Cell;

use crate::message::Row;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Tables with row ids of their own.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Inbox,
    Turn,
    Segment,
    Outbox,
}

impl Table {
    pub(super) const ALL: [(Table, &'static str); 4] =
        [(Table::Inbox, "inbox"), (Table::Turn, "turn"), (Table::Segment, "segment"), (Table::Outbox, "outbox")];
}

/// The next row id of each table. They only rise: an id that went out and whose row a power cut or a rolled back
/// batch took away must never come again (core.md 22.6). A counter in memory costs no page of the store.
#[derive(Default)]
pub(super) struct Ids(pub(super) [Cell<Row>; 4]);

impl Ids {
    pub(super) fn next(&self, table: Table) -> Row {
        let cell = &self.0[table as usize];
        let id = cell.get() + 1;
        cell.set(id);
        id
    }
    pub(super) fn peek(&self, table: Table) -> Row {
        self.0[table as usize].get() + 1
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

#[cfg(test)]
mod tests {
    use super::super::Store;
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
