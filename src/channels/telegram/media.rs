//! Files that are sent: by which method, from where, and what is tried when it is refused (telegram.md 15).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{json, Map, Value};

use super::api::{Message, Parameters};
use super::client::{Bot, Fail};
use super::ways::Way;
use crate::message::{Content, OutFile, Target};
use crate::net::{transfer_time, Agent, Form, Part, Request};

/// Opens a file of this machine that may be sent: the file and its length, or why not.
pub type Opener = Arc<dyn Fn(&OutFile) -> Result<(File, u64), String> + Send + Sync>;

/// Uploads, bytes.
const LARGEST: u64 = 50 << 20;
const LARGEST_PHOTO: u64 = 10 << 20;
/// From here on people are shown that something is being sent, bytes.
const SHOWN: u64 = 1 << 20;
/// Files that the platform has already: so many are remembered.
const REMEMBERED: usize = 200;
const CALL: Duration = Duration::from_secs(60);

/// A file at hand.
struct Held {
    file: Arc<File>,
    size: u64,
    hash: [u8; 32],
}

/// Sends files of one account.
pub struct Media {
    bot: Bot,
    open: Opener,
    /// For addresses that the platform cannot fetch; guarded.
    fetch: Agent,
    /// Content and method, and the platform's id of it; newest last.
    known: Mutex<VecDeque<([u8; 32], Way, String)>>,
}

