//! The text of the unit: the one that every download holds, with the places of this machine.

use std::path::{Path, PathBuf};

/// It counts for both: what is changed there is changed here.
const TEMPLATE: &str = include_str!("../../../.ci/dist/pi-gateway@.service");

/// What to call for that follows.
const HEAD: &str = "# Written by pi-gw install-daemon, and anew whenever it is called; changes of yours: ";

/// From this line to the next section a user's manager cannot do what it says.
const MACHINE: &str = "# What only the manager of the machine can do.";

/// What the unit is made of.
pub struct Unit {
    /// Of the machine, as that user; else of the user who calls.
    pub system: Option<String>,
    pub binary: PathBuf,
    pub config: PathBuf,
    pub port: Option<String>,
    /// `NAME=value` lines for secrets.
    pub env_file: PathBuf,
    pub path: String,
    pub stop_seconds: u64,
    /// Where the agent may write, the home first.
    pub writable: Vec<PathBuf>,
}

/// `%` begins a specifier everywhere in a unit.
fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

/// Quotes hold what has spaces.
fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A word of a command behind the first, where `$` is a variable too.
fn argument(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

impl Unit {
    pub fn text(&self) -> String {
        let body = TEMPLATE.split_once("[Unit]").map_or(TEMPLATE, |(_, body)| body);
        let edit = match self.system {
            Some(_) => "systemctl edit pi-gateway",
            None => "systemctl --user edit pi-gateway",
        };
        let mut text = format!("{HEAD}{edit}\n[Unit]");
        let mut skipped = false;
        for line in body.lines() {
            skipped = match &self.system {
                None => (skipped || line.starts_with(MACHINE)) && !line.starts_with('['),
                Some(_) => false,
            };
            match line.split_once('=').filter(|_| !line.starts_with('#')) {
                _ if skipped => continue,
                Some((key, _)) => match self.value(key) {
                    Value::AsItIs => text.push_str(line),
                    Value::Is(value) => text.push_str(&format!("{key}={value}")),
                    Value::Without => continue,
                },
                None => text.push_str(&line.replace("systemctl edit pi-gateway@", edit)),
            }
            text.push('\n');
        }
        match self.system {
            Some(_) => text,
            // The blank line before the section went with what was left out.
            None => text.replace("\n[Install]", "\n\n[Install]"),
        }
    }

    fn value(&self, key: &str) -> Value {
        let Unit { system, path, .. } = self;
        Value::Is(match key {
            "Description" => "pi-gateway".into(),
            // A user's manager does not know these.
            "Wants" | "After" if system.is_none() => return Value::Without,
            "User" => match system {
                Some(user) => user.clone(),
                None => return Value::Without,
            },
            "Environment" => quoted(&format!("PATH={path}")),
            "EnvironmentFile" => format!("-{}", plain(&self.env_file.to_string_lossy())),
            "ExecStart" => {
                let port = self.port.as_ref().map_or(String::new(), |port| format!(" --port {port}"));
                let [binary, config] = [&self.binary, &self.config].map(|path| path.to_string_lossy());
                format!("{} gateway --config {}{port}", quoted(&binary), argument(&config))
            }
            "TimeoutStopSec" => self.stop_seconds.to_string(),
            "ReadWritePaths" => {
                let word = |path: &PathBuf| quoted(&format!("-{}", path.to_string_lossy()));
                self.writable.iter().map(word).collect::<Vec<_>>().join(" ")
            }
            "WantedBy" if system.is_none() => "default.target".into(),
            _ => return Value::AsItIs,
        })
    }
}

/// The program that a unit of ours starts, if it is with that configuration.
pub fn program(text: &str, config: &Path) -> Option<PathBuf> {
    let behind = format!(" gateway --config {}", argument(&config.to_string_lossy()));
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=\""))?;
    let (program, _) = line.split_once(&behind)?;
    Some(PathBuf::from(program.strip_suffix('"')?.replace("%%", "%")))
}

enum Value {
    AsItIs,
    Is(String),
    Without,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_pi(system: bool) -> Unit {
        let path = "/home/%i/.local/bin:/home/%i/.npm-global/bin:/usr/local/bin:/usr/bin:/bin";
        Unit {
            system: system.then(|| "pi".to_owned()),
            binary: "/usr/local/bin/pi-gw".into(),
            config: "/home/pi/.pi/gateway/pi-gateway.jsonc".into(),
            port: None,
            env_file: "/home/pi/.pi/gateway/env".into(),
            path: path.replace("%i", "pi"),
            stop_seconds: 120,
            writable: vec!["/home/pi".into()],
        }
    }

    fn settings(text: &str) -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains('='));
        lines.map(|line| line.replace("%i", "pi")).collect()
    }

    #[test]
    fn the_units_that_are_written_and_the_one_in_the_download_differ_only_in_places() {
        let template = settings(TEMPLATE);
        let text = of_pi(true).text();
        let ours = settings(&text);
        let new = |line: &&String| !template.contains(line);
        assert_eq!(
            ours.iter().filter(new).collect::<Vec<_>>(),
            [
                "Description=pi-gateway",
                "Environment=\"PATH=/home/pi/.local/bin:/home/pi/.npm-global/bin:/usr/local/bin:/usr/bin:/bin\"",
                "ExecStart=\"/usr/local/bin/pi-gw\" gateway --config \"/home/pi/.pi/gateway/pi-gateway.jsonc\"",
                "ReadWritePaths=\"-/home/pi\"",
            ]
        );
        assert_eq!(ours.len(), template.len());
        assert!(!text.contains("%i") && !text.contains("pi-gateway@"), "{text}");
        assert!(!TEMPLATE.contains("\nMemoryDenyWriteExecute"), "node makes code while it runs");
    }

    #[test]
    fn a_users_unit_says_nothing_that_a_users_manager_cannot_do() {
        let text = of_pi(false).text();
        for key in ["User=", "Wants=", "After=", "Protect", "Private", "Capability", "SystemCallFilter", "ReadWrite"] {
            assert!(!text.lines().any(|line| line.starts_with(key)), "{key} in\n{text}");
        }
        for line in ["NoNewPrivileges=yes", "LimitNOFILE=4096", "WantedBy=default.target", "[Install]", "[Service]"] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.lines().next().is_some_and(|l| l.ends_with("changes of yours: systemctl --user edit pi-gateway")));
        assert!(!text.contains(MACHINE) && text.contains("\n\n[Install]\n"), "{text}");
    }

    #[test]
    fn places_with_special_letters_are_kept_as_they_are() {
        let odd = PathBuf::from("/a b/100%/c$d/\"e\"\\f");
        let unit = Unit {
            binary: odd.clone(),
            config: odd.clone(),
            env_file: odd.clone(),
            writable: vec![odd],
            path: "/x $y%".into(),
            ..of_pi(true)
        };
        let text = unit.text();
        for line in [
            r#"ExecStart="/a b/100%%/c$d/\"e\"\\f" gateway --config "/a b/100%%/c$$d/\"e\"\\f""#,
            r#"EnvironmentFile=-/a b/100%%/c$d/"e"\f"#,
            r#"ReadWritePaths="-/a b/100%%/c$d/\"e\"\\f""#,
            r#"Environment="PATH=/x $y%%""#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let unit = Unit { binary: "/a b/100%/c$d".into(), ..unit };
        assert_eq!(program(&unit.text(), &unit.config), Some(unit.binary.clone()));
        assert_eq!(program(&unit.text(), Path::new("/other")), None);
    }
}
