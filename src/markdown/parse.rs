//! Markdown of an agent into rich text (telegram.md 13.3). Parsed once, by pulldown-cmark; never fails.

use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::builder::Builder;
use super::gaps::Gaps;
use super::glyph;
use super::link;
use super::rich::{shown, Kind, Rich};
use super::spoiler::{self, Bars};
use super::table::Table;

const BULLET: &str = "•";
const RULE: &str = "———";
const LONGEST_LANGUAGE: usize = 64;

/// Reads Markdown, also a half of it while it streams in. What Markdown does not know stays as it was written.
pub fn parse(source: &str) -> Rich {
    let tidy;
    let source = if source.chars().all(shown) {
        source
    } else {
        tidy = source.replace("\r\n", "\n").replace('\r', "\n").replace(|c| !shown(c), "");
        &tidy
    };
    // A fault of the parser must not cost a person their answer.
    let rich = catch_unwind(AssertUnwindSafe(|| read(source))).unwrap_or_default();
    match rich.is_blank() {
        // Markup alone, such as a lone "#" or an unused definition.
        true if !source.chars().all(glyph::is_blank) => literal(source.trim()),
        _ => rich,
    }
}

fn literal(text: &str) -> Rich {
    let mut out = Builder::new();
    out.text(text);
    out.finish()
}

pub(super) fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES
}

fn read(source: &str) -> Rich {
    let mut reader = Reader::new(source);
    for (event, range) in Parser::new_ext(source, options()).into_offset_iter() {
        reader.take(event, range);
    }
    reader.out.finish()
}

struct Reader<'s> {
    source: &'s str,
    out: Builder,
    gaps: Gaps<'s>,
    spoilers: std::vec::IntoIter<Bars>,
    /// Source before this offset is written: the second of two bars.
    written: usize,
    links: Vec<End>,
    /// For each open `~~` or `~`: whether it strikes.
    strikes: Vec<bool>,
    lists: Vec<Numbers>,
    /// For each open quote: how many lists are around it.
    quotes: Vec<usize>,
    /// Where the heading's text begins.
    heading: usize,
    code: Option<Code>,
    table: Option<Table>,
    /// Where the cell read last ends in the source.
    cell_end: usize,
    /// The text around the table while its cells are read.
    around: Builder,
    /// Tags open within a picture that stays as it was written.
    skipping: usize,
}

