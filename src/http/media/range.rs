//! `Range` of a file (RFC 9110 14.2): one range; several, or another unit, mean the whole file. Pure.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    All,
    Part {
        from: u64,
        len: u64,
    },
    /// Nothing of it is in the file.
    Nothing,
}

/// What a `Range` field asks of a file of that size.
pub fn wanted(field: &str, size: u64) -> Wanted {
    let Some((first, last)) = field.trim().strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Wanted::All;
    };
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX)) // more than there can be
    };
    let (from, end) = match (number(first), number(last)) {
        (None, Some(n)) if first.is_empty() => (size.saturating_sub(n), if n == 0 { 0 } else { size }),
        (Some(from), None) if last.is_empty() => (from, size),
        (Some(from), Some(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        _ => return Wanted::All,
    };
    match from < end {
        true => Wanted::Part { from, len: end - from },
        false => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_file_or_refused() {
        let part = |from, len| Wanted::Part { from, len };
        for (field, size, expected) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("bytes=2-5", 10, part(2, 4)),
            ("bytes=2-", 10, part(2, 8)),
            ("bytes=-3", 10, part(7, 3)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=0-99999999999999999999999", 10, part(0, 10)),
            ("bytes=10-", 10, Wanted::Nothing),
            ("bytes=10-12", 10, Wanted::Nothing),
            ("bytes=-0", 10, Wanted::Nothing),
            ("bytes=0-", 0, Wanted::Nothing),
            ("bytes=-1", 0, Wanted::Nothing),
            ("bytes=5-2", 10, Wanted::All),
            ("bytes=0-1,3-4", 10, Wanted::All),
            ("bytes=a-b", 10, Wanted::All),
            ("bytes=-", 10, Wanted::All),
            ("bytes=+1-2", 10, Wanted::All),
            ("lines=0-1", 10, Wanted::All),
        ] {
            assert_eq!(wanted(field, size), expected, "{field}");
        }
    }
}
