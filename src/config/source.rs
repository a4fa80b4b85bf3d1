//! The text of a configuration file: decoding, positions, and the parse into [`Node`]s.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use jsonc_parser::ast::{ObjectPropName, Value as Ast};
use jsonc_parser::common::Ranged;
use jsonc_parser::{parse_to_ast, CollectOptions, ParseOptions};

use super::issue::{Issue, Pos, Severity};
use super::node::{Entry, Kind, Node};

/// Deepest nesting of objects and lists. Readers of the tree recurse, on threads with 256 KiB of stack.
pub const MAX_DEPTH: usize = 64;

/// A file's text with an index of its lines.
pub(crate) struct Source {
    pub path: Arc<Path>,
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    /// Decodes a file. A leading byte order mark is skipped; anything but UTF-8 is an error.
    pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<Source, Box<Issue>> {
        let path: Arc<Path> = Arc::from(path);
        let bytes = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
            Some(rest) => rest.to_vec(),
            None => bytes,
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source::new(path, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let bytes = error.into_bytes();
                let mut text = "the file is not UTF-8";
                if matches!(bytes.get(..2), Some([0xFF, 0xFE] | [0xFE, 0xFF])) {
                    text = "the file is UTF-16, it must be UTF-8";
                }
                let readable = Source::new(path, String::from_utf8_lossy(&bytes[..valid]).into_owned());
                let mut issue = readable.issue(Severity::Error, "", text, Some(valid..valid));
                issue.hint = Some("save it again as UTF-8".into());
                Err(Box::new(issue))
            }
        }
    }

    pub fn new(path: Arc<Path>, text: String) -> Source {
        let bytes = text.as_bytes();
        let mut lines = vec![0];
        for (i, byte) in bytes.iter().enumerate() {
            // A lone carriage return ends a line too (and a `//` comment).
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(i + 1) != Some(&b'\n')) {
                lines.push(i + 1);
            }
        }
        Source { path, text, lines }
    }

    /// Line and column (in characters) of a byte offset.
    pub fn pos(&self, offset: usize) -> Pos {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset) - 1;
        let column = self.text[self.lines[line]..offset].chars().count();
        Pos { line: line as u32 + 1, column: column as u32 + 1 }
    }

    /// An issue at a place of this file.
    pub fn issue(&self, severity: Severity, key: &str, text: impl Into<String>, span: Option<Range<usize>>) -> Issue {
        Issue { file: self.path.clone(), pos: span.map(|span| self.pos(span.start)), ..Issue::new(severity, key, text) }
    }

    fn syntax_error(&self, text: impl Into<String>, offset: usize) -> Box<Issue> {
        let mut issue = self.issue(Severity::Error, "", text, Some(offset..offset));
        issue.excerpt = issue.pos.map(|pos| self.excerpt(pos));
        Box::new(issue)
    }

    /// The line with a caret under the column; a long line is cut around it.
    fn excerpt(&self, pos: Pos) -> String {
        const WIDTH: usize = 100;
        let start = self.lines[pos.line as usize - 1];
        let end = self.lines.get(pos.line as usize).copied().unwrap_or(self.text.len());
        let line: Vec<char> = self.text[start..end].trim_end_matches(['\r', '\n']).chars().collect();
        let column = pos.column as usize - 1;
        let from = if line.len() > WIDTH { column.saturating_sub(WIDTH / 2) } else { 0 };
        let shown: String = line[from.min(line.len())..].iter().take(WIDTH).collect();
        // Tabs stay tabs in the caret's line, so that it stands under the character whatever their width.
        let indent: String = line[from.min(line.len())..column.clamp(from, line.len())]
            .iter()
            .map(|c| if *c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("  {shown}\n  {indent}^")
    }

    /// The file's top-level object as a tree.
    pub fn parse(&self) -> Result<Node, Box<Issue>> {
        if let Some(offset) = too_deep(&self.text) {
            return Err(self.syntax_error(format!("more than {MAX_DEPTH} levels of nesting"), offset));
        }
        let options = ParseOptions {
            allow_comments: true,
            allow_trailing_commas: true,
            allow_loose_object_property_names: false,
            allow_missing_commas: false,
            allow_single_quoted_strings: false,
            allow_hexadecimal_numbers: false,
            allow_unary_plus_numbers: false,
            allow_bare_decimal_point_numbers: false,
            allow_non_finite_numbers: false,
            allow_extended_string_escapes: false,
        };
        let parsed = parse_to_ast(&self.text, &CollectOptions::default(), &options)
            .map_err(|error| self.syntax_error(lower_first(&error.kind().to_string()), error.range().start))?;
        match parsed.value {
            Some(value @ Ast::Object(_)) => self.node(value),
            Some(value) => Err(self.syntax_error("the file must hold one object, { ... }", value.start())),
            None => Err(self.syntax_error("the file is empty, it must hold one object, { ... }", 0)),
        }
    }

    /// Recursive, so kept small: loops instead of iterator chains, everything else elsewhere.
    fn node(&self, ast: Ast<'_>) -> Result<Node, Box<Issue>> {
        let range = ast.range();
        let kind = match ast {
            Ast::Array(array) => {
                let mut items = Vec::with_capacity(array.elements.len());
                for item in array.elements {
                    items.push(self.node(item)?);
                }
                Kind::List(items)
            }
            Ast::Object(object) => {
                let mut entries = Vec::with_capacity(object.properties.len());
                for property in object.properties {
                    let value = self.node(property.value)?;
                    entries.push(entry(property.name, value));
                }
                Kind::Object(entries)
            }
            leaf => self.leaf(leaf)?,
        };
        Ok(Node { kind, span: range.start..range.end, origin: None })
    }

    fn leaf(&self, ast: Ast<'_>) -> Result<Kind, Box<Issue>> {
        Ok(match ast {
            Ast::BooleanLit(lit) => Kind::Bool(lit.value),
            Ast::StringLit(lit) => Kind::Text(lit.value.into_owned()),
            Ast::NumberLit(lit) => match lit.value.parse() {
                Ok(number) => Kind::Number(number),
                Err(_) => {
                    let text = format!("\"{}\" is not a number", lit.value);
                    return Err(self.syntax_error(text, lit.range.start));
                }
            },
            _ => Kind::Null,
        })
    }
}

