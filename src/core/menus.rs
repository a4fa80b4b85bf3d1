//! Menus: pages of buttons from which people choose a model, a level, a role, a conversation, a skill (telegram.md 11).

use super::command_list::LEVELS;
use super::keys::{self, Act, Key, Menu};
use super::presses::KEYS_LIFE;
use super::prompt;
use super::session::Session;
use super::State;
use crate::message::*;
use crate::rules::Keys;
use crate::store::{inbox_state as st, Action, InboxRow, Result, MENU};

const PER_PAGE: usize = 10;
const ROLES: usize = 12;

impl State {
    /// How many buttons a message of that account may have; `None`: there are none.
    pub(super) fn keys_of(&self, source: &Source) -> Option<Keys> {
        self.rules.account(source).map(|a| a.keys).filter(|k| k.most > 0)
    }

    /// Answers the command with a menu, or with `text` where there are no buttons.
    pub(super) fn offer(&mut self, s: &mut Session, row: &InboxRow, menu: Menu, text: String) -> Result<()> {
        if self.keys_of(&row.source).is_none() {
            return self.notice(s, Some(row.id), &text, st::COMMAND, None);
        }
        let content = self.menu(s, &row.source, menu)?;
        self.notice_with(s, row.id, content)
    }

    /// The page, its keyboard registered for who asked.
    pub(super) fn menu(&mut self, s: &Session, source: &Source, menu: Menu) -> Result<Content> {
        let (text, mut rows) = self.page(s, source, menu)?;
        let keys = self.keys_of(source).unwrap_or_default();
        if rows.is_empty() {
            return Ok(Content { text, ..Content::default() });
        }
        rows = rows.into_iter().flat_map(|row| in_rows(row, keys.per_row)).collect();
        let id = (self.random)(8);
        let (buttons, acts) = keys::numbered(&id, rows);
        self.store.add_action(&Action {
            id,
            kind: MENU.into(),
            channel: source.channel.clone(),
            account: source.account.clone().unwrap_or_default(),
            chat: self.target_of(source).chat,
            sender: Some(source.sender.clone()),
            session: s.key.to_string(),
            data: serde_json::to_string(&acts).unwrap_or_default(), // plain data: never fails
            expires: self.now.wall + KEYS_LIFE,
        })?;
        Ok(Content { text, buttons, ..Content::default() })
    }

    fn page(&self, s: &Session, source: &Source, menu: Menu) -> Result<(String, Vec<Vec<Key>>)> {
        let run = |text: &str, command: String| (text.to_owned(), Act::Run(command));
        Ok(match menu {
            Menu::Providers(page) => self.providers(s, page),
            Menu::Models { provider, page } => self.models(s, provider, page),
            Menu::Levels => {
                let now = self.level(s);
                let key = |l: &&str| run(&ticked(l, **l == *now), format!("/think {l}"));
                let rows = LEVELS.chunks(3).map(|row| row.iter().map(key).collect()).collect();
                (format!("Thinking: {now}. Choose a level:"), rows)
            }
            Menu::Roles(names) => {
                let now = s.row.role.as_deref().unwrap_or(crate::roles::DEFAULT);
                let mut rows = Vec::new();
                for name in names.iter().take(ROLES) {
                    let mut row = vec![run(&ticked(name, name == now), format!("/role set {name}"))];
                    if name != crate::roles::DEFAULT {
                        row.push(("🗑".to_owned(), Act::Page(Menu::DeleteRole(name.clone()))));
                    }
                    rows.push(row);
                }
                let more = names.len().saturating_sub(ROLES);
                let more = if more > 0 { format!(" {more} more: /role set <name>.") } else { String::new() };
                (format!("Role: {}.{more} Choose one:", keys::literally(now)), rows)
            }
            Menu::DeleteRole(name) => {
                let keys = vec![run("🗑 Delete", format!("/role delete {name}")), run("Keep it", "/role".to_owned())];
                (format!("Delete the role {}?", keys::literally(&name)), vec![keys])
            }
            Menu::Sessions => {
                let list = self.sessions_of(source)?;
                let key = |r: &crate::store::SessionRow| {
                    let at = prompt::local_time(r.last_at, self.rules.zone.as_ref());
                    let name =
                        r.title.clone().unwrap_or_else(|| r.key.rsplit(':').take(2).collect::<Vec<_>>().join(" "));
                    let text = format!("{} ({}) {name}", at.get(5..16).unwrap_or(&at), r.count);
                    vec![run(&ticked(&text, *r.key == *s.key), format!("/resume {}", r.key))]
                };
                (
                    "Newest conversations. Choose one to go on with its history here:".to_owned(),
                    list.iter().map(key).collect(),
                )
            }
            Menu::Skills(page) => self.skills(page),
            Menu::Help(page) => {
                let list = self.command_list();
                let pages = list.chunks(PER_PAGE).len().max(1);
                let page = page.min(pages - 1);
                let mut text = "Commands:".to_owned();
                for c in list.iter().skip(page * PER_PAGE).take(PER_PAGE) {
                    let args = if c.args.is_empty() { String::new() } else { format!(" {}", c.args) };
                    let whose = if c.pi { " (pi)" } else { "" };
                    text += &format!("\n- `/{}{args}` {}{whose}", c.name, prompt::head(&c.description, 80));
                }
                let turn = keys::turning(page, pages, |n| Act::Page(Menu::Help(n)));
                (text, turn.into_iter().collect())
            }
        })
    }