/// What stands at the end of a link.
enum End {
    /// The link's text began at this length; if there is none, the address is the text.
    Link {
        from: usize,
        url: String,
    },
    /// The address is no link and stands behind the text.
    Address {
        from: usize,
        url: String,
    },
    Literal(&'static str),
}

struct Code {
    lang: Option<String>,
    /// Indented text that is no code.
    prose: bool,
    text: String,
}

/// The numbers of a list: as written, but counting on when the same number is written again.
#[derive(Default)]
struct Numbers {
    written: Option<u64>,
    shown: u64,
}

impl<'s> Reader<'s> {
    fn new(source: &'s str) -> Self {
        Reader {
            source,
            out: Builder::new(),
            gaps: Gaps::of(source),
            spoilers: spoiler::find(source).into_iter(),
            written: 0,
            links: Vec::new(),
            strikes: Vec::new(),
            lists: Vec::new(),
            quotes: Vec::new(),
            heading: 0,
            code: None,
            table: None,
            cell_end: 0,
            around: Builder::new(),
            skipping: 0,
        }
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>) {
        if self.skipping > 0 {
            match event {
                Event::Start(_) => self.skipping += 1,
                Event::End(_) => self.skipping -= 1,
                _ => {}
            }
            return;
        }
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag, range),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.text.push_str(&text),
                None => self.text(&text, range),
            },
            Event::Code(code) => self.out.code(&code),
            Event::Html(html) | Event::InlineHtml(html) => self.out.text(&html),
            Event::SoftBreak | Event::HardBreak => self.out.line_break(),
            Event::Rule => {
                self.block(&range);
                self.out.text(RULE);
                self.out.block(1);
            }
            Event::TaskListMarker(done) => self.out.task_box(if done { "☑" } else { "☐" }, BULLET),
            Event::FootnoteReference(label) => self.out.text(&format!("[^{label}]")),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.out.text(&text),
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Heading { .. } => {
                self.out.block(2);
                self.heading = self.out.len();
                self.out.open(Kind::Bold);
            }
            Tag::BlockQuote(_) => {
                self.out.settle_marker();
                self.block(&range);
                self.out.open(Kind::Quote { expandable: false });
                self.quotes.push(self.lists.len());
                self.indent();
            }
            Tag::CodeBlock(kind) => {
                let gap = self.block(&range);
                self.code = Some(self.code_block(kind, gap));
            }
            Tag::List(_) => {
                self.block(&range);
                self.lists.push(Numbers::default());
                self.indent();
            }
            Tag::Item => {
                self.block(&range);
                let marker = self.marker(&range);
                self.out.item(&marker);
            }
            Tag::FootnoteDefinition(label) => {
                self.block(&range);
                self.out.item(&format!("[^{label}]:"));
            }
            Tag::Table(alignments) => {
                self.block(&range);
                self.table = Some(Table::new(alignments));
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.row();
                }
            }
            Tag::TableCell => self.around = std::mem::take(&mut self.out),
            Tag::Emphasis => self.out.open(Kind::Italic),
            Tag::Strong => self.out.open(Kind::Bold),
            Tag::Strikethrough => {
                let strikes = self.source[range.start..].starts_with("~~");
                self.strikes.push(strikes);
                match strikes {
                    true => self.out.open(Kind::Strike),
                    false => self.out.text("~"),
                }
            }
            Tag::Link { link_type, dest_url, .. } => self.link(link_type, &dest_url),
            Tag::Image { dest_url, .. } => self.picture(&dest_url, range),
            Tag::Paragraph | Tag::HtmlBlock => {
                self.block(&range);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Heading(_) => {
                self.out.close();
                if self.out.len() == self.heading {
                    self.out.text(self.source[range].trim());
                }
                self.out.block(2);
            }
            TagEnd::BlockQuote(_) => {
                self.out.close();
                self.quotes.pop();
                self.indent();
                self.out.block(1);
            }
            TagEnd::CodeBlock => {
                match self.code.take() {
                    Some(code) if code.prose => self.out.text(&code.text),
                    Some(code) => self.out.pre(code.lang, &code.text),
                    None => {}
                }
                self.out.block(1);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.indent();
                self.out.block(1);
            }
            TagEnd::Item | TagEnd::FootnoteDefinition => {
                self.out.settle_marker();
                self.out.block(1);
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                let rest = self.source.get(self.cell_end..range.end).unwrap_or_default().trim();
                if let Some(table) = &mut self.table {
                    table.surplus(rest.strip_suffix('|').unwrap_or(rest));
                }
            }
            TagEnd::TableCell => {
                self.cell_end = range.end;
                let cell = std::mem::replace(&mut self.out, std::mem::take(&mut self.around)).finish();
                if let Some(table) = &mut self.table {
                    table.cell(cell);
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    table.write(&mut self.out);
                }
                self.out.block(1);
            }
            TagEnd::Emphasis | TagEnd::Strong => self.out.close(),
            TagEnd::Strikethrough => match self.strikes.pop() {
                Some(true) => self.out.close(),
                _ => self.out.text("~"),
            },
            TagEnd::Link | TagEnd::Image => self.end_of_link(),
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.out.block(1),
            _ => {}
        }
    }

    /// Text of the source, with the spoilers in it.
    fn text(&mut self, text: &str, range: Range<usize>) {
        while self.spoilers.as_slice().first().is_some_and(|bars| bars.at < range.start) {
            self.spoilers.next();
        }
        if self.spoilers.as_slice().first().is_none_or(|bars| bars.at >= range.end) && self.written <= range.start {
            return self.out.text(text);
        }
        let mut at = self.written.clamp(range.start, range.end);
        while let Some(bars) = self.spoilers.as_slice().first().copied().filter(|bars| bars.at < range.end) {
            self.spoilers.next();
            self.out.text(&self.source[at..bars.at]);
            match bars.opens {
                true => self.out.open(Kind::Spoiler),
                false => self.out.close(),
            }
            self.written = bars.at + 2;
            at = self.written.min(range.end);
        }
        self.out.text(&self.source[at..range.end]);
    }

    fn link(&mut self, link_type: LinkType, address: &str) {
        let mailto;
        let address = if link_type == LinkType::Email && !address.starts_with("mailto:") {
            mailto = format!("mailto:{address}");
            &mailto
        } else {
            address
        };
        let end = match link::allowed(address) {
            Some(url) => {
                self.out.open(Kind::Link { url: url.clone() });
                End::Link { from: self.out.len(), url }
            }
            // `<std::string>` looks like an address to CommonMark.
            None if matches!(link_type, LinkType::Autolink | LinkType::Email) => {
                self.out.text("<");
                End::Literal(">")
            }
            None => End::Address { from: self.out.len(), url: address.to_owned() },
        };
        self.links.push(end);
    }

    /// A picture of the web becomes a link; any other is left to the rules for media.
    fn picture(&mut self, address: &str, range: Range<usize>) {
        match link::allowed(address).filter(|_| link::is_web(address)) {
            Some(url) => {
                self.out.open(Kind::Link { url: url.clone() });
                self.links.push(End::Link { from: self.out.len(), url });
                self.out.text("🖼 ");
            }
            None => {
                self.skipping = 1;
                self.out.text(&self.source[range]);
            }
        }
    }

    fn end_of_link(&mut self) {
        match self.links.pop() {
            Some(End::Link { from, url }) => {
                if self.out.len() == from {
                    self.out.text(&url);
                }
                self.out.close();
            }
            Some(End::Address { from, url }) => match self.out.text_from(from).trim() {
                "" => self.out.text(&url),
                text if text == url || url.is_empty() => {}
                _ => self.out.text(&format!(" ({url})")),
            },
            Some(End::Literal(end)) => self.out.text(end),
            None => {}
        }
    }

    fn code_block(&self, kind: CodeBlockKind<'_>, gap: usize) -> Code {
        let lang = match &kind {
            CodeBlockKind::Fenced(info) => info.split_whitespace().next().filter(|word| is_language(word)),
            CodeBlockKind::Indented => None,
        };
        let prose = kind.is_indented() && (!self.lists.is_empty() || gap == 1 && !self.out.is_empty());
        Code { lang: lang.map(str::to_owned), prose, text: String::new() }
    }

    /// The marker of a list item: a bullet, or the number as it is written.
    fn marker(&mut self, range: &Range<usize>) -> String {
        let item = self.source[range.clone()].trim_start();
        let digits = item.len() - item.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (Some(list), Ok(number)) = (self.lists.last_mut(), item[..digits].parse::<u64>()) else {
            return BULLET.to_owned();
        };
        list.shown = if list.written == Some(number) { list.shown + 1 } else { number };
        list.written = Some(number);
        format!("{}{}", list.shown, if item[digits..].starts_with(')') { ')' } else { '.' })
    }

    /// A block begins: on a new line, or after a blank one if the source has one. Gives the line breaks, 1 or 2.
    fn block(&mut self, range: &Range<usize>) -> usize {
        let gap = self.gaps.before(range.start);
        self.out.block(gap);
        gap
    }

    fn indent(&mut self) {
        let outside = self.quotes.last().copied().unwrap_or(0);
        self.out.indent(self.lists.len().saturating_sub(outside));
    }
}

fn is_language(word: &str) -> bool {
    word.len() <= LONGEST_LANGUAGE
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'#' | b'_' | b'.' | b'-'))
}
