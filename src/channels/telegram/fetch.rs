//! Files that people sent: `getFile`, then the file itself (telegram.md 8.4).

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::api;
use super::client::{Bot, Fail};
use crate::channels::audio::Transcriber;
use crate::channels::{Fetcher, Missing};
use crate::message::FileRef;
use crate::net::{transfer_time, Error};

/// What the public server gives out at most, bytes.
const PUBLIC: u64 = 20 << 20;
const CALL: Duration = Duration::from_secs(30);

pub struct TelegramFetcher {
    bot: Bot,
    limit: u64,
    /// A server of one's own may name files on this machine.
    local: bool,
    transcriber: Option<Transcriber>,
}

impl TelegramFetcher {
    pub fn new(bot: Bot, limit: u64, local: bool, transcriber: Option<Transcriber>) -> TelegramFetcher {
        TelegramFetcher { bot, limit, local, transcriber }
    }

    /// Where it lies at the moment.
    fn locate(&self, file: &FileRef, left: Duration) -> Result<String, Missing> {
        let found = self.bot.call::<api::File>("getFile", &json!({"file_id": file.id}), CALL.min(left));
        let found = found.map_err(|e| match &e {
            e if e.says("file is too big") => Missing::TooLarge { size: file.size, limit: self.limit.min(PUBLIC) },
            Fail::Api { code: 429 | 500.., .. } | Fail::NotSent { .. } | Fail::Unknown { .. } => again(e.to_string()),
            Fail::Api { .. } => Missing::Failed { why: e.to_string(), again: false },
        })?;
        self.fits(found.file_size)?;
        found.file_path.ok_or(Missing::Failed { why: "the platform does not say where it is".into(), again: true })
    }

    fn fits(&self, size: Option<u64>) -> Result<(), Missing> {
        match size {
            Some(n) if n > self.limit => Err(Missing::TooLarge { size, limit: self.limit }),
            _ => Ok(()),
        }
    }

    /// `None`: it is not there any more.
    fn download(&self, at: &str, file: &FileRef, to: &Path, left: Duration) -> Result<Option<()>, Missing> {
        if self.local && at.starts_with('/') {
            if let Ok(found) = Path::new(at).metadata() {
                self.fits(Some(found.len()))?;
                return std::fs::copy(at, to).map(|_| Some(())).map_err(|e| kept(&e));
            }
        }
        let mut out = File::create(to).map_err(|e| kept(&e))?;
        let within = transfer_time(file.size.unwrap_or(self.limit)).min(left);
        match self.bot.download(at, within, self.limit, &mut out) {
            Ok(200) => Ok(Some(())),
            Ok(404 | 410) => Ok(None),
            Ok(status) => Err(Missing::Failed { why: format!("HTTP {status}"), again: status == 429 || status >= 500 }),
            Err(Error::TooLarge { limit }) => Err(Missing::TooLarge { size: None, limit }),
            Err(e) => Err(again(e.to_string())),
        }
    }
}

impl Fetcher for TelegramFetcher {
    fn fetch(&self, file: &FileRef, to: &Path, until: Instant) -> Result<(), Missing> {
        self.fits(file.size)?;
        let left = || until.saturating_duration_since(Instant::now());
        for _ in 0..2 {
            let at = self.locate(file, left())?;
            if self.download(&at, file, to, left())?.is_some() {
                return Ok(());
            }
        }
        Err(Missing::Failed { why: "the platform does not have it any more".into(), again: false })
    }

    fn limit(&self) -> u64 {
        self.limit
    }

    fn transcriber(&self) -> Option<&Transcriber> {
        self.transcriber.as_ref()
    }
}

fn again(why: String) -> Missing {
    Missing::Failed { why, again: true }
}

fn kept(e: &std::io::Error) -> Missing {
    Missing::Failed { why: format!("it cannot be kept: {e}"), again: false }
}
