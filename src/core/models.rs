//! A session's model and thinking level: what is chosen, and what may be (core.md 4).
//!
//! Stored only: the pool applies it when no turn runs.

use super::command_list::LEVELS;
use super::session::{Session, Stage};
use super::State;
use crate::store::Result;

impl State {
    pub(super) fn level(&self, s: &Session) -> String {
        s.row.thinking.clone().unwrap_or_else(|| self.rules.thinking.clone())
    }

    pub(super) fn model_text(&self, s: &Session) -> String {
        let now = self.wanted(s, None).model.unwrap_or_else(|| "pi's default".into());
        let list = match self.pi_models.as_ref().map(|m| &m.names) {
            Some(list) if !list.is_empty() => format!("\n{}", list.join("\n")),
            _ => "\n(The list of models appears once the agent has run.)".into(),
        };
        format!("Model: {now}. Choose with /model provider/id, back with /model default.{list}")
    }

    /// Stores the session's choice; applied when no turn runs. `Err`: why not.
    pub(super) fn choose_model(&mut self, s: &mut Session, model: &str) -> Result<std::result::Result<String, String>> {
        if matches!(model, "default" | "") {
            s.row.model = None;
            self.save(s)?;
            return Ok(Ok("Model: the configured one.".into()));
        }
        if !model.contains('/') || model.chars().any(|c| c.is_whitespace() || c.is_control()) || model.len() > 200 {
            return Ok(Err("Give the model as provider/id.".into()));
        }
        if let Some(list) =
            self.pi_models.as_ref().map(|m| &m.names).filter(|l| !l.is_empty() && !l.iter().any(|m| m == model))
        {
            let near: Vec<&str> = list.iter().map(String::as_str).filter(|m| m.contains(model)).take(5).collect();
            let hint = if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(", ")) };
            return Ok(Err(format!("pi does not know the model {model}.{hint}")));
        }
        s.row.model = Some(model.to_owned());
        s.plain_model = false;
        self.save(s)?;
        let when = if matches!(s.stage, Stage::Turn(_)) { " from the next turn on" } else { "" };
        Ok(Ok(format!("Model: {model}{when}.")))
    }

    pub(super) fn choose_level(&mut self, s: &mut Session, level: &str) -> Result<std::result::Result<String, String>> {
        if !LEVELS.contains(&level) {
            return Ok(Err(format!("Invalid level. Use: {}", LEVELS.join(", "))));
        }
        s.row.thinking = Some(level.to_owned());
        self.save(s)?;
        let when = if matches!(s.stage, Stage::Turn(_)) { " from the next turn on" } else { "" };
        Ok(Ok(format!("Thinking: {level}{when}.")))
    }
}
