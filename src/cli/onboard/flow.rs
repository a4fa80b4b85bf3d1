//! The questions, in their order. Answers complete what the options say; what an option says is not asked.

use std::net::IpAddr;

use super::ask::Ask;
use super::checks::{self, Finding};
use super::draft::{Base, Draft, WORKSPACE};
use super::given::{self, absolute, command, weak, Given, Secrets};
use super::{broken, say, shown_text, wrapped, Stop, RISK};
use crate::cli::{install, Call, Io};
use crate::config::types::{AuthMode, Bind};
use crate::config::{self, Env};

/// What the questions led to.
pub struct Outcome {
    pub base: Base,
    pub draft: Draft,
    pub daemon: bool,
}

pub fn run(call: &Call, env: &Env, given: Given, ask: &Ask, io: &mut Io<'_>) -> Result<Outcome, Stop> {
    let mut reset = call.has("--reset");
    let path = config::find(env, call.config().as_deref()).path;
    // Before anything is asked: a file that is wrong is not worth a question.
    let base = Base::new(&path, reset, env).map_err(|issues| broken(&issues, call))?;
    io.tell(wrapped(RISK, ask.columns()));
    if !call.has("--accept-risk") && !ask.yes("Is that what you want?", false)? {
        return Err(ask.cancel());
    }
    let mut flow = Flow { env, call, ask, base, given };
    let mut default_flow = 0;
    if flow.base.old.is_some() && !reset {
        io.tell(format_args!("\nThere is a configuration, {}", path.display()));
        let items = ["keep it as it is", "change it", "begin anew (it is kept as .bak)"];
        let changes = usize::from(flow.given != Given::default());
        match ask.one("What about it?", &items, changes)? {
            0 => return flow.keep(io),
            1 => default_flow = 1,
            _ => reset = true,
        }
        if reset {
            flow.base = Base::new(&path, true, env).map_err(|issues| broken(&issues, call))?;
        }
    }
    let advanced = match call.value("--flow") {
        Some(name) => name == "advanced",
        None => ask.one("How?", &["quick start, with defaults", "advanced, asks everything"], default_flow)? == 1,
    };
    flow.questions(advanced, io)
}

struct Flow<'a> {
    env: &'a Env,
    call: &'a Call,
    ask: &'a Ask,
    base: Base,
    given: Given,
}