/// A refusal of our own, in the platform's words.
fn refused(description: String) -> Fail {
    Fail::Api { code: 400, description, parameters: Parameters::default() }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl Media {
    pub fn new(bot: Bot, open: Opener, fetch: Agent) -> Media {
        Media { bot, open, fetch, known: Mutex::default() }
    }

    /// Sends what the content holds; `p`: where to, and as a reply to what. The ids of the messages.
    pub fn send(&self, target: &Target, content: &Content, p: &Map<String, Value>) -> Result<Vec<String>, Fail> {
        let Some(file) = &content.file else { return Err(refused("there is no file".into())) };
        if content.more.is_empty() {
            return self.one(target, file, content, p).map(|m| vec![m.message_id.to_string()]);
        }
        match self.album(target, content, p) {
            // Refused as a whole: each by itself.
            Err(Fail::Api { code: 400 | 413, description, parameters }) if parameters.migrate_to_chat_id.is_none() => {
                log::info!("telegram: an album was refused ({description}); its files are sent one by one");
                self.each(target, content, p)
            }
            sent => sent,
        }
    }

    fn each(&self, target: &Target, content: &Content, p: &Map<String, Value>) -> Result<Vec<String>, Fail> {
        let (mut ids, mut failed) = (Vec::new(), Vec::new());
        for (n, file) in content.files().enumerate() {
            let own = if n == 0 { content.clone() } else { Content::default() };
            match self.one(target, file, &own, p) {
                Ok(m) => ids.push(m.message_id.to_string()),
                Err(Fail::Api { code: 400 | 413, description, .. }) => {
                    failed.push(format!("{}: {description}", file.name()));
                }
                // Some may stand there: nobody sends them again.
                Err(fail) if !ids.is_empty() => failed.push(format!("{}: {fail}", file.name())),
                Err(fail) => return Err(fail),
            }
        }
        match failed.is_empty() {
            true => Ok(ids),
            false => Err(refused(failed.join("; "))),
        }
    }

    /// 2 to 10 pictures and videos in one.
    fn album(&self, target: &Target, content: &Content, p: &Map<String, Value>) -> Result<Vec<String>, Fail> {
        let (mut form, mut media, mut bytes) = (Form::new(), Vec::new(), 0);
        for (n, file) in content.files().enumerate() {
            let way = Way::of(file);
            let mut item = json!({"type": way.field(), "media": file.at});
            if !file.is_address() {
                let held = self.hold(file)?;
                bytes += held.size;
                match self.recall(&held.hash, way) {
                    Some(id) => item["media"] = id.into(),
                    None => {
                        item["media"] = format!("attach://f{n}").into();
                        form = form.with(part(&format!("f{n}"), file, way, &held));
                    }
                }
            }
            if n == 0 {
                caption(content, |key, value| item[key] = value);
            }
            media.push(item);
        }
        let mut p = p.clone();
        p.insert("media".into(), media.into());
        self.show(target, Way::Photo, bytes);
        let sent: Vec<Message> = self.bot.upload("sendMediaGroup", with(form, &p), transfer_time(bytes))?;
        let files = content.files().filter(|f| !f.is_address());
        for (file, m) in files.zip(&sent).filter(|_| content.files().all(|f| !f.is_address())) {
            let way = Way::of(file);
            if let (Ok(held), Some(id)) = (self.hold(file), way.file_id(m)) {
                self.remember(held.hash, way, id);
            }
        }
        Ok(sent.iter().map(|m| m.message_id.to_string()).collect())
    }

    fn one(&self, target: &Target, file: &OutFile, content: &Content, p: &Map<String, Value>) -> Result<Message, Fail> {
        let mut p = p.clone();
        caption(content, |key, value| drop(p.insert(key.into(), value)));
        let way = Way::of(file);
        if !file.is_address() {
            let held = self.hold(file)?;
            return self.upload(target, file, way, &held, &p);
        }
        match self.by_reference(way, &file.at, &p) {
            Err(fail) if UNFETCHED.iter().any(|text| fail.says(text)) => {
                let held = self.download(&file.at).map_err(refused)?;
                self.upload(target, file, way, &held, &p)
            }
            sent => sent,
        }
    }

    /// By an address or the platform's id: it has the bytes, or gets them itself.
    fn by_reference(&self, way: Way, at: &str, p: &Map<String, Value>) -> Result<Message, Fail> {
        let mut p = p.clone();
        p.insert(way.field().into(), at.into());
        dress(way, &mut p);
        self.bot.call(way.method(), &Value::Object(p), CALL)
    }

    fn upload(
        &self,
        target: &Target,
        file: &OutFile,
        way: Way,
        held: &Held,
        p: &Map<String, Value>,
    ) -> Result<Message, Fail> {
        let way = if way == Way::Photo && held.size > LARGEST_PHOTO { Way::Document } else { way };
        if let Some(id) = self.recall(&held.hash, way) {
            match self.by_reference(way, &id, p) {
                Err(fail) if fail.says("file identifier") || fail.says("file_id") => self.forget(&id),
                sent => return sent,
            }
        }
        self.show(target, way, held.size);
        let mut fields = p.clone();
        dress(way, &mut fields);
        let form = with(Form::new().with(part(way.field(), file, way, held)), &fields);
        let sent: Result<Message, Fail> = self.bot.upload(way.method(), form, transfer_time(held.size));
        match sent {
            Ok(m) => {
                if let Some(id) = way.file_id(&m) {
                    self.remember(held.hash, way, id);
                }
                Ok(m)
            }
            // Certainly not taken: as something else.
            Err(fail) if way == Way::Photo && BAD_PHOTO.iter().any(|text| fail.says(text)) => {
                self.upload(target, file, Way::Document, held, p)
            }
            Err(fail) if way == Way::Voice && fail.says("voice_messages_forbidden") => {
                self.upload(target, file, Way::Audio, held, p)
            }
            Err(fail) => Err(fail),
        }
    }

    fn hold(&self, file: &OutFile) -> Result<Held, Fail> {
        let (opened, size) = match &file.text {
            Some(text) => (written(text).map_err(refused)?, text.len() as u64),
            None => (self.open)(file).map_err(refused)?,
        };
        if size > LARGEST {
            let (is, most) = (megabytes(size), LARGEST >> 20);
            return Err(refused(format!("File too large for Telegram ({is} MB > {most} MB)")));
        }
        if size == 0 {
            return Err(refused("the file is empty".into()));
        }
        held(opened, size).map_err(|e| refused(format!("the file cannot be read: {e}")))
    }

    /// An address that the platform could not fetch.
    fn download(&self, url: &str) -> Result<Held, String> {
        let mut file = tempfile()?;
        let request = Request::get(url).within(CALL).growing().limit(LARGEST);
        let answer = self.fetch.fetch(&request, &mut file).map_err(|e| e.to_string())?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("its address answers {}", answer.status));
        }
        file.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
        held(file, answer.received).map_err(|e| e.to_string())
    }

    /// Something large is on its way.
    fn show(&self, target: &Target, way: Way, bytes: u64) {
        if bytes <= SHOWN {
            return;
        }
        let mut p = super::caller::at(target);
        p.insert("action".into(), way.action().into());
        if let Some(thread) = super::caller::thread(target) {
            p.insert("message_thread_id".into(), thread.into());
        }
        if let Err(fail) = self.bot.call::<bool>("sendChatAction", &Value::Object(p), CALL) {
            log::debug!("telegram: no sign of an upload: {fail}");
        }
    }

    fn recall(&self, hash: &[u8; 32], way: Way) -> Option<String> {
        let mut known = self.lock();
        let at = known.iter().position(|(h, w, _)| h == hash && *w == way)?;
        let entry = known.remove(at)?;
        let id = entry.2.clone();
        known.push_back(entry);
        Some(id)
    }

    fn remember(&self, hash: [u8; 32], way: Way, id: String) {
        let mut known = self.lock();
        known.retain(|(h, w, _)| *h != hash || *w != way);
        if known.len() >= REMEMBERED {
            known.pop_front();
        }
        known.push_back((hash, way, id));
    }

    fn forget(&self, id: &str) {
        self.lock().retain(|(_, _, known)| known != id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<([u8; 32], Way, String)>> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Addresses that we fetch ourselves after these.
const UNFETCHED: [&str; 4] = [
    "failed to get http url content",
    "wrong type of the web page content",
    "wrong file identifier/http url specified",
    "wrong remote file identifier",
];
/// Pictures that are sent as documents after these.
const BAD_PHOTO: [&str; 4] =
    ["image_process_failed", "photo_invalid_dimensions", "photo_ext_invalid", "too big for a photo"];

fn caption(content: &Content, mut set: impl FnMut(&'static str, Value)) {
    if !content.text.is_empty() {
        set("caption", content.text.as_str().into());
        if content.plain.is_some() {
            set("parse_mode", "HTML".into());
        }
    }
}

fn dress(way: Way, p: &mut Map<String, Value>) {
    match way {
        Way::Video => drop(p.insert("supports_streaming".into(), true.into())),
        Way::Document => drop(p.insert("disable_content_type_detection".into(), true.into())),
        Way::Sticker => {
            p.remove("caption");
            p.remove("parse_mode");
        }
        _ => {}
    }
}

fn part(name: &str, file: &OutFile, way: Way, held: &Held) -> Part {
    Part::opened(name, file.name(), way.mime(&file.ending()), held.file.clone(), held.size)
}

/// The parameters before the files: nested values as JSON.
fn with(files: Form, p: &Map<String, Value>) -> Form {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = p.iter().fold(Form::new(), |form, (key, value)| form.with(Part::text(key.as_str(), text(value))));
    fields.and(files)
}

fn held(mut file: File, size: u64) -> std::io::Result<Held> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0; 32 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => context.update(&buffer[..n]),
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(Held { file: Arc::new(file), size, hash })
}

/// A file that holds a text.
fn written(text: &str) -> Result<File, String> {
    let mut file = tempfile()?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.seek(SeekFrom::Start(0)));
    written.map(|_| file).map_err(|e| format!("it cannot be written: {e}"))
}

/// A file that is gone with its last user.
fn tempfile() -> Result<File, String> {
    use std::os::unix::fs::OpenOptionsExt;
    let name = format!("pi-gateway-{}", crate::store::random_id(20));
    let path = std::env::temp_dir().join(name);
    let opened = std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = opened.map_err(|e| format!("no temporary file: {e}"))?;
    std::fs::remove_file(&path).map_err(|e| format!("the temporary file stays: {e}"))?;
    Ok(file)
}
