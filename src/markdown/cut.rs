//! Cuts rich text into chunks that a platform takes (telegram.md 13.4).
//!
//! Works on text and spans, never on markup: each chunk has whole spans of its own. White space at a cut is dropped
//! outside code; nothing else is lost or repeated.

use super::glyph::{is_wide, Clusters};
use super::rich::{Kind, Rich, Span};

/// What a text's length is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// UTF-16 code units (Telegram's entities; never less than its limit of code points).
    Utf16,
    /// Unicode code points, which are scalar values here (Discord, Feishu).
    Scalar,
}

/// What a chunk weighs once it is written for its platform, in whatever the platform counts (mostly bytes).
#[derive(Clone, Copy)]
pub struct Cost {
    pub character: fn(char) -> usize,
    /// The marks before and after a span.
    pub span: fn(&Kind) -> usize,
}

#[derive(Clone, Copy)]
pub struct Limits {
    pub unit: Unit,
    /// Most units of text in a chunk.
    pub max: usize,
    /// Most a chunk may weigh as `cost` says.
    pub budget: usize,
    pub cost: Cost,
    /// Most spans in a chunk; at least 9, the deepest nesting.
    pub spans: usize,
    /// `chunkMode: "length"`: not at blank lines, line ends or sentence ends, only at spaces.
    pub by_length: bool,
}

impl Limits {
    /// Telegram's: `max` UTF-16 units of parsed text, 30,000 bytes of HTML, 95 entities.
    pub fn telegram(max: usize, by_length: bool) -> Limits {
        Limits { unit: Unit::Utf16, max, budget: 30_000, cost: super::telegram::HTML, spans: 95, by_length }
    }
}

/// Chunks in order, none of them blank. A single character that is over the limits is a chunk all the same.
pub fn cut(rich: &Rich, limits: &Limits) -> Vec<Rich> {
    let mut cutter = Cutter { rich, limits, at: 0, next: 0, open: Vec::new() };
    let mut chunks = Vec::new();
    loop {
        cutter.skip_white_space();
        if cutter.at == rich.text.len() {
            return chunks;
        }
        let end = cutter.find_cut();
        let chunk = cutter.chunk(end);
        if !chunk.is_blank() {
            chunks.push(chunk);
        }
        cutter.advance(end);
    }
}

struct Cutter<'a> {
    rich: &'a Rich,
    limits: &'a Limits,
    /// Where the next chunk begins.
    at: usize,
    /// First span that does not begin before `at`.
    next: usize,
    /// Spans that began before `at` and go on.
    open: Vec<usize>,
}

/// Places for a cut with the units before them, the last of each sort. In order of preference.
#[derive(Default)]
struct Places {
    blank_line: Place,
    line: Place,
    sentence: Place,
    space: Place,
    anywhere: Option<usize>,
    in_link: Option<usize>,
}

type Place = Option<(usize, usize)>;

impl Places {
    /// The best of them that leaves 30 % of the units seen.
    fn best(&self, units: usize) -> Option<usize> {
        [self.blank_line, self.line, self.sentence, self.space]
            .into_iter()
            .flatten()
            .find(|(_, before)| before * 10 >= units * 3)
            .map(|(at, _)| at)
            .or(self.anywhere)
            .or(self.in_link)
    }
}

/// What a chunk holds so far.
struct Load {
    units: usize,
    weight: usize,
    spans: usize,
}

