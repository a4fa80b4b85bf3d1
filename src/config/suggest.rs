//! "Did you mean ...?"

/// The candidate that `word` is probably a misspelling of: the smallest distance, if it is at most 2 or at
/// most a third of the word's length.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let (distance, best) =
        candidates.into_iter().map(|candidate| (distance(word, candidate), candidate)).min_by_key(|(d, _)| *d)?;
    // A word that shares no letter with the candidate is no misspelling of it, however short.
    let near = (distance <= 2 || distance * 3 <= length) && distance < length;
    near.then_some(best)
}

/// Damerau-Levenshtein distance (adjacent letters may be swapped), ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in
            [("", "", 0), ("a", "", 1), ("maxx", "max", 1), ("prot", "port", 1), ("PORT", "port", 0), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn suggestions_are_near() {
        let keys = ["port", "bind", "messageTimeoutMs"];
        assert_eq!(closest("prot", keys), Some("port"));
        assert_eq!(closest("messageTimeoutSeconds", keys), Some("messageTimeoutMs"));
        assert_eq!(closest("messageTimeout", keys), Some("messageTimeoutMs"));
        assert_eq!(closest("zz", ["ab"]), None);
        assert_eq!(closest("unrelated", keys), None);
    }
}
