//! The original's credential files, taken over once (config.md 8): who was approved, who had asked.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{NewPairing, Result, Store, PAIRING_LIFE};
use crate::message::Wall;

/// What such a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// `allowFrom`: ids of approved senders.
    Approved,
    /// `pairing`: open requests.
    Asked,
}

/// One of the original's requests.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldRequest {
    code: String,
    sender_id: Value,
    sender_name: Option<String>,
    /// Unix milliseconds.
    created_at: f64,
}

/// A damaged file under its new name is looked for by `doctor`.
pub fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bad");
    name.into()
}

impl Store {
    /// Takes one file over, unless that was done before. Gives a line for the log; `Err`: it is damaged, and why.
    pub fn take_over(
        &self,
        path: &Path,
        what: Credentials,
        channel: &str,
        account: &str,
        now: Wall,
    ) -> Result<std::result::Result<Option<String>, String>> {
        let Ok(bytes) = std::fs::read(path) else { return Ok(Ok(None)) }; // the usual case: no such file
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mark = format!("taken:{name}");
        self.begin()?;
        let done = self.take(&bytes, what, channel, account, now, &mark);
        match &done {
            Ok(Ok(_)) => self.commit()?,
            _ => self.rollback(),
        }
        Ok(done?.map(|n| n.map(|n| format!("{n} entries of the original's {name} were taken over"))))
    }

    fn take(
        &self,
        bytes: &[u8],
        what: Credentials,
        channel: &str,
        account: &str,
        now: Wall,
        mark: &str,
    ) -> Result<std::result::Result<Option<usize>, String>> {
        if self.meta_text(mark)?.is_some() {
            return Ok(Ok(None));
        }
        let damaged = |e: serde_json::Error| Ok(Err(e.to_string()));
        let n = match what {
            Credentials::Approved => match serde_json::from_slice::<Vec<Value>>(bytes) {
                Ok(list) => self.take_approved(&list, channel, account, now)?,
                Err(e) => return damaged(e),
            },
            Credentials::Asked => match serde_json::from_slice::<Vec<OldRequest>>(bytes) {
                Ok(list) => self.take_asked(&list, channel, account, now)?,
                Err(e) => return damaged(e),
            },
        };
        self.set_meta(mark, "1")?;
        Ok(Ok(Some(n)))
    }

    fn take_approved(&self, list: &[Value], channel: &str, account: &str, now: Wall) -> Result<usize> {
        let sql = "INSERT OR IGNORE INTO approved(channel, account, sender, at, told) VALUES(?, ?, ?, ?, 1)";
        let ids: Vec<String> = list.iter().filter_map(id).filter(|id| id != "*").collect();
        for id in &ids {
            self.db()?.prepare_cached(sql)?.execute((channel, account, id, now))?;
        }
        Ok(ids.len())
    }

    fn take_asked(&self, list: &[OldRequest], channel: &str, account: &str, now: Wall) -> Result<usize> {
        let good = |r: &&OldRequest| (0..PAIRING_LIFE).contains(&(now - r.created_at as i64));
        let mut n = 0;
        for r in list.iter().filter(good) {
            let Some(sender) = id(&r.sender_id) else { continue };
            let (code, at) = (r.code.to_ascii_uppercase(), r.created_at as i64);
            let name = r.sender_name.as_deref();
            self.set_pairing(&NewPairing {
                channel,
                account,
                sender: &sender,
                code: &code,
                name,
                chat: &sender,
                at,
                told: at,
            })?;
            n += 1;
        }
        Ok(n)
    }
}

/// An id, written as text or as a number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.trim().to_owned()).filter(|s| !s.is_empty()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = 1_790_000_000_000;

    #[test]
    fn the_originals_files_are_taken_over_once_and_a_revoked_person_stays_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gateway.db")).unwrap();
        let allow = dir.path().join("telegram__default-allowFrom.json");
        let asked = dir.path().join("telegram__default-pairing.json");
        std::fs::write(&allow, r#"["7", 8, "*"]"#).unwrap();
        let young = NOW - 60_000;
        let old = NOW - PAIRING_LIFE;
        std::fs::write(
            &asked,
            format!(
                r#"[{{"code":"abcd2345","senderId":"9","senderName":"Cy","channel":"telegram","createdAt":{young}}},
                    {{"code":"ABCD2346","senderId":"10","channel":"telegram","createdAt":{old}}}]"#
            ),
        )
        .unwrap();
        let take = |path, what| store.take_over(path, what, "telegram", "default", NOW).unwrap();
        let said = take(&allow, Credentials::Approved).unwrap().unwrap();
        assert_eq!(said, "2 entries of the original's telegram__default-allowFrom.json were taken over");
        assert!(store.is_approved("telegram", "default", "8").unwrap());
        take(&asked, Credentials::Asked).unwrap().unwrap();
        let open = store.pairings("telegram", "default").unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].sender.as_str(), open[0].code.as_str(), open[0].at), ("9", "ABCD2345", young));
        assert!(store.untold().unwrap().is_empty(), "they have been let in long ago");

        let mut beside = super::super::Beside::open(store.path()).unwrap().unwrap();
        assert_eq!(beside.revoke("telegram", None, "8").unwrap(), ["default"]);
        assert_eq!(take(&allow, Credentials::Approved), Ok(None), "only once");
        assert!(!store.is_approved("telegram", "default", "8").unwrap());
    }

    #[test]
    fn b17_a_damaged_file_is_said_to_be_and_locks_nobody_in_or_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gateway.db")).unwrap();
        let file = dir.path().join("telegram__default-allowFrom.json");
        std::fs::write(&file, r#"["7", "8""#).unwrap();
        let take = || store.take_over(&file, Credentials::Approved, "telegram", "default", NOW).unwrap();
        assert!(take().is_err());
        std::fs::write(&file, r#"["7"]"#).unwrap();
        assert!(take().unwrap().is_some(), "mended, it counts");
        assert!(store.is_approved("telegram", "default", "7").unwrap());
    }
}