impl Cutter<'_> {
    /// Where the chunk that begins at `at` ends; always behind `at`.
    fn find_cut(&self) -> usize {
        let (text, spans, limits) = (&self.rich.text, &self.rich.spans, self.limits);
        let mut live: Vec<&Span> = self.open.iter().map(|&i| &spans[i]).collect();
        let weight = live.iter().map(|span| (limits.cost.span)(&span.kind)).sum();
        let mut load = Load { units: 0, weight, spans: live.len() };
        let (mut next, mut before) = (self.next, None);
        let (mut places, mut clusters) = (Places::default(), Clusters::default());
        for (i, c) in text[self.at..].char_indices() {
            let at = self.at + i;
            while live.pop_if(|span| span.end <= at).is_some() {}
            let whole = !clusters.joins(c);
            if let Some(before) = before.filter(|_| whole) {
                self.note(&mut places, at, before, c, &live, load.units);
            }
            while let Some(span) = spans.get(next).filter(|span| span.start <= at) {
                load.weight += (limits.cost.span)(&span.kind);
                load.spans += 1;
                live.push(span);
                next += 1;
            }
            load.weight += (limits.cost.character)(c);
            let units = match limits.unit {
                Unit::Utf16 => c.len_utf16(),
                Unit::Scalar => 1,
            };
            if load.units + units > limits.max || load.weight > limits.budget || load.spans > limits.spans {
                // Without any place this is one cluster that is too long.
                return places.best(load.units).unwrap_or(if i > 0 { at } else { at + c.len_utf8() });
            }
            load.units += units;
            before = Some(c);
        }
        text.len()
    }

    /// Notes what sort of place `at`, between two characters, is.
    fn note(&self, places: &mut Places, at: usize, before: char, after: char, live: &[&Span], units: usize) {
        if live.iter().any(|span| span.kind.is_link()) {
            places.in_link = Some(at);
            return;
        }
        places.anywhere = Some(at);
        let here = Some((at, units));
        let (blank_line, line) = match self.limits.by_length {
            false => (&mut places.blank_line, &mut places.line),
            true => (&mut None, &mut None),
        };
        if live.iter().any(|span| span.kind.is_code()) {
            match before {
                '\n' if self.limits.by_length => places.space = here,
                '\n' => *line = here,
                ' ' | '\t' => places.space = here,
                _ => {}
            }
        } else if after.is_whitespace() && !before.is_whitespace() {
            let white = &self.rich.text[at..];
            let newlines = white.chars().take_while(|c| c.is_whitespace()).filter(|c| *c == '\n').count();
            places.space = here;
            match newlines {
                0 => {}
                1 => *line = here,
                _ => *blank_line = here,
            }
        }
        let ends = match before {
            '.' | '!' | '?' | '。' | '！' | '？' => after.is_whitespace() || is_wide(after) && !closes(after),
            _ => false,
        };
        if ends && !self.limits.by_length {
            places.sentence = here;
        }
    }

    /// The text up to `end`, without white space at its end, with its part of the spans.
    fn chunk(&self, end: usize) -> Rich {
        let (text, spans) = (&self.rich.text, &self.rich.spans);
        let begun = spans[self.next..].iter().take_while(|span| span.start < end);
        let mut own: Vec<Span> = self.open.iter().map(|&i| &spans[i]).chain(begun).cloned().collect();
        let code_end = own.iter().filter(|span| span.kind.is_code()).map(|span| span.end.min(end)).max().unwrap_or(0);
        let mut stop = self.at + text[self.at..end].trim_end().len();
        if stop < code_end {
            // A line break at a cut in code is the cut itself.
            stop = if end < text.len() && code_end == end {
                text[..end].strip_suffix('\n').map_or(end, str::len)
            } else {
                code_end
            };
        }
        let stop = stop.max(self.at);
        for span in &mut own {
            span.start = span.start.max(self.at) - self.at;
            span.end = span.end.min(stop).max(self.at) - self.at;
        }
        own.retain(|span| span.start < span.end);
        Rich { text: text[self.at..stop].to_owned(), spans: own }
    }

    fn skip_white_space(&mut self) {
        let text = &self.rich.text;
        while let Some(c) = text[self.at..].chars().next().filter(|c| c.is_whitespace()) {
            let starting = self.rich.spans[self.next..].iter().take_while(|span| span.start <= self.at);
            let mut here = self.open.iter().map(|&i| &self.rich.spans[i]).chain(starting);
            if here.any(|span| span.kind.is_code()) {
                return;
            }
            self.advance(self.at + c.len_utf8());
        }
    }

    fn advance(&mut self, to: usize) {
        self.at = to;
        let spans = &self.rich.spans;
        self.open.retain(|&i| spans[i].end > to);
        while let Some(span) = spans.get(self.next).filter(|span| span.start < to) {
            if span.end > to {
                self.open.push(self.next);
            }
            self.next += 1;
        }
    }
}

/// Closing punctuation stays with its sentence.
fn closes(c: char) -> bool {
    matches!(
        c,
        '」' | '』'
            | '）'
            | '】'
            | '》'
            | '〉'
            | '”'
            | '’'
            | '〕'
            | '］'
            | '｝'
            | '。'
            | '！'
            | '？'
            | '，'
            | '、'
    )
}
