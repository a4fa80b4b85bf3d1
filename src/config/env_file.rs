//! `<data>/env`: secrets as `NAME=value`. The service's unit reads it (config.md 10.3), a shell can, and every command
//! does: what works in the service works in a terminal and in a crontab, whose environments know nothing of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::node::Node;
use super::paths::data_root;
use super::subst::plain;

/// The file that belongs to a configuration whose variables are not replaced yet.
pub(super) fn of(root: &Node, base: &Path, env: &Env) -> PathBuf {
    let named = root.at(&["session", "dataDir"]).and_then(Node::text).and_then(|text| plain(text, env));
    let root = named.map(|text| data_root(&env.resolve(&text, base)));
    root.unwrap_or_else(|| env.home.join(".pi/gateway")).join("env")
}

/// The environment with what only the file says. It never replaces what is set.
pub(super) fn completed<'e>(path: &Path, env: &'e Env) -> Cow<'e, Env> {
    let mut new = read(path);
    new.retain(|name, _| !env.vars.contains_key(name));
    if new.is_empty() {
        return Cow::Borrowed(env);
    }
    let mut env = env.clone();
    env.vars.append(&mut new);
    Cow::Owned(env)
}

/// Its variables; those that a line says in another way than [`merged`] does are left out.
fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(n, v)| (n.trim_end().to_owned(), bare(v.trim_start())))
        .collect()
}

/// Its text with these variables set; all other lines stay.
pub fn merged(path: &Path, vars: &[(String, String)]) -> io::Result<String> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let new = |name: &str| vars.iter().any(|(var, _)| var == name);
    let own = |line: &&str| !line.trim().split_once('=').is_some_and(|(name, _)| new(name));
    let kept = old.lines().filter(own).map(str::to_owned);
    let lines: Vec<String> = kept.chain(vars.iter().map(|(name, value)| format!("{name}={}", quoted(value)))).collect();
    Ok(lines.join("\n") + "\n")
}

/// In a form that means the same to systemd and to a shell.
fn quoted(value: &str) -> String {
    if value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/+=@,".contains(&b)) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for letter in value.chars() {
        if "\"\\`$".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text + "\""
}

/// As systemd and a shell read it.
fn bare(text: &str) -> String {
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let mut value = String::new();
    let mut letters = inner.unwrap_or(text).chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            // In quotes it takes only these letters' meaning.
            ('\\', Some(next)) if inner.is_none() || "\"\\`$".contains(*next) => value.extend(letters.next()),
            _ => value.push(letter),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_us_and_by_a_shell_and_other_lines_stay() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("env");
        let odd = r#"a "b" $HOME `c` \d 'e' é"#.to_owned();
        let vars = [("A".to_owned(), "123:x_Y-z".to_owned()), ("B".to_owned(), odd.clone())];
        std::fs::write(&file, "# mine\nA=old\nC='other'\nD=\"a\\d\\$\"\n").unwrap();
        let text = merged(&file, &vars).unwrap();
        assert!(text.starts_with("# mine\nC='other'\nD=\"a\\d\\$\"\nA=123:x_Y-z\nB="), "{text}");
        std::fs::write(&file, &text).unwrap();
        let read = read(&file);
        assert_eq!((read["A"].as_str(), &read["B"], read["C"].as_str()), ("123:x_Y-z", &odd, "other"));
        assert_eq!(read["D"], "a\\d$");
        let said = std::process::Command::new("/bin/sh")
            .args(["-c", ". \"$1\"; printf '%s|%s|%s' \"$A\" \"$B\" \"$D\"", "sh"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("123:x_Y-z|{odd}|a\\d$"));
    }

    #[test]
    fn lines_by_hand_are_read_as_systemd_reads_them() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("env");
        std::fs::write(&file, "  A = one two \n#B=no\n;B=no\nC=a\\b\\\\c\n\nnonsense\n").unwrap();
        let read = read(&file);
        let pairs: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "one two"), ("C", "ab\\c")]);
    }
}
