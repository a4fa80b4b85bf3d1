//! Blank lines of the source, which the parser does not tell.

/// Tells whether a blank line stands before a place in the source. Asked in order of the source, so that all answers
/// together cost one pass.
pub struct Gaps<'s> {
    source: &'s str,
    seen: usize,
    line: usize,
    blank: bool,
}

impl<'s> Gaps<'s> {
    pub fn of(source: &'s str) -> Self {
        Gaps { source, seen: 0, line: 0, blank: false }
    }

    /// Line breaks before the block that begins at this byte: 1, or 2 if a blank line is above it.
    pub fn before(&mut self, at: usize) -> usize {
        while let Some(newline) = self.source.as_bytes().get(self.seen..at).and_then(|rest| memchr::memchr(b'\n', rest))
        {
            let end = self.seen + newline;
            self.blank = self.source[self.line..end].trim_matches(|c: char| c == '>' || c.is_whitespace()).is_empty();
            self.line = end + 1;
            self.seen = end + 1;
        }
        self.seen = self.seen.max(at);
        if self.blank {
            2
        } else {
            1
        }
    }
}
