//! Memory of the program itself: code and constants that were needed once, at the start or in a burst of work, are given back
//! when all is quiet. They stay in the page cache, and come back by themselves when they are needed again (a fraction of a millisecond in all).

use std::sync::OnceLock;

use rustix::mm::{madvise, Advice};

/// Addresses: where something begins, and its length in bytes.
type Range = (usize, usize);

/// Where the program's code and constants lie; empty: unknown, nothing is given back.
fn code() -> &'static [Range] {
    static CODE: OnceLock<Vec<Range>> = OnceLock::new();
    CODE.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        find(&maps, code as fn() -> &'static [Range] as usize)
    })
}

/// The code with that address, and the constants in front of it (the file's beginning, which no relocation changes): of a
/// file, and never writable.
fn find(maps: &str, address: usize) -> Vec<Range> {
    let mut before: Option<Range> = None;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(place), Some(rights), Some(offset)) = (words.next(), words.next(), words.next()) else { continue };
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let ends = place.split_once('-').and_then(|(begin, end)| Some((number(begin)?, number(end)?)));
        let Some((begin, end)) = ends.filter(|_| line.contains('/')) else { continue };
        if rights == "r-xp" && (begin..end).contains(&address) {
            let constants = before.filter(|(at, length)| at + length == begin);
            return constants.into_iter().chain([(begin, end - begin)]).collect();
        }
        before = (rights == "r--p" && number(offset) == Some(0)).then_some((begin, end - begin));
    }
    Vec::new()
}

/// Gives the pages back. Cheap (some 10 µs), but what runs next has to fetch its pages again: for quiet moments.
#[allow(unsafe_code)] // rustix cannot know that these pages hold what the file holds
pub fn release_code() {
    for (begin, length) in code() {
        // SAFETY: a private mapping of a file that is never writable: its pages are those of the file, and are read from
        // there again at the next access.
        if let Err(e) = unsafe { madvise(*begin as *mut _, *length, Advice::LinuxDontNeed) } {
            log::debug!("the program's code was not given back: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_constants_of_a_file_are_found() {
        let maps = "\
01000000-01231000 r--p 00000000 fe:00 100 /usr/bin/pi-gw
01231000-0179d000 r-xp 00230000 fe:00 100 /usr/bin/pi-gw
0179d000-017d2000 rw-p 0079b000 fe:00 100 /usr/bin/pi-gw
7ffd0000-7ffd2000 r-xp 00000000 00:00 0 [vdso]
";
        let (constants, code) = ((0x0100_0000, 0x0023_1000), (0x0123_1000, 0x0056_c000));
        assert_eq!(find(maps, 0x0150_0000), [constants, code]);
        assert_eq!(find(&maps.replace("r--p 00000000", "r--p 00001000"), 0x0150_0000), [code], "not the beginning");
        assert_eq!(find(&maps.replace("01231000 r--p", "01230000 r--p"), 0x0150_0000), [code], "not in front of it");
        for (address, what) in [(0x0100_0000, "data"), (0x017a_0000, "writable"), (0x7ffd_0000, "no file"), (1, "none")]
        {
            assert!(find(maps, address).is_empty(), "{what}");
        }
    }

    #[test]
    fn code_runs_on_after_it_was_given_back() {
        for n in 0..100 {
            release_code();
            assert_eq!(format!("{n}").parse::<i32>().unwrap(), n);
        }
    }
}
