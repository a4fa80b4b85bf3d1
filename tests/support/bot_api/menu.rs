//! The menu of commands: one list per scope and language (telegram.md 10).

use serde_json::{json, Value};

use super::args::Refusal;
use super::methods::Ask;
use super::scope_key;

impl Ask<'_> {
    fn scope(&self) -> Result<String, Refusal> {
        let scope = self.args.object("scope", "BotCommandScope")?.unwrap_or_else(|| json!({"type": "default"}));
        Ok(scope_key(&scope, &self.args.text("language_code")))
    }

    pub fn set_commands(&mut self) -> Result<Value, Refusal> {
        let given = self.args.array("commands", "BotCommand")?;
        let given = given.ok_or_else(|| Refusal::bad("Can't parse commands JSON object"))?;
        if given.len() > 100 {
            self.violation("too_many_commands", given.len().to_string());
            return Err(Refusal::bad("BOT_COMMANDS_TOO_MUCH"));
        }
        let mut list = Vec::new();
        for command in &given {
            let field = |key: &str| command[key].as_str().unwrap_or("").trim().to_owned();
            let (name, description) = (field("command"), field("description"));
            let name = name.trim_start_matches('/').to_owned();
            let wrong = if name.is_empty() {
                "Command must be non-empty"
            } else if description.is_empty() {
                "Command description must be non-empty"
            } else if name.chars().count() > 32 {
                "Command length must not exceed 32"
            } else if description.chars().count() > 256 {
                "Command description length must not exceed 256"
            } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
                "BOT_COMMAND_INVALID"
            } else {
                list.push(json!({"command": name, "description": description}));
                continue;
            };
            self.violation("bad_command", format!("{command}: {wrong}"));
            return Err(Refusal::bad(wrong));
        }
        let scope = self.scope()?;
        self.world.bot(self.bot).commands.insert(scope, json!(list));
        Ok(json!(true))
    }

    pub fn get_commands(&mut self) -> Result<Value, Refusal> {
        let scope = self.scope()?;
        Ok(self.world.bot(self.bot).commands.get(&scope).cloned().unwrap_or_else(|| json!([])))
    }

    pub fn delete_commands(&mut self) -> Result<Value, Refusal> {
        let scope = self.scope()?;
        self.world.bot(self.bot).commands.remove(&scope);
        Ok(json!(true))
    }
}
