//! Files under `/file/bot<token>/<file_path>`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::args::{Arg, Args, Refusal};
use super::faults::Trouble;
use super::http::{self, Head};
use super::serve::{ended, Connection};

impl Connection<'_> {
    pub fn download(&self, head: &Head, bot: Option<i64>, path: &str) -> io::Result<()> {
        let rule = self.strike("file", bot, None);
        let path_arg = Arg::Text(path.to_owned());
        let args = Args { fields: BTreeMap::from([("path".to_owned(), path_arg)]), ..Args::default() };
        let n = self.log("file", bot, &args, rule.is_some());
        if let Some(bot) = bot {
            self.manners(head, bot, "GET");
        }
        let trouble = rule.as_ref().map(|rule| (rule.id, rule.trouble.clone()));
        let outcome = self.download_outcome(n, bot, path, trouble.as_ref());
        self.note(n, |call| call.done = true);
        outcome
    }

    fn download_outcome(
        &self,
        n: usize,
        bot: Option<i64>,
        path: &str,
        trouble: Option<&(u64, Trouble)>,
    ) -> io::Result<()> {
        match trouble {
            Some((_, Trouble::Refuse(status, text, _))) => {
                return self.send(n, Err(Refusal::new(*status, text)), None);
            }
            Some((_, Trouble::Flood(seconds))) => {
                return self.send(n, Err(Refusal::flood(Duration::from_secs(*seconds))), None);
            }
            Some((_, Trouble::Garbage(..) | Trouble::GarbageAfter(..))) => {
                return self.send(n, Ok(Value::Null), trouble)
            }
            Some((_, Trouble::DropBefore | Trouble::DropAfter)) => return ended(),
            Some((id, Trouble::Hold | Trouble::HoldAnswer)) => self.hold(*id)?,
            Some((_, Trouble::Slow(time))) => self.shared.pause(*time, self.age),
            _ => {}
        }
        self.pass_line()?;
        let data = {
            let mut world = self.shared.lock();
            bot.and_then(|bot| world.bot(bot).files.values().find(|f| f.path == path).map(|f| Arc::clone(&f.data)))
        };
        let Some(data) = data else {
            return self.send(n, Err(Refusal::new(404, "Not Found")), None);
        };
        self.note(n, |call| {
            call.status = Some(200);
            call.applied = true;
        });
        self.write(&http::answer(200, "application/octet-stream", "", &data), data.len(), trouble)
    }
}
