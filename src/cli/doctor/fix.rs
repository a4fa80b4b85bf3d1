//! `--fix`: directories, rights, `agent.pool.min`. Nothing that a person could want otherwise.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::check::Check;
use super::{files, Context};
use crate::config::files::{create_dir, write_atomic};
use crate::config::{has_errors, Issue, Severity};

/// Corrects what can be, and says what was done.
pub fn fix(context: &Context) -> Vec<Check> {
    let Context { loaded, paths, .. } = context;
    let root = paths.data_root();
    if let Some(uid) = files::foreign(root) {
        let text = format!("nothing is changed: {} belongs to user {uid}", root.display());
        return vec![Check::warning("fix", text).remedy("run pi-gw doctor --fix as that user")];
    }
    let mut done = Vec::new();
    // With a wrong key, its default may name the wrong directory.
    let pool = |issue: &&Issue| issue.key == "agent.pool.min" && issue.severity == Severity::Error;
    let others: Vec<Issue> = loaded.issues.iter().filter(|issue| !pool(issue)).cloned().collect();
    if !has_errors(&others) {
        let run = root.join("run");
        let dirs =
            [root, &paths.sessions_dir(), &paths.credentials_dir(), &run, &paths.logs_dir()].map(Path::to_path_buf);
        for dir in dirs.iter().filter(|dir| !dir.exists()) {
            done.push(said(
                create_dir(dir),
                format!("made {}", dir.display()),
                format!("cannot make {}", dir.display()),
            ));
        }
    }
    for file in files::loose(paths) {
        let path = file.path.display();
        let result = fs::set_permissions(&file.path, Permissions::from_mode(file.wanted));
        done.push(said(
            result,
            format!("{path}: mode {:o} is now {:o}", file.mode, file.wanted),
            format!("cannot change {path}"),
        ));
    }
    if loaded.issues.iter().any(|issue| issue.key == "config.permissions") {
        let path = loaded.path.display();
        let result = fs::set_permissions(&loaded.path, Permissions::from_mode(0o600));
        done.push(said(result, format!("{path}: mode is now 600"), format!("cannot change {path}")));
    }
    if let Some(issue) = loaded.issues.iter().find(pool) {
        done.extend(lower_min(context, issue));
    }
    if done.is_empty() {
        done.push(Check::ok("fix", "nothing to correct"));
    }
    done
}

fn said(result: std::io::Result<()>, done: String, failed: String) -> Check {
    match result {
        Ok(()) => Check::ok("fix", done),
        Err(error) => Check::error("fix", format!("{failed}: {error}")).remedy("run this as its owner"),
    }
}

/// `agent.pool.min` where it is written, so that comments stay.
fn lower_min(context: &Context, issue: &Issue) -> Option<Check> {
    let pool = &context.loaded.config.agent.pool;
    let path = &context.loaded.path;
    let text = fs::read_to_string(path).ok()?;
    let new = replaced(&text, issue.pos?.line as usize, issue.pos?.column as usize, pool.min, pool.max);
    let Some(new) = new else {
        let text = "agent.pool.min is more than agent.pool.max, but not written as a number";
        return Some(Check::warning("fix", text).remedy("correct it by hand"));
    };
    let done = format!("agent.pool.min: {} is now {}", pool.min, pool.max);
    Some(said(write_atomic(path, new.as_bytes()), done, format!("cannot write {}", path.display())))
}

/// The text with the number at a place (both from 1, column in characters) replaced, if it is there.
fn replaced(text: &str, line: usize, column: usize, old: u32, new: u32) -> Option<String> {
    let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let (column, _) = text[start..].char_indices().nth(column.checked_sub(1)?)?;
    let at = start + column;
    let rest = text[at..].strip_prefix(&old.to_string())?;
    (!rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')).then(|| format!("{}{new}{rest}", &text[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_replaced_where_it_stands() {
        let text = "{\n // ü\n \"ü\": 12, // 12\n}";
        assert_eq!(replaced(text, 3, 7, 12, 4).as_deref(), Some("{\n // ü\n \"ü\": 4, // 12\n}"));
        for (line, column, old) in [(3, 7, 1), (3, 8, 12), (9, 1, 12), (0, 0, 12)] {
            assert_eq!(replaced(text, line, column, old, 4), None);
        }
    }
}
