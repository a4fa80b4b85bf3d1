//! Every subcommand and option, once: reading the command line, help and "did you mean" follow from it.

use super::{
    config, cron, doctor, exit, gateway, help, install, instance, logs, man, media, onboard, outbox, pairing, send,
    sessions, shells, status, version, Call, Io,
};
use crate::config::Env;

/// An option.
#[derive(Debug)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    pub short: Option<&'static str>,
    /// What its value is called; `None`: it has none. An option that several commands have is the same in all.
    pub value: Option<&'static str>,
    /// All that the value can be, if these are few words.
    pub choices: &'static [&'static str],
    /// It may be given several times.
    pub many: bool,
    pub help: &'static str,
}

/// A subcommand.
pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// One line for the list of commands.
    pub summary: &'static str,
    /// What follows the name, besides options.
    pub arguments: &'static str,
    /// How many arguments it takes at most.
    pub most: usize,
    pub flags: &'static [Flag],
    /// Commands of its own, such as `config show`.
    pub inner: &'static [Command],
    pub run: fn(&Call, &Env, &mut Io<'_>) -> u8,
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: None, choices: &[], many: false, help }
}

const fn valued(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value: Some(value), choices: &[], many: false, help }
}

const fn one_of(flag: Flag, choices: &'static [&'static str]) -> Flag {
    Flag { choices, ..flag }
}

const fn many(flag: Flag) -> Flag {
    Flag { many: true, ..flag }
}

const fn short(flag: Flag, short: &'static str) -> Flag {
    Flag { short: Some(short), ..flag }
}