    fn model_names(&self) -> &[String] {
        self.pi_models.as_ref().map_or(&[], |m| &m.names)
    }

    fn providers(&self, s: &Session, page: usize) -> (String, Vec<Vec<Key>>) {
        let now = self.wanted(s, None).model.unwrap_or_else(|| "pi's default".into());
        let mut list: Vec<&str> = self.model_names().iter().filter_map(|m| Some(m.split_once('/')?.0)).collect();
        list.sort_unstable();
        list.dedup();
        let text = format!("Model: {}.", keys::literally(&now));
        if list.is_empty() {
            return (format!("{text} pi has no other."), Vec::new());
        }
        let pages = list.chunks(2 * PER_PAGE).len();
        let page = page.min(pages - 1);
        let of_now = now.split_once('/').map(|(provider, _)| provider);
        let shown: Vec<&str> = list.into_iter().skip(page * 2 * PER_PAGE).take(2 * PER_PAGE).collect();
        let key =
            |p: &&str| (ticked(p, Some(*p) == of_now), Act::Page(Menu::Models { provider: (*p).to_owned(), page: 0 }));
        let mut rows: Vec<Vec<Key>> = shown.chunks(2).map(|row| row.iter().map(key).collect()).collect();
        rows.extend(keys::turning(page, pages, |n| Act::Page(Menu::Providers(n))));
        if s.row.model.is_some() {
            rows.push(vec![("The configured model".to_owned(), Act::Run("/model default".into()))]);
        }
        (format!("{text} Choose a provider:"), rows)
    }

    fn models(&self, s: &Session, provider: String, page: usize) -> (String, Vec<Vec<Key>>) {
        let now = self.wanted(s, None).model;
        let of_it = |m: &&String| m.split_once('/').is_some_and(|(p, _)| p == provider);
        let mut list: Vec<&String> = self.model_names().iter().filter(of_it).collect();
        list.sort_unstable();
        let pages = list.chunks(PER_PAGE).len().max(1);
        let page = page.min(pages - 1);
        let key = |m: &&String| {
            let name = m.split_once('/').map_or(m.as_str(), |(_, name)| name);
            vec![(ticked(name, now.as_ref() == Some(m)), Act::Run(format!("/model {m}")))]
        };
        let mut rows: Vec<Vec<Key>> = list.iter().skip(page * PER_PAGE).take(PER_PAGE).map(key).collect();
        let to = |n| Act::Page(Menu::Models { provider: provider.clone(), page: n });
        rows.extend(keys::turning(page, pages, to));
        rows.push(vec![("Back".to_owned(), Act::Page(Menu::Providers(0)))]);
        (format!("Models of {}:", keys::literally(&provider)), rows)
    }

    fn skills(&self, page: usize) -> (String, Vec<Vec<Key>>) {
        let all = self.pi_commands.iter().flatten().filter(|(name, _)| name.starts_with("skill:"));
        let all: Vec<&(String, String)> = all.collect();
        if all.is_empty() {
            return (self.skills_text(), Vec::new());
        }
        let pages = all.chunks(PER_PAGE).len();
        let page = page.min(pages - 1);
        let mut text = "Skills:".to_owned();
        let mut rows = Vec::new();
        for (name, what) in all.iter().skip(page * PER_PAGE).take(PER_PAGE) {
            text += &format!("\n- `/{name}` {}", prompt::head(what, 120));
            rows.push(vec![(name["skill:".len()..].to_owned(), Act::Say(format!("/{name}")))]);
        }
        rows.extend(keys::turning(page, pages, |n| Act::Page(Menu::Skills(n))));
        (text, rows)
    }
}

/// What is in force bears a tick.
fn ticked(text: &str, yes: bool) -> String {
    if yes {
        format!("✓ {text}")
    } else {
        text.to_owned()
    }
}

fn in_rows(row: Vec<Key>, most: usize) -> Vec<Vec<Key>> {
    row.chunks(most.max(1)).map(<[Key]>::to_vec).collect()
}
