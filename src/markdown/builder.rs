//! Puts a [`Rich`] together: text, marks, line breaks, list markers.
//!
//! Breaks, spaces and marks wait until text follows. So no span is empty or begins with a line break, lines have
//! no trailing spaces, and never more than one blank line stands outside code.

use std::borrow::Cow;

use super::rich::{shown, Kind, Rich, Span, Step};

/// Deeper lists are not indented further: indentation must not make a text longer than its source by much.
const DEEPEST_INDENT: usize = 12;

/// A quote of more lines is shown folded.
const LINES_OF_OPEN_QUOTE: usize = 8;

#[derive(Default)]
pub struct Builder {
    text: String,
    spans: Vec<Span>,
    /// One entry for each `open` not yet closed: whether it is in `live`.
    tags: Vec<bool>,
    /// Marks in effect, outer first, at most one of each kind.
    live: Vec<Live>,
    /// Line breaks owed before the next text: 0 to 2.
    breaks: usize,
    /// Spaces owed before the next text of the same line.
    spaces: String,
    /// List marker owed at the start of the next text, and where in `live` its item begins.
    marker: String,
    marker_level: usize,
    marker_indent: usize,
    /// Lists around the text.
    depth: usize,
}

struct Live {
    kind: Kind,
    /// Place in `spans` once text has been written.
    span: Option<usize>,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Bytes of text written so far.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// What was written since the text had this length.
    pub fn text_from(&self, from: usize) -> &str {
        self.text.get(from..).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Opens a mark for the text that follows. A mark that is in effect already changes nothing. Code has calls of its own.
    pub fn open(&mut self, kind: Kind) {
        let twice = self.live.iter().any(|live| std::mem::discriminant(&live.kind) == std::mem::discriminant(&kind));
        let stray = kind.is_quote() && !self.live.is_empty() || kind.is_code();
        self.tags.push(!twice && !stray);
        if !twice && !stray {
            self.live.push(Live { kind, span: None });
        }
    }

    /// Closes the mark opened last.
    pub fn close(&mut self) {
        if self.tags.pop() != Some(true) {
            return;
        }
        let Some(Live { span: Some(span), .. }) = self.live.pop() else { return };
        let end = self.text.len();
        let span = &mut self.spans[span];
        span.end = end;
        if let Kind::Quote { expandable } = &mut span.kind {
            *expandable |= self.text[span.start..].lines().count() > LINES_OF_OPEN_QUOTE;
        }
    }

    /// Text; its newlines are line breaks, of which no more than two in a row are kept.
    pub fn text(&mut self, text: &str) {
        for (i, line) in clean(text).split('\n').enumerate() {
            if i > 0 {
                self.line_break();
            }
            let words = line.trim_end_matches([' ', '\t']);
            if !words.is_empty() {
                self.begin(true);
                self.start_marks(self.live.len());
                self.text.push_str(words);
            }
            self.spaces.push_str(&line[words.len()..]);
        }
    }

    /// Code within a line. In a link or a spoiler it is text: platforms allow only one, and that one matters more.
    pub fn code(&mut self, code: &str) {
        if self.live.iter().any(|live| matches!(live.kind, Kind::Link { .. } | Kind::Spoiler)) {
            return self.text(code);
        }
        if !self.marker.is_empty() {
            self.push_breaks();
            self.push_marker();
        }
        self.suspend();
        self.begin(true);
        self.push_code(Kind::Code, code);
    }

    /// A block of code, verbatim but for its last newline.
    pub fn pre(&mut self, lang: Option<String>, code: &str) {
        let code = code.strip_suffix('\n').unwrap_or(code);
        if code.is_empty() {
            return;
        }
        self.settle_marker();
        self.suspend();
        self.block(1);
        self.begin(false);
        self.push_code(Kind::Pre { lang }, code);
        self.block(1);
    }

    /// Text and marks of another.
    pub fn append(&mut self, rich: &Rich) {
        let mut code: Option<Kind> = None;
        rich.walk(|step| match step {
            Step::Open(kind) if kind.is_code() => code = Some(kind.clone()),
            Step::Open(kind) => self.open(kind.clone()),
            Step::Close(kind) if kind.is_code() => {}
            Step::Close(_) => self.close(),
            Step::Text(text) => match code.take() {
                Some(Kind::Pre { lang }) => self.pre(lang, text),
                Some(_) => self.code(text),
                None => self.text(text),
            },
        });
    }

    pub fn line_break(&mut self) {
        self.spaces.clear();
        self.breaks = (self.breaks + 1).min(2);
    }

    /// The next text begins a block: 1 = on a new line, 2 = after a blank line. Not between a list marker and its text.
    pub fn block(&mut self, breaks: usize) {
        if self.marker.is_empty() {
            self.spaces.clear();
            self.breaks = self.breaks.max(breaks.min(2));
        }
    }

    /// Lists around the text that follows.
    pub fn indent(&mut self, depth: usize) {
        self.depth = depth;
    }

    /// The next text is a list item's. Markers of items that begin on the same line stand side by side.
    pub fn item(&mut self, marker: &str) {
        if self.marker.is_empty() {
            self.marker_level = self.live.len();
            self.marker_indent = self.depth.saturating_sub(1);
        }
        self.marker.push_str(marker);
        self.marker.push(' ');
    }

    /// The box of a task takes the place of its bullet, and stands beside a number.
    pub fn task_box(&mut self, mark: &str, bullet: &str) {
        let tail = self.marker.strip_suffix(' ').and_then(|marker| marker.strip_suffix(bullet)).map(str::len);
        match tail {
            Some(kept) => {
                self.marker.truncate(kept);
                self.marker.push_str(mark);
                self.marker.push(' ');
            }
            None => self.item(mark),
        }
    }

    /// Writes a marker that waits for text: what follows stands below it.
    pub fn settle_marker(&mut self) {
        if !self.marker.is_empty() {
            self.push_breaks();
            self.push_marker();
            self.block(1);
        }
    }

    pub fn finish(mut self) -> Rich {
        self.settle_marker();
        while !self.tags.is_empty() {
            self.close();
        }
        Rich::sorted(self.text, self.spans)
    }

    /// Writes what is owed before text; the next byte belongs to the text.
    fn begin(&mut self, indented: bool) {
        let fresh = self.push_breaks();
        if !self.marker.is_empty() {
            self.push_marker();
        } else {
            // Quotes hold all of their lines, indentation too.
            let quotes = self.live.iter().take_while(|live| live.kind.is_quote()).count();
            self.start_marks(quotes);
            if fresh && indented {
                self.push_indent(self.depth);
            }
        }
        if !self.text.is_empty() {
            self.text.push_str(&self.spaces);
        }
        self.spaces.clear();
    }

    /// True if a line begins here.
    fn push_breaks(&mut self) -> bool {
        if self.text.is_empty() {
            self.breaks = 0;
            return true;
        }
        self.text.push_str(&"\n\n"[..self.breaks]);
        std::mem::take(&mut self.breaks) > 0
    }

    fn push_marker(&mut self) {
        self.start_marks(self.marker_level);
        self.push_indent(self.marker_indent);
        let marker = std::mem::take(&mut self.marker);
        self.text.push_str(marker.trim_end());
        self.spaces.clear();
        self.spaces.push(' ');
    }

    fn push_indent(&mut self, depth: usize) {
        for _ in 0..depth.min(DEEPEST_INDENT) {
            self.text.push_str("  ");
        }
    }

    fn start_marks(&mut self, count: usize) {
        for live in self.live.iter_mut().take(count).filter(|live| live.span.is_none()) {
            live.span = Some(self.spans.len());
            self.spans.push(Span { start: self.text.len(), end: usize::MAX, kind: live.kind.clone() });
        }
    }

    /// Ends the spans of all marks but quotes; they start again with the next text.
    fn suspend(&mut self) {
        let end = self.text.len();
        for live in self.live.iter_mut().filter(|live| !live.kind.is_quote()) {
            if let Some(span) = live.span.take() {
                self.spans[span].end = end;
            }
        }
    }

    fn push_code(&mut self, kind: Kind, code: &str) {
        let start = self.text.len();
        self.text.push_str(&clean(code));
        self.spans.push(Span { start, end: self.text.len(), kind });
    }
}

fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(shown) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| shown(*c)).collect())
    }
}
