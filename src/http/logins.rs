//! Cookie logins (R29): random ids, kept only as hashes, in memory and in a 0600 file.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

/// 30 days.
pub const LIFE_MS: i64 = 2_592_000_000;
const MOST: usize = 256;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Login {
    until: i64,
    /// Which secret opened it: another secret ends it.
    of: String,
}

#[derive(Debug, Default)]
pub struct Logins {
    file: Option<PathBuf>,
    known: Mutex<HashMap<String, Login>>,
}

pub fn random(bytes: usize) -> String {
    let mut b = vec![0; bytes];
    ring::rand::SystemRandom::new().fill(&mut b).expect("the system's random numbers do not run out");
    URL_SAFE_NO_PAD.encode(b)
}

pub fn hash(text: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, text))
}

/// What is written beside a login, so that the file does not help to guess the secret's short hash.
fn mark(id: &str, secret: &str) -> String {
    hash(format!("pi-gw login\n{id}\n{secret}").as_bytes())
}

impl Logins {
    pub fn load(file: Option<&Path>) -> Logins {
        let known = file.and_then(|f| std::fs::read(f).ok()).and_then(|b| serde_json::from_slice(&b).ok());
        Logins { file: file.map(Path::to_owned), known: Mutex::new(known.unwrap_or_default()) }
    }

    /// A new login's cookie value.
    pub fn open(&self, secret: &str, now: i64) -> String {
        let id = random(32);
        self.change(|known| {
            known.retain(|_, l| l.until > now);
            if known.len() >= MOST {
                if let Some(oldest) = known.iter().min_by_key(|(_, l)| l.until).map(|(k, _)| k.clone()) {
                    known.remove(&oldest);
                }
            }
            known.insert(hash(id.as_bytes()), Login { until: now + LIFE_MS, of: mark(&id, secret) });
        });
        id
    }

    pub fn valid(&self, id: &str, secret: &str, now: i64) -> bool {
        let known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        known.get(&hash(id.as_bytes())).is_some_and(|l| l.until > now && l.of == mark(id, secret))
    }

    pub fn close(&self, id: &str) {
        self.change(|known| {
            known.remove(&hash(id.as_bytes()));
        });
    }

    fn change(&self, f: impl FnOnce(&mut HashMap<String, Login>)) {
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        f(&mut known);
        // Under the lock on purpose: logins are rare, and two writers must not swap their files' order.
        if let Some(file) = &self.file {
            if let Err(e) = save(file, &known) {
                log::warn!("cookie logins could not be saved to {}: {e}; they end with this process", file.display());
            }
        }
    }
}

fn save(file: &Path, known: &HashMap<String, Login>) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut f = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    f.write_all(&serde_json::to_vec(known)?)?;
    f.sync_all()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_login_survives_a_restart_but_not_another_secret_its_time_or_a_logout() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web-logins.json");
        let id = Logins::load(Some(&file)).open("s", 1000);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&file).unwrap().contains(&id));
        let l = Logins::load(Some(&file));
        assert!(l.valid(&id, "s", 2000));
        assert!(!l.valid(&id, "other", 2000) && !l.valid(&id, "s", 1000 + LIFE_MS) && !l.valid("x", "s", 2000));
        l.close(&id);
        assert!(!Logins::load(Some(&file)).valid(&id, "s", 2000));
    }
}