fn entry(name: ObjectPropName<'_>, value: Node) -> Entry {
    let range = name.range();
    let name = match name {
        ObjectPropName::String(lit) => lit.value.into_owned(),
        ObjectPropName::Word(word) => word.value.to_owned(),
    };
    Entry { name, key: range.start..range.end, value }
}

/// Offset of the bracket that opens one level too many, found without recursion.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut i, mut depth) = (0, 0usize);
    while i < bytes.len() {
        match bytes[i] {
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'/') => {
                while i < bytes.len() && bytes[i] != b'\n' && bytes[i] != b'\r' {
                    i += 1;
                }
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                i = text[i + 2..].find("*/").map_or(bytes.len(), |end| i + 2 + end + 1);
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(i);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        i += 1;
    }
    None
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(Arc::from(Path::new("f.jsonc")), text.into())
    }

    fn error(text: &str) -> String {
        source(text).parse().err().map(|issue| issue.to_string()).unwrap_or_else(|| "no error".into())
    }

    #[test]
    fn comments_trailing_commas_and_slashes_in_strings_are_read() {
        let node = source("// one\n{ /* two */ \"a\": \"https://x/*y*/\", \"b\": [1, 2,], }").parse().unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": "https://x/*y*/", "b": [1, 2]}));
    }

    #[test]
    fn syntax_errors_name_line_column_and_show_the_place() {
        for (text, want) in [
            ("{\n  \"a\": 1\n  \"b\": 2\n}", "f.jsonc:2:9: error: expected comma\n    \"a\": 1\n          ^"),
            ("{\r\n  \"é😀\": x\r\n}", "f.jsonc:2:9: error: unexpected word\n    \"é😀\": x\n          ^"),
            ("{\n\t\"a\": }", "f.jsonc:2:7: error: unexpected close brace\n  \t\"a\": }\n  \t     ^"),
            ("", "f.jsonc:1:1: error: the file is empty, it must hold one object, { ... }\n  \n  ^"),
            ("[1]", "f.jsonc:1:1: error: the file must hold one object, { ... }\n  [1]\n  ^"),
            ("{a: 1}", "f.jsonc:1:2: error: expected string for object property\n  {a: 1}\n   ^"),
        ] {
            assert_eq!(error(text), want, "{text}");
        }
        for text in [
            "{'a': 1}",
            "{\"a\": 0x1}",
            "{\"a\": .5}",
            "{\"a\": +1}",
            "{\"a\": NaN}",
            "{} {}",
            "{\"a\": 1",
            "{\"a\": \"x}",
        ] {
            assert!(error(text).contains("f.jsonc:1:"), "{text}: {}", error(text));
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_error() {
        let text = format!("{{ \"a\": \"{}\" x }}", "y".repeat(5000));
        let shown = error(&text);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].chars().count() <= 102, "{shown}");
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some(' '), "{shown}");
    }

    #[test]
    fn nesting_is_limited_before_parsing() {
        let deep = |n: usize| format!("{{\"a\": {}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(source(&deep(63)).parse().is_ok());
        assert!(error(&deep(64)).starts_with("f.jsonc:1:70: error: more than 64 levels of nesting"));
        assert!(error(&deep(2_000_000)).contains("more than 64"));
        // Brackets in strings and comments are not nesting.
        let text = format!("{{\"a\": \"{0}\\\"{0}\" /*{0}*/ }} // {0}", "[".repeat(100));
        assert!(source(&text).parse().is_ok());
    }

    #[test]
    fn encodings() {
        let decode = |bytes: &[u8]| Source::decode(Path::new("f"), bytes.to_vec());
        let with_bom = decode(b"\xEF\xBB\xBF{\"a\": x}").unwrap_or_else(|_| panic!("a BOM is skipped"));
        assert_eq!(with_bom.parse().unwrap_err().pos, Some(Pos { line: 1, column: 7 }));
        let latin = decode(b"{\n\"a\": \"\xE9\"}").err().map(|issue| issue.to_string()).unwrap();
        assert_eq!(latin, "f:2:7: error: the file is not UTF-8 (save it again as UTF-8)");
        let utf16 = decode(b"\xFF\xFE{\0").err().map(|issue| issue.to_string()).unwrap();
        assert!(utf16.contains("UTF-16"), "{utf16}");
    }

    #[test]
    fn positions_with_every_line_ending() {
        let source = source("a\nb\r\nc\rdé x");
        for (offset, line, column) in [(0, 1, 1), (2, 2, 1), (5, 3, 1), (7, 4, 1), (11, 4, 4), (999, 4, 5)] {
            assert_eq!(source.pos(offset), Pos { line, column }, "{offset}");
        }
    }
}
