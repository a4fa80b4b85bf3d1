//! What the configuration takes from the outside world, as one value.
//!
//! Loading never looks at the process's own environment: it is given an [`Env`], so that tests (and a
//! reload with changed variables) need no global state.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The surroundings in which a configuration file is read.
#[derive(Clone)]
pub struct Env {
    /// Environment variables; those that are not UTF-8 are left out.
    pub vars: BTreeMap<String, String>,
    /// The home directory that `~` stands for.
    pub home: PathBuf,
    /// The directory that a relative `--config` belongs to.
    pub cwd: PathBuf,
    /// Memory of the machine in bytes, for the default pool size. `None` = unknown.
    pub mem_total: Option<u64>,
    /// Wall clock, to notice a machine that has not set it yet.
    pub now: SystemTime,
}

impl Env {
    /// The environment of this process.
    pub fn from_process() -> Env {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = match vars.get("HOME") {
            Some(home) if !home.is_empty() => PathBuf::from(home),
            _ => home_from_passwd().unwrap_or_else(|| PathBuf::from("/")),
        };
        Env {
            vars,
            home,
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            mem_total: std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text)),
            now: SystemTime::now(),
        }
    }

    /// The value of a variable, if it is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `~` and `~/...` expanded; anything else that is relative is taken from `base`.
    pub fn resolve(&self, text: &str, base: &Path) -> PathBuf {
        let path = match text.strip_prefix('~') {
            Some("") => return self.home.clone(),
            Some(rest) if rest.starts_with('/') => return self.home.join(rest.trim_start_matches('/')),
            _ => Path::new(text),
        };
        if path.is_absolute() {
            path.to_path_buf()
        } else {
            base.join(path.strip_prefix(".").unwrap_or(path))
        }
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("vars", &self.vars.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .field("cwd", &self.cwd)
            .field("mem_total", &self.mem_total)
            .finish()
    }
}

/// Read as text: `getpwuid` would need unsafe code and, in a static binary, finds nothing more than this file.
fn home_from_passwd() -> Option<PathBuf> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid))?;
    line.split(':').nth(5).filter(|home| !home.is_empty()).map(PathBuf::from)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty environment whose home and working directory are `dir`; 4 GiB of memory, a set clock.
    pub(crate) fn bare(dir: &Path) -> Env {
        Env {
            vars: BTreeMap::new(),
            home: dir.to_path_buf(),
            cwd: dir.to_path_buf(),
            mem_total: Some(4 << 30),
            now: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_900_000_000),
        }
    }

    #[test]
    fn paths_are_resolved() {
        let env = bare(Path::new("/home/me"));
        for (text, want) in [
            ("~", "/home/me"),
            ("~/a/b", "/home/me/a/b"),
            ("~other/a", "/etc/x/~other/a"),
            ("a/b", "/etc/x/a/b"),
            ("./a", "/etc/x/a"),
            ("../a", "/etc/x/../a"),
            ("/a", "/a"),
        ] {
            assert_eq!(env.resolve(text, Path::new("/etc/x")), Path::new(want), "{text}");
        }
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        assert_eq!(mem_total("MemTotal:        1000 kB\nMemFree: 1 kB\n"), Some(1_024_000));
        assert_eq!(mem_total("nonsense"), None);
    }

    #[test]
    fn debug_shows_no_values() {
        let mut env = bare(Path::new("/"));
        env.vars.insert("TOKEN".into(), "s3cret".into());
        assert!(!format!("{env:?}").contains("s3cret"));
    }
}
