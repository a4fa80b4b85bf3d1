//! Text with properly nested marks, the one form all platforms are written from.

use std::cmp::Reverse;

/// What a span says about its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stands in nothing; quotes do not nest.
    Quote {
        expandable: bool,
    },
    /// The address is complete and of an allowed scheme; links do not nest.
    Link {
        url: String,
    },
    Bold,
    Italic,
    Underline,
    Strike,
    Spoiler,
    /// Contains nothing and stands in nothing but a quote, like `Pre`.
    Code,
    /// A block of code. The language is made of `[A-Za-z0-9+#_.-]`.
    Pre {
        lang: Option<String>,
    },
}

impl Kind {
    pub fn is_code(&self) -> bool {
        matches!(self, Kind::Code | Kind::Pre { .. })
    }

    pub fn is_link(&self) -> bool {
        matches!(self, Kind::Link { .. })
    }

    pub fn is_quote(&self) -> bool {
        matches!(self, Kind::Quote { .. })
    }

    /// Order from outside to inside of spans that cover the same text.
    fn rank(&self) -> u8 {
        match self {
            Kind::Quote { .. } => 0,
            Kind::Link { .. } => 1,
            Kind::Bold => 2,
            Kind::Italic => 3,
            Kind::Underline => 4,
            Kind::Strike => 5,
            Kind::Spoiler => 6,
            Kind::Code => 7,
            Kind::Pre { .. } => 8,
        }
    }
}

/// `start..end` are byte offsets into the text, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

/// Plain text and its spans, outer before inner. At most one span of a kind is open anywhere, so the depth is
/// bounded (8) whatever the source was. Made by [`super::parse`] or a [`super::Builder`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rich {
    pub(super) text: String,
    pub(super) spans: Vec<Span>,
}

/// One step of a walk over a [`Rich`].
pub enum Step<'a> {
    Open(&'a Kind),
    Text(&'a str),
    Close(&'a Kind),
}

impl Rich {
    /// Text without marks. Control characters are left out, as platforms do.
    pub fn plain(text: &str) -> Rich {
        Rich { text: text.chars().filter(|c| shown(*c)).collect(), spans: Vec::new() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Nothing that a person could see.
    pub fn is_blank(&self) -> bool {
        self.text.chars().all(super::glyph::is_blank)
    }

    /// Shows text and spans in order, properly nested; each opened span is closed. The order in which a renderer writes.
    pub fn walk<'a>(&'a self, mut step: impl FnMut(Step<'a>)) {
        let mut at = 0;
        let mut open: Vec<&Span> = Vec::new();
        let mut show = |step: &mut dyn FnMut(Step<'a>), to: usize| {
            if at < to {
                step(Step::Text(&self.text[at..to]));
                at = to;
            }
        };
        for span in &self.spans {
            while let Some(last) = open.pop_if(|last| last.end <= span.start) {
                show(&mut step, last.end);
                step(Step::Close(&last.kind));
            }
            show(&mut step, span.start);
            step(Step::Open(&span.kind));
            open.push(span);
        }
        while let Some(last) = open.pop() {
            show(&mut step, last.end);
            step(Step::Close(&last.kind));
        }
        show(&mut step, self.text.len());
    }

    /// Brings spans into the promised order.
    pub(super) fn sorted(text: String, mut spans: Vec<Span>) -> Rich {
        spans.retain(|span| span.start < span.end);
        spans.sort_by_key(|span| (span.start, Reverse(span.end), span.kind.rank()));
        Rich { text, spans }
    }
}

/// Control characters other than newline and tab are shown by nobody.
pub(super) fn shown(c: char) -> bool {
    matches!(c, '\n' | '\t') || !c.is_control()
}
