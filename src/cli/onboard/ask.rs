//! Questions to a person: with menus and line editing, or line by line on a terminal that can do no more.

use std::io::{self, BufRead, Write};

use dialoguer::console::{Key, Term};
use dialoguer::theme::{ColorfulTheme, SimpleTheme, Theme};
use dialoguer::{Confirm, Input, Select};

use super::terminal::{Mode, Terminal, CANCELLED};
use super::{Stop, WIDTH};
use crate::cli::exit;
use crate::config::Env;

/// Menus need room for their lines.
const NARROW: u16 = 24;
/// A secret is shorter.
const LONGEST: usize = 4096;

/// Says why an answer will not do.
pub type Test<'a> = &'a dyn Fn(&str) -> Result<(), String>;

pub struct Ask {
    pub terminal: Terminal,
    term: Term,
    theme: Box<dyn Theme>,
    /// Line by line, without any control sequence.
    plain: bool,
}

impl Ask {
    pub fn new(env: &Env) -> io::Result<Ask> {
        let terminal = Terminal::take()?;
        let term = Term::stderr();
        let dumb = env.var("TERM").is_none_or(|name| name == "dumb");
        let plain = dumb || term.size_checked().is_none_or(|(_, columns)| columns < NARROW);
        let letters = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env.var(name));
        let utf8 = letters.is_some_and(|name| name.to_ascii_uppercase().replace('-', "").contains("UTF8"));
        let theme: Box<dyn Theme> = match utf8 {
            true => Box::new(ColorfulTheme::default()),
            false => Box::new(SimpleTheme),
        };
        Ok(Ask { terminal, term, theme, plain })
    }

    fn stop(&self, error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::Interrupted => self.terminal.leave(),
            io::ErrorKind::UnexpectedEof => {}
            _ => return (exit::FAILED, format!("the terminal: {error}")),
        }
        self.cancel()
    }

    /// Room for prose in a line.
    pub fn columns(&self) -> usize {
        self.term.size_checked().map_or(WIDTH, |(_, columns)| WIDTH.min(usize::from(columns)))
    }

    /// The user does not want to go on.
    pub fn cancel(&self) -> Stop {
        self.terminal.settle();
        (exit::CANCELLED, CANCELLED.into())
    }

    /// Does something that takes its time; Ctrl-C ends it all.
    pub fn meanwhile<T>(&self, job: impl FnOnce() -> T) -> Result<T, Stop> {
        self.terminal.away(Mode::Busy, job).map_err(|error| self.stop(error))
    }

    fn of<T>(&self, answer: dialoguer::Result<T>) -> Result<T, Stop> {
        answer.map_err(|dialoguer::Error::IO(error)| self.stop(error))
    }

    /// A line of text; an empty one is the default.
    pub fn text(&self, what: &str, default: &str, test: Test<'_>) -> Result<String, Stop> {
        if self.plain {
            loop {
                let given = match default {
                    "" => format!("{what}: "),
                    _ => format!("{what} [{default}]: "),
                };
                let line = self.line(&given, true)?;
                let answer = if line.is_empty() { default.to_owned() } else { line };
                match test(&answer) {
                    Ok(()) => return Ok(answer),
                    Err(why) => self.tell(&why),
                }
            }
        }
        let input = Input::<String>::with_theme(&*self.theme).with_prompt(what).allow_empty(true);
        let input = if default.is_empty() { input } else { input.default(default.to_owned()) };
        let input = input.validate_with(|text: &String| test(text.trim()));
        self.of(input.interact_text_on(&self.term)).map(|text| text.trim().to_owned())
    }

    /// A line of text that is not shown; it may be empty.
    pub fn secret(&self, what: &str, test: Test<'_>) -> Result<String, Stop> {
        loop {
            let prompt = format!("{what} (not shown): ");
            let answer = match self.plain {
                true => self.line(&prompt, false)?,
                false => self.keys(&prompt).map_err(|error| self.stop(error))?,
            };
            match test(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) => self.tell(&why),
            }
        }
    }

    /// Keys until Enter. Between two keys the terminal shows nothing either ([`Terminal`]), so a long text that is
    /// pasted stays hidden.
    fn keys(&self, prompt: &str) -> io::Result<String> {
        self.term.write_str(prompt)?;
        let mut text = String::new();
        loop {
            match self.term.read_key()? {
                Key::Enter => break,
                Key::Backspace => drop(text.pop()),
                Key::Char('\u{15}') => text.clear(), // Ctrl-U
                Key::Char(letter) if !letter.is_control() && text.len() < LONGEST => text.push(letter),
                _ => {}
            }
        }
        self.term.write_line("")?;
        Ok(text.trim().to_owned())
    }

    pub fn yes(&self, what: &str, default: bool) -> Result<bool, Stop> {
        if self.plain {
            loop {
                let line = self.line(&format!("{what} [{}]: ", if default { "Y/n" } else { "y/N" }), true)?;
                match line.to_ascii_lowercase().as_str() {
                    "" => return Ok(default),
                    "y" | "yes" => return Ok(true),
                    "n" | "no" => return Ok(false),
                    _ => self.tell("y or n"),
                }
            }
        }
        let confirm = Confirm::with_theme(&*self.theme).with_prompt(what).default(default).wait_for_newline(true);
        self.of(confirm.interact_on(&self.term))
    }

    /// One of a list, by its place.
    pub fn one(&self, what: &str, items: &[&str], default: usize) -> Result<usize, Stop> {
        if self.plain {
            loop {
                items.iter().enumerate().for_each(|(i, item)| self.tell(&format!("  {}  {item}", i + 1)));
                let line = self.line(&format!("{what} [{}]: ", default + 1), true)?;
                match line.parse::<usize>() {
                    _ if line.is_empty() => return Ok(default),
                    Ok(n) if (1..=items.len()).contains(&n) => return Ok(n - 1),
                    _ => self.tell(&format!("a number from 1 to {}", items.len())),
                }
            }
        }
        let select = Select::with_theme(&*self.theme).with_prompt(what).items(items).default(default);
        self.of(select.interact_on(&self.term))
    }

    fn tell(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}"); // a terminal that is gone is noticed by the next question
    }

    fn line(&self, prompt: &str, echo: bool) -> Result<String, Stop> {
        let read = || -> io::Result<String> {
            write!(io::stderr(), "{prompt}")?;
            let mut line = String::new();
            let n = self.terminal.away(Mode::Line { shown: echo }, || io::stdin().lock().read_line(&mut line))?;
            if !echo {
                writeln!(io::stderr())?;
            }
            match n? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(line.trim().to_owned()),
            }
        };
        read().map_err(|error| self.stop(error))
    }
}