impl Flow<'_> {
    /// The file as it is, looked at.
    fn keep(mut self, io: &mut Io<'_>) -> Result<Outcome, Stop> {
        self.given = Given::default();
        let draft = self.draft()?;
        self.all_checks(&draft, io)?;
        Ok(Outcome { base: self.base, draft, daemon: self.call.has("--install-daemon") })
    }

    fn questions(mut self, advanced: bool, io: &mut Io<'_>) -> Result<Outcome, Stop> {
        let mut daemon = self.call.has("--install-daemon");
        self.needed(io)?;
        if advanced {
            self.workspace()?;
        }
        self.pi(advanced, io)?;
        if advanced {
            self.pool()?;
            self.port(io)?;
            self.bind()?;
            self.auth(io)?;
        }
        self.telegram(advanced, io)?;
        if advanced {
            self.secrets()?;
        }
        let draft = super::settled(&self.base, &mut self.given, self.env, io)?;
        if advanced && !daemon && install::has_systemd(self.env) {
            daemon = self.ask.yes("Start it with the system?", false)?;
        }
        io.tell(format_args!("\n{} will be:\n", self.base.path.display()));
        io.tell(shown_text(&draft));
        draft.notes.iter().for_each(|note| io.tell(note));
        if !self.call.has("--dry-run") && !self.ask.yes("Write it?", true)? {
            return Err(self.ask.cancel());
        }
        Ok(Outcome { base: self.base, draft, daemon })
    }

    fn draft(&self) -> Result<Draft, Stop> {
        super::drafted(&self.base, &self.given, self.env)
    }

    /// What an option asks for and only a person can tell.
    fn needed(&mut self, io: &mut Io<'_>) -> Result<(), Stop> {
        let missing = self.given.password.is_none() && self.base.loaded.config.gateway.auth.password.is_none();
        if self.given.auth == Some(AuthMode::Password) && missing {
            self.password(io)?;
        }
        Ok(())
    }

    fn workspace(&mut self) -> Result<(), Stop> {
        if self.given.workspace.is_some() {
            return Ok(());
        }
        let agents = &self.base.loaded.config.agents;
        let now =
            agents.list.iter().find(|agent| agent.id == agents.default).and_then(|agent| agent.workspace.as_ref());
        let default = now.map_or(WORKSPACE.to_owned(), |path| path.to_string_lossy().into_owned());
        let answer = self.ask.text("The agent works in", &default, &|_| Ok(()))?;
        if answer != default || now.is_none() {
            self.given.workspace = Some(absolute(&answer, self.env));
        }
        Ok(())
    }

    // ---------------------------------------------------------------- pi

    fn pi(&mut self, advanced: bool, io: &mut Io<'_>) -> Result<(), Stop> {
        let mut asked = !advanced || self.given.pi.is_some();
        loop {
            if !asked {
                let default = self.given.pi.clone().unwrap_or_else(|| self.base.loaded.config.agent.pi_cli.clone());
                let answer = self.ask.text("pi is called", &default.join(" "), &|_| Ok(()))?;
                if answer != default.join(" ") {
                    self.given.pi = Some(command(&answer, self.env));
                }
            }
            let draft = self.draft()?;
            if self.try_out("Looking for pi ...", &draft, checks::pi, io)? {
                return self.model(advanced, io);
            }
            match self.what_now("another program")? {
                Now::Another => asked = false,
                Now::Again => asked = true,
                Now::GoOn => return Ok(()),
            }
        }
    }

    fn model(&mut self, advanced: bool, io: &mut Io<'_>) -> Result<(), Stop> {
        let mut asked = !advanced || self.given.model.is_some();
        loop {
            if !asked {
                let now = self.given.model.as_ref().or(self.base.loaded.config.agent.model.as_ref());
                let default = now.cloned().unwrap_or_default();
                let what = if default.is_empty() { "Model (empty: pi's own)" } else { "Model" };
                let answer = self.ask.text(what, &default, &|_| Ok(()))?;
                if answer != default {
                    self.given.model = Some(answer);
                }
            }
            let draft = self.draft()?;
            if self.try_out("Asking the model ...", &draft, checks::model, io)? {
                return Ok(());
            }
            match self.what_now("another model")? {
                Now::Another => asked = false,
                Now::Again => asked = true,
                Now::GoOn => return Ok(()),
            }
        }
    }

    fn pool(&mut self) -> Result<(), Stop> {
        let pool = &self.base.loaded.config.agent.pool;
        let (min, max) = (pool.min, pool.max);
        if self.given.pool_max.is_none() {
            let answer = self.number("pi processes at most", max, 1, 100)?;
            self.given.pool_max = Some(answer).filter(|n| *n != max);
        }
        let most = self.given.pool_max.unwrap_or(max);
        if self.given.pool_min.is_none() {
            let answer = self.number("of them kept ready", min.min(most), 0, most)?;
            self.given.pool_min = Some(answer).filter(|n| *n != min);
        }
        Ok(())
    }

    fn number(&self, what: &str, default: u32, least: u32, most: u32) -> Result<u32, Stop> {
        let wrong = || format!("a whole number from {least} to {most}");
        let read = |text: &str| text.parse::<u32>().ok().filter(|n| (least..=most).contains(n)).ok_or_else(wrong);
        let answer = self.ask.text(what, &default.to_string(), &|text| read(text).map(drop))?;
        Ok(read(&answer).unwrap_or(default))
    }

    // ---------------------------------------------------------------- the port

    fn port(&mut self, io: &mut Io<'_>) -> Result<(), Stop> {
        if self.given.port.is_some() {
            return Ok(());
        }
        let now = self.base.loaded.config.gateway.port;
        let port = self.number("Port", now.into(), 1, 65535)?;
        self.given.port = u16::try_from(port).ok().filter(|port| *port != now);
        // A busy one is replaced and that is said.
        super::settled(&self.base, &mut self.given, self.env, io).map(drop)
    }

    fn bind(&mut self) -> Result<(), Stop> {
        if self.given.bind.is_some() {
            return Ok(());
        }
        let now = self.base.loaded.config.gateway.bind;
        let items = ["this machine only", "other machines too", "one address"];
        let default = match now {
            Bind::Loopback => 0,
            Bind::All => 1,
            Bind::Address(_) => 2,
        };
        let answer = self.ask.one("Who reaches the port?", &items, default)?;
        self.given.bind = match (answer, now) {
            (0, Bind::Loopback) | (1, Bind::All) => None,
            (0, _) => Some("loopback".into()),
            (1, _) => Some("lan".into()),
            _ => {
                let own = if let Bind::Address(address) = now { address.to_string() } else { String::new() };
                let test = |text: &str| text.parse::<IpAddr>().map(drop).map_err(|_| "an IP address".to_owned());
                let answer = self.ask.text("Address", &own, &test)?;
                Some(answer).filter(|answer| *answer != own)
            }
        };
        Ok(())
    }

    fn auth(&mut self, io: &mut Io<'_>) -> Result<(), Stop> {
        if self.given.auth.is_some() {
            return Ok(());
        }
        let auth = &self.base.loaded.config.gateway.auth;
        let now = auth.mode;
        let kept = (auth.token.is_some(), auth.password.is_some());
        let items = ["a token", "a password", "nothing at all"];
        let default = match now {
            AuthMode::Token => 0,
            AuthMode::Password => 1,
            AuthMode::Off => 2,
        };
        loop {
            match self.ask.one("What protects it?", &items, default)? {
                0 => {
                    let what = if kept.0 { "Token (empty: as it is)" } else { "Token (empty: make one)" };
                    let token = self.ask.secret(what, &|_| Ok(()))?;
                    self.given.auth = Some(AuthMode::Token);
                    self.given.token = Some(token).filter(|token| !token.is_empty());
                    return Ok(());
                }
                1 if kept.1 && !self.ask.yes("A new password?", false)? => {
                    self.given.auth = Some(AuthMode::Password);
                    return Ok(());
                }
                1 => return self.password(io),
                _ => {
                    let text = "Then everyone who reaches the port, every program and web page, commands the agent.";
                    io.tell(wrapped(text, self.ask.columns()));
                    if self.ask.yes("Is that meant?", false)? {
                        self.given.auth = Some(AuthMode::Off);
                        return Ok(());
                    }
                }
            }
        }
    }

    fn password(&mut self, io: &mut Io<'_>) -> Result<(), Stop> {
        let env = self.env;
        loop {
            let test = |text: &str| weak(text, env).map_or(Ok(()), |why| Err(format!("The password {why}")));
            let password = self.ask.secret("Password", &test)?;
            if self.ask.secret("Once more", &|_| Ok(()))? == password {
                self.given.auth = Some(AuthMode::Password);
                self.given.password = Some(password);
                return Ok(());
            }
            io.tell("These two differ.");
        }
    }

    // ---------------------------------------------------------------- channels

    fn telegram(&mut self, advanced: bool, io: &mut Io<'_>) -> Result<(), Stop> {
        let has = self.base.loaded.config.channels.telegram.active().next().is_some();
        let mut asked = self.given.telegram.is_some();
        if !asked && !advanced {
            return Ok(());
        }
        if !asked && !self.ask.yes(if has { "Another token for the bot?" } else { "A Telegram bot?" }, false)? {
            return Ok(());
        }
        loop {
            if !asked {
                let text = "Write /newbot to @BotFather in Telegram; it gives you the token.";
                io.tell(wrapped(text, self.ask.columns()));
                let test = |text: &str| match text.is_empty() || given::variable(text).is_some() {
                    true => Ok(()),
                    false => config::telegram_token(text),
                };
                let token = self.ask.secret("Token (empty: none)", &test)?;
                self.given.telegram = Some(token).filter(|token| !token.is_empty());
            }
            if self.given.telegram.is_none() {
                return Ok(());
            }
            let tried = match self.draft() {
                Ok(draft) => self.try_out("Asking Telegram ...", &draft, checks::bots, io)?,
                Err((_, why)) => {
                    io.tell(why);
                    false
                }
            };
            if tried {
                return Ok(());
            }
            match self.what_now("another token")? {
                Now::Another => asked = false,
                Now::Again => asked = true,
                Now::GoOn => return Ok(()),
            }
        }
    }

    fn secrets(&mut self) -> Result<(), Stop> {
        let given = &self.given;
        let own = [&given.token, &given.password, &given.telegram, &given.discord];
        let literal = own.into_iter().flatten().chain(given.feishu.as_ref().map(|(_, secret)| secret));
        if self.call.value("--secrets").is_some() || literal.filter(|text| given::variable(text).is_none()).count() == 0
        {
            return Ok(());
        }
        let items = ["in the file, for your eyes only", "apart, in the service's env file"];
        if self.ask.one("Where do secrets go?", &items, 0)? == 1 {
            self.given.secrets = Secrets::Env;
        }
        Ok(())
    }

    // ---------------------------------------------------------------- checks

    /// Whether everything is well; says what it found. Without checks everything is.
    fn try_out(
        &self,
        what: &str,
        draft: &Draft,
        check: fn(&Draft) -> Vec<Finding>,
        io: &mut Io<'_>,
    ) -> Result<bool, Stop> {
        if self.call.has("--offline") {
            return Ok(true);
        }
        io.tell(what);
        let found = self.ask.meanwhile(|| check(draft))?;
        found.iter().for_each(|finding| say(&finding.check, &draft.loaded, io));
        Ok(!found.iter().any(Finding::bad))
    }

    fn all_checks(&self, draft: &Draft, io: &mut Io<'_>) -> Result<(), Stop> {
        self.try_out("Asking Telegram ...", draft, checks::bots, io)?;
        if self.try_out("Looking for pi ...", draft, checks::pi, io)? {
            self.try_out("Asking the model ...", draft, checks::model, io)?;
        }
        Ok(())
    }

    fn what_now(&self, another: &str) -> Result<Now, Stop> {
        Ok(match self.ask.one("What now?", &[another, "try again", "go on anyway", "stop here"], 0)? {
            0 => Now::Another,
            1 => Now::Again,
            2 => Now::GoOn,
            _ => return Err(self.ask.cancel()),
        })
    }
}

enum Now {
    Another,
    Again,
    GoOn,
}
