//! `multipart/form-data` (RFC 7578), its files streamed from disk, and the reader that hands a body to ureq.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

use super::progress;

/// The fields and files of a form, in order.
#[derive(Clone, Debug, Default)]
pub struct Form {
    parts: Vec<Part>,
}

/// A field or a file.
#[derive(Clone, Debug)]
pub struct Part {
    name: String,
    file: Option<(String, &'static str)>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Vec<u8>),
    Path(PathBuf),
    Opened(Arc<File>, u64),
}

impl Part {
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Part {
        Part { name: name.into(), file: None, content: Content::Bytes(value.into().into_bytes()) }
    }

    /// A file on disk, read while it is sent. `shown`: its name for the other side.
    pub fn file(name: impl Into<String>, shown: impl Into<String>, mime: &'static str, path: &Path) -> Part {
        Part { name: name.into(), file: Some((shown.into(), mime)), content: Content::Path(path.to_owned()) }
    }

    /// A file that is open, from its beginning, so long.
    pub fn opened(
        name: impl Into<String>,
        shown: impl Into<String>,
        mime: &'static str,
        file: Arc<File>,
        length: u64,
    ) -> Part {
        Part { name: name.into(), file: Some((shown.into(), mime)), content: Content::Opened(file, length) }
    }

    /// A file made in memory.
    pub fn bytes(name: impl Into<String>, shown: impl Into<String>, mime: &'static str, bytes: Vec<u8>) -> Part {
        Part { name: name.into(), file: Some((shown.into(), mime)), content: Content::Bytes(bytes) }
    }

    fn head(&self, boundary: &str) -> String {
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escape(&self.name));
        if let Some((shown, mime)) = &self.file {
            head.push_str(&format!("; filename=\"{}\"\r\nContent-Type: {mime}", escape(shown)));
        }
        head + "\r\n\r\n"
    }
}

/// A name between quotes: UTF-8, with `"` and line ends escaped as browsers do (telegram.md 15).
fn escape(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A").replace('\0', "")
}

impl Form {
    pub fn new() -> Form {
        Form::default()
    }

    pub fn with(mut self, part: Part) -> Form {
        self.parts.push(part);
        self
    }

    /// Another form's parts behind these.
    pub fn and(mut self, other: Form) -> Form {
        self.parts.extend(other.parts);
        self
    }

    /// The value of `Content-Type` and the body. Every file is open afterwards.
    pub(super) fn open(&self) -> Result<(String, Reader<'_>), String> {
        let mut random = [0; 12];
        SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers")?;
        let boundary: String = random.iter().map(|b| format!("{b:02x}")).collect();
        let boundary = format!("pi-gateway-{boundary}");
        let mut reader = Reader::default();
        for part in &self.parts {
            reader.push(Source::Owned(io::Cursor::new(part.head(&boundary).into_bytes())));
            match &part.content {
                Content::Bytes(bytes) => reader.push(Source::Bytes(bytes)),
                Content::Opened(file, length) => reader.push(Source::Opened { file, at: 0, left: *length }),
                Content::Path(path) => {
                    let file = open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                    reader.push(file);
                }
            }
            reader.push(Source::Bytes(b"\r\n"));
        }
        reader.push(Source::Owned(io::Cursor::new(format!("--{boundary}--\r\n").into_bytes())));
        Ok((format!("multipart/form-data; boundary={boundary}"), reader))
    }
}

/// Without waiting for what is no file (a named pipe).
fn open(path: &Path) -> io::Result<Source<'static>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok(Source::File(file, meta.len())),
        false => Err(io::Error::other("not a file")),
    }
}

enum Source<'a> {
    Bytes(&'a [u8]),
    Owned(io::Cursor<Vec<u8>>),
    /// What is left of it, as long as it was when it was opened.
    File(File, u64),
    /// The same of one that was open before; its own position is left alone.
    Opened {
        file: &'a File,
        at: u64,
        left: u64,
    },
}

/// A body whose length is known. Tells the call when its last byte has been taken: before, nobody can have the whole
/// request. It is never shorter than it said: ureq would wait for the rest in a busy loop.
#[derive(Default)]
pub(super) struct Reader<'a> {
    sources: VecDeque<Source<'a>>,
    left: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn bytes(bytes: &'a [u8]) -> Reader<'a> {
        let mut reader = Reader::default();
        reader.push(Source::Bytes(bytes));
        reader
    }

    fn push(&mut self, source: Source<'a>) {
        self.left += match &source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Owned(cursor) => cursor.get_ref().len() as u64,
            Source::File(_, length) | Source::Opened { left: length, .. } => *length,
        };
        self.sources.push_back(source);
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(source) = self.sources.front_mut() {
            let n = match source {
                Source::Bytes(bytes) => bytes.read(buf)?,
                Source::Owned(cursor) => cursor.read(buf)?,
                Source::File(_, 0) | Source::Opened { left: 0, .. } => 0,
                Source::Opened { file, at, left } => {
                    let most = buf.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let n = file.read_at(&mut buf[..most], *at)?;
                    if n == 0 && !buf.is_empty() {
                        return Err(io::Error::other("a file became shorter while it was sent"));
                    }
                    (*at, *left) = (*at + n as u64, *left - n as u64);
                    n
                }
                Source::File(file, left) => {
                    let n = file.by_ref().take(*left).read(buf)?;
                    if n == 0 && !buf.is_empty() {
                        return Err(io::Error::other("a file became shorter while it was sent"));
                    }
                    *left -= n as u64;
                    n
                }
            };
            if n > 0 || buf.is_empty() {
                self.left -= n as u64;
                progress::set_incomplete(self.left > 0);
                return Ok(n);
            }
            self.sources.pop_front();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_as_long_as_it_says_and_names_are_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "from disk").unwrap();
        let form = Form::new()
            .with(Part::text("chat_id", "1"))
            .with(Part::file("photo", "Grüße \"a\"\r\nX: y.jpg", "image/jpeg", &path))
            .with(Part::bytes("f", "empty", "text/plain", Vec::new()));
        let (kind, mut reader) = form.open().unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let length = reader.left();
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        assert_eq!((body.len() as u64, reader.left()), (length, 0));
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n1\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"photo\"; filename=\"Grüße %22a%22%0D%0AX: y.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\nfrom disk\r\n--{boundary}\r\nContent-Disposition: form-data; \
             name=\"f\"; filename=\"empty\"\r\nContent-Type: text/plain\r\n\r\n\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_one_that_grows_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "12345").unwrap();
        let form = Form::new().with(Part::file("f", "f", "text/plain", &path));
        let (_, mut reader) = form.open().unwrap();
        std::fs::write(&path, "123").unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
        let (_, mut reader) = form.open().unwrap();
        std::fs::write(&path, "123456789").unwrap();
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        assert!(body.contains("\r\n\r\n123\r\n--"), "{body}");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none"), "/dev/zero".into()] {
            assert!(Form::new().with(Part::file("f", "f", "text/plain", &path)).open().is_err(), "{path:?}");
        }
    }
}