const fn leaf(
    name: &'static str,
    summary: &'static str,
    flags: &'static [Flag],
    run: fn(&Call, &Env, &mut Io<'_>) -> u8,
) -> Command {
    Command { name, aliases: &[], summary, arguments: "", most: 0, flags, inner: &[], run }
}

/// Options of every command.
pub const GLOBAL: &[Flag] = &[
    valued("--config", "PATH", "use this configuration file"),
    switch("--json", "print data as JSON"),
    short(switch("--quiet", "print only what matters"), "-q"),
    short(switch("--verbose", "print more"), "-v"),
    short(switch("--help", "show help"), "-h"),
    short(switch("--version", "show the version"), "-V"),
];

pub const COMMANDS: &[Command] = &[
    Command {
        aliases: &["start", "run"],
        ..leaf(
            "gateway",
            "run the gateway in the foreground",
            &[
                valued("--port", "N", "listen on this port"),
                one_of(
                    valued("--bind", "WHERE", "listen on loopback, lan, auto or an IP address"),
                    &["loopback", "lan", "auto"],
                ),
                switch("--no-gui", "serve no web page, only the API"),
                switch("--strict", "treat warnings about the configuration as errors"),
                switch("--allow-defaults", "run on defaults if there is no configuration"),
                switch("--check", "validate the configuration and exit"),
                switch("--demo", "use the built-in demo agent instead of pi"),
                switch("--demo-if-no-pi", "use the demo agent only if pi is not found"),
            ],
            gateway::run,
        )
    },
    leaf(
        "onboard",
        "set up the gateway: ask, check, write the configuration",
        &[
            one_of(valued("--flow", "FLOW", "quickstart or advanced"), &["quickstart", "advanced"]),
            valued("--workspace", "PATH", "where the agent works"),
            valued("--port", "N", "listen on this port"),
            one_of(
                valued("--bind", "WHERE", "listen on loopback, lan, auto or an IP address"),
                &["loopback", "lan", "auto"],
            ),
            one_of(valued("--auth", "MODE", "token, password or off"), &["token", "password", "off"]),
            valued("--token", "TOKEN", "the gateway's token; without one it makes its own"),
            valued("--password", "PASSWORD", "the gateway's password"),
            valued("--telegram-token", "TOKEN", "a bot's token, from @BotFather"),
            valued("--discord-token", "TOKEN", "kept for a later version"),
            valued("--feishu-app-id", "ID", "kept for a later version"),
            valued("--feishu-app-secret", "SECRET", "kept for a later version"),
            one_of(
                valued("--secrets", "WHERE", "config, or env: in <data>/env, the configuration says ${NAME}"),
                &["config", "env"],
            ),
            valued("--pi-cli", "PATH", "how pi is called"),
            valued("--pool-min", "N", "pi processes kept ready"),
            valued("--pool-max", "N", "pi processes at most"),
            valued("--model", "MODEL", "such as anthropic/claude-sonnet-4-5"),
            switch("--install-daemon", "have the system start the gateway, as install-daemon does"),
            switch("--non-interactive", "ask nothing: the options say everything"),
            switch("--accept-risk", "yes, an agent with a shell is meant"),
            switch("--reset", "begin anew; the old file is kept as .bak"),
            switch("--offline", "do not try pi, its model and the bot's token"),
            switch("--force", "write even if one of them fails"),
            switch("--dry-run", "print what would be done"),
        ],
        onboard::run,
    ),
    leaf(
        "doctor",
        "find out what is wrong and what to do about it",
        &[
            switch("--fix", "create missing directories, tighten file rights, correct agent.pool.min"),
            switch("--online", "ask the platforms too"),
        ],
        doctor::run,
    ),
    Command {
        inner: CONFIG,
        arguments: "show|path|check|migrate|reload",
        ..leaf("config", "show, check and reload the configuration", &[], what_to_do)
    },
    Command {
        inner: PAIRING,
        arguments: "list|approve|deny|allow|revoke",
        ..leaf("pairing", "let people write to the bots, or shut them out", &[], what_to_do)
    },
    Command {
        inner: CRON,
        arguments: "list|add|remove|pause|resume|run|runs|status",
        ..leaf("cron", "scheduled jobs", &[], what_to_do)
    },
    leaf(
        "send",
        "send a message or a file, with or without a gateway",
        &[
            many(valued("--to", "PLACE", "where to: telegram:123456, webchat:default, session:KEY, last")),
            valued("--message", "TEXT", "the text; - or nothing reads standard input"),
            many(valued("--file", "PATH", "a file; may be repeated")),
            valued("--caption", "TEXT", "what stands under the file"),
            one_of(valued("--format", "FORM", "markdown, html or plain"), &["markdown", "html", "plain"]),
            one_of(valued("--via", "HOW", "auto, direct or gateway"), &["auto", "direct", "gateway"]),
            valued("--reply-to", "ID", "as an answer to this message"),
            switch("--silent", "without a sound"),
            valued("--retries", "N", "so many tries more if it fails for now (3)"),
            valued("--timeout", "N", "give up after so many seconds (30)"),
            switch("--spool", "if it fails for now, leave it for the gateway to send"),
            valued("--expire", "TIME", "what was left for it is good so long, such as 2h (24h)"),
            valued("--dedupe-key", "KEY", "send what has this key once in 24 hours"),
            switch("--dry-run", "print what would be sent"),
        ],
        send::run,
    ),
    leaf("status", "what is connected, queued and owed", &[], status::run),
    Command {
        aliases: &["sessions"],
        inner: SESSION,
        arguments: "list|show|reset|export",
        ..leaf("session", "the conversations", &[], what_to_do)
    },
    Command {
        inner: OUTBOX,
        arguments: "list|retry|drop",
        ..leaf("outbox", "what is owed to people, and what could not be delivered", &[], what_to_do)
    },
    Command {
        aliases: &["channels"],
        inner: CHANNEL,
        arguments: "list|restart",
        ..leaf("channel", "the platforms' accounts", &[], what_to_do)
    },
    Command {
        inner: MEDIA,
        arguments: "stats|clean|sticker-cache",
        ..leaf("media", "files that were received", &[], what_to_do)
    },
    leaf(
        "logs",
        "print the log, where it goes to files",
        &[
            switch("--follow", "go on with what comes"),
            valued("--since", "TIME", "such as 30m, 1h or 2d; without it the newest file"),
        ],
        logs::run,
    ),
    leaf(
        "install-daemon",
        "have the gateway started by the system",
        &[
            switch("--system", "for the whole machine, not for this user (root)"),
            valued("--user", "NAME", "the user it runs as, with --system"),
            valued("--port", "N", "listen on this port"),
            switch("--dry-run", "print what would be done"),
        ],
        install::run,
    ),
    leaf(
        "uninstall-daemon",
        "undo install-daemon",
        &[
            switch("--system", "for the whole machine, not for this user (root)"),
            switch("--dry-run", "print what would be done"),
        ],
        install::undo,
    ),
    Command {
        arguments: "bash|zsh|fish",
        most: 1,
        ..leaf("completions", "print what a shell needs to complete commands", &[], shells::run)
    },
    leaf("man", "print the manual page", &[], man::run),
    Command { arguments: "[COMMAND]", most: 2, ..leaf("help", "show help about a command", &[], help::run) },
    leaf("version", "show the version", &[], version::run),
];

const CONFIG: &[Command] = &[
    leaf(
        "show",
        "print the effective configuration without secrets",
        &[
            valued("--path", "KEY", "print one value, such as gateway.port"),
            switch("--defaults", "print the built-in defaults"),
            switch("--reveal", "print secrets too, on a terminal only"),
        ],
        config::show,
    ),
    leaf("path", "print the path of the file in use", &[], config::path),
    leaf(
        "check",
        "list everything that is wrong",
        &[switch("--strict", "treat warnings about the configuration as errors")],
        config::check,
    ),
    leaf(
        "migrate",
        "show what old forms the file has",
        &[switch("--write", "rewrite the file, keeping its comments")],
        config::migrate,
    ),
    leaf("reload", "make the running gateway read its file again", &[], |call, env, io| {
        config::reload(call, env, io, &mut |loaded| instance::reload(&loaded.paths(env).pid_file()))
    }),
];

const ACCOUNT: Flag = valued("--account", "NAME", "of this account of the channel only");

const PAIRING: &[Command] = &[
    leaf(
        "list",
        "show who asks to be let in",
        &[
            valued("--channel", "NAME", "of this channel only"),
            ACCOUNT,
            switch("--approved", "show who was let in instead"),
        ],
        pairing::list,
    ),
    Command {
        arguments: "[CHANNEL] CODE",
        most: 2,
        ..leaf("approve", "let in who was given this code", &[ACCOUNT], pairing::approve)
    },
    Command {
        arguments: "[CHANNEL] CODE",
        most: 2,
        ..leaf("deny", "drop the request with this code", &[ACCOUNT], pairing::deny)
    },
    Command {
        arguments: "CHANNEL SENDER",
        most: 2,
        ..leaf("allow", "let in a sender who has not asked", &[ACCOUNT], pairing::allow)
    },
    Command {
        arguments: "CHANNEL SENDER",
        most: 2,
        ..leaf("revoke", "shut a sender out again", &[ACCOUNT], pairing::revoke)
    },
];

const fn of_job(command: Command) -> Command {
    Command { arguments: "ID", most: 1, ..command }
}

const CRON: &[Command] = &[
    leaf("list", "show the jobs", &[], cron::list),
    of_job(leaf(
        "add",
        "make a job",
        &[
            valued("--schedule", "EXPR", "such as 15m, \"0 9 * * 1-5\", +20m, \"2026-03-01 10:00\""),
            valued("--text", "TASK", "what the agent is to do; - reads standard input"),
            one_of(valued("--kind", "KIND", "cron, at or every, if EXPR does not say it"), &["cron", "at", "every"]),
            valued("--tz", "ZONE", "time zone, such as Europe/Berlin"),
            valued("--agent", "ID", "the agent that does it"),
            valued("--session", "KEY", "the conversation it runs in"),
            one_of(
                valued("--mode", "MODE", "isolated, or main: in the agent's main conversation"),
                &["isolated", "main"],
            ),
            one_of(valued("--delivery", "HOW", "announce, direct or silent"), &["announce", "direct", "silent"]),
            valued("--channel", "NAME", "of this channel only"),
            valued("--to", "PLACE", "who hears of the result, such as 123456 or -1001:topic:7"),
            valued("--timeout", "N", "how long a run may take, in ms"),
            switch("--once", "remove the job after it was done"),
            switch("--replace", "take the place of a job with that name"),
        ],
        cron::add,
    )),
    of_job(leaf("remove", "remove a job", &[], cron::remove)),
    of_job(leaf("pause", "let a job rest", &[], cron::pause)),
    of_job(leaf("resume", "let a job run again", &[], cron::resume)),
    of_job(leaf("run", "run a job now", &[switch("--wait", "wait for its result and print it")], cron::run)),
    of_job(leaf("runs", "show a job's last runs", &[valued("--limit", "N", "so many at most")], cron::runs)),
    leaf("status", "how many jobs there are", &[], cron::status),
];

const LIMIT: Flag = valued("--limit", "N", "so many at most");
const OF_CHANNEL: Flag = valued("--channel", "NAME", "of this channel only");

const fn of_session(command: Command) -> Command {
    Command { arguments: "KEY", most: 1, ..command }
}

const SESSION: &[Command] = &[
    leaf("list", "show the conversations, the latest first", &[LIMIT], sessions::list),
    of_session(leaf("show", "show a conversation and its last lines", &[], sessions::show)),
    of_session(leaf("reset", "begin a conversation anew", &[], sessions::reset)),
    of_session(leaf(
        "export",
        "print a whole conversation as Markdown, with --json as JSON lines",
        &[],
        sessions::export,
    )),
];

const OUTBOX: &[Command] = &[
    leaf("list", "show what is owed and what failed", &[LIMIT], outbox::list),
    of_job(leaf("retry", "send again what failed", &[], outbox::retry)),
    of_job(leaf("drop", "do not send it any more", &[], outbox::drop)),
];

const CHANNEL: &[Command] = &[
    leaf("list", "show how every account stands", &[], status::channels),
    Command {
        arguments: "CHANNEL[:ACCOUNT]",
        most: 1,
        ..leaf("restart", "begin an account anew", &[], status::restart)
    },
];

const MEDIA: &[Command] = &[
    leaf("stats", "how much there is", &[OF_CHANNEL], media::stats),
    leaf(
        "clean",
        "remove old files",
        &[
            valued("--days", "N", "older than so many days (30)"),
            OF_CHANNEL,
            switch("--dry-run", "print what would be done"),
        ],
        media::clean,
    ),
    Command {
        inner: STICKER_CACHE,
        arguments: "stats|prune|clear",
        ..leaf("sticker-cache", "Telegram's stickers that were fetched before", &[], what_to_do)
    },
];

const STICKER_CACHE: &[Command] = &[
    leaf("stats", "how many are known", &[], media::stickers),
    leaf("prune", "forget those whose files are gone", &[], media::prune_stickers),
    leaf("clear", "forget all; the files stay", &[], media::clear_stickers),
];

/// Commands of later versions: known, so that nobody looks for a typing error.
pub const LATER: &[&str] = &["sticker", "plugin"];

/// A command that is nothing without one of its own.
fn what_to_do(call: &Call, _: &Env, io: &mut Io<'_>) -> u8 {
    io.tell(format_args!("\"{}\" needs to know what to do", call.line));
    io.tell(help::usage(&call.line, call.command));
    exit::USAGE
}

/// The command of that name or alias.
pub fn find(commands: &'static [Command], name: &str) -> Option<&'static Command> {
    commands.iter().find(|command| command.name == name || command.aliases.contains(&name))
}

/// Every option of every command, each once.
pub fn all_flags() -> Vec<&'static Flag> {
    fn gather(commands: &'static [Command], flags: &mut Vec<&'static Flag>) {
        for command in commands {
            let new = |flag: &&Flag| !flags.iter().any(|known| known.name == flag.name);
            let more: Vec<_> = command.flags.iter().filter(new).collect();
            flags.extend(more);
            gather(command.inner, flags);
        }
    }
    let mut flags = GLOBAL.iter().collect();
    gather(COMMANDS, &mut flags);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_the_same_in_all_commands() {
        let all = all_flags();
        for command in
            COMMANDS.iter().chain(CONFIG).chain(PAIRING).chain(CRON).chain(SESSION).chain(OUTBOX).chain(MEDIA)
        {
            for flag in command.flags {
                let first = all.iter().find(|known| known.name == flag.name).expect("gathered");
                assert_eq!(
                    (first.short, first.value, first.choices),
                    (flag.short, flag.value, flag.choices),
                    "{} {}",
                    command.name,
                    flag.name
                );
                assert!(!GLOBAL.iter().any(|global| global.name == flag.name), "{} is global", flag.name);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = COMMANDS.iter().flat_map(|c| c.aliases.iter().chain([&c.name])).chain(LATER).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
