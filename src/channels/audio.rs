//! Speech to text by a server that speaks OpenAI's way (telegram.md 8.6): `POST {baseUrl}/audio/transcriptions`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::config::types::{Audio, AudioProvider};
use crate::config::Secret;
use crate::net::{Agent, Form, Part, Request};

/// Writes down what people say.
#[derive(Clone)]
pub struct Transcriber {
    agent: Agent,
    url: String,
    key: Secret,
    model: String,
    language: Option<String>,
    within: Duration,
}

#[derive(Deserialize)]
struct Heard {
    text: String,
}

/// Types that servers take, by the name's end; of another one they go by its bytes.
fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "ogg" | "oga" | "opus" => "audio/ogg",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "mp4" => "video/mp4",
        "wav" => "audio/wav",
        "webm" => "audio/webm",
        "flac" => "audio/flac",
        _ => "application/octet-stream",
    }
}

impl Transcriber {
    /// `None`: without a key nothing is written down.
    pub fn new(c: &Audio, agent: Agent) -> Option<Transcriber> {
        let provided = match c.provider {
            AudioProvider::Groq => "https://api.groq.com/openai/v1",
            AudioProvider::Openai => "https://api.openai.com/v1",
        };
        let base = c.base_url.as_deref().unwrap_or(provided).trim_end_matches('/');
        Some(Transcriber {
            agent,
            url: format!("{base}/audio/transcriptions"),
            key: c.api_key.clone()?,
            model: c.model().to_owned(),
            language: c.language.clone(),
            within: Duration::from_secs(c.timeout_seconds),
        })
    }

    /// What is said in that recording; `name`: for the server, its end must fit the data. One more try if the
    /// server, or the way there, had trouble. `Err`: what is to be logged.
    pub fn hear(&self, file: &Path, name: &str) -> Result<String, String> {
        self.ask(file, name).or_else(|(why, again)| match again {
            true => self.ask(file, name).map_err(|(why, _)| why),
            false => Err(why),
        })
    }

    fn ask(&self, file: &Path, name: &str) -> Result<String, (String, bool)> {
        let mut form = Form::new().with(Part::file("file", name, mime(name), file));
        form = form.with(Part::text("model", &self.model));
        if let Some(language) = &self.language {
            form = form.with(Part::text("language", language));
        }
        let request = Request::post_form(&self.url, &form).within(self.within);
        let request = request.header("authorization", format!("Bearer {}", self.key.expose()));
        let answer = self.agent.call(&request).map_err(|e| (e.to_string(), true))?;
        if answer.status != 200 {
            let again = answer.status == 429 || answer.status >= 500;
            return Err((format!("the transcription was refused: HTTP {}", answer.status), again));
        }
        let heard: Heard = serde_json::from_slice(&answer.body).map_err(|e| (format!("no transcript: {e}"), false))?;
        match heard.text.trim() {
            "" => Err(("the transcript is empty".into(), false)),
            text => Ok(text.to_owned()),
        }
    }
}
