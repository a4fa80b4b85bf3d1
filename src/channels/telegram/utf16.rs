//! Texts measured in UTF-16 code units, as the Bot API measures entities.

/// The byte position of that many units; `None`: beyond the end, or inside a character.
pub fn byte_at(text: &str, units: usize) -> Option<usize> {
    let mut at = 0;
    for (byte, c) in text.char_indices() {
        if at >= units {
            return (at == units).then_some(byte);
        }
        at += c.len_utf16();
    }
    (at == units).then_some(text.len())
}

/// The bytes of a span of units.
pub fn range(text: &str, offset: usize, length: usize) -> Option<std::ops::Range<usize>> {
    Some(byte_at(text, offset)?..byte_at(text, offset.checked_add(length)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_count_units_not_bytes() {
        let text = "é😀@bot";
        assert_eq!(range(text, 3, 4).map(|r| &text[r]), Some("@bot"));
        assert_eq!(byte_at(text, 2), None, "inside a surrogate pair");
        assert_eq!(byte_at(text, 7), Some(text.len()));
        assert_eq!(range(text, 0, 99), None);
    }
}
