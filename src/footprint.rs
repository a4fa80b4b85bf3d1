//! Memory of the program itself: code that was needed once, at the start or in a burst of work, is given back when all
//! is quiet. It stays in the page cache, and comes back by itself when it runs again (a fraction of a millisecond in all).

use std::sync::OnceLock;

use rustix::mm::{madvise, Advice};

/// Where the program's code lies, as address and length in bytes; `None`: unknown, nothing is given back.
fn code() -> Option<(usize, usize)> {
    static CODE: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    *CODE.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
        find(&maps, code as fn() -> Option<(usize, usize)> as usize)
    })
}

/// The mapping with that address, if it is code of a file that nobody can have written to.
fn find(maps: &str, address: usize) -> Option<(usize, usize)> {
    maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let (begin, end) = (usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let file = words.next()? == "r-xp" && line.contains('/');
        (file && (begin..end).contains(&address)).then_some((begin, end - begin))
    })
}

/// Gives the code's pages back. Cheap (some 10 µs), but what runs next has to fetch its pages again: for quiet moments.
#[allow(unsafe_code)] // rustix cannot know that these pages hold what the file holds
pub fn release_code() {
    let Some((begin, length)) = code() else { return };
    // SAFETY: a private mapping of a file, readable and executable and never writable: its pages are those of the file,
    // and are read from there again at the next access.
    if let Err(e) = unsafe { madvise(begin as *mut _, length, Advice::LinuxDontNeed) } {
        log::debug!("the program's code was not given back: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_is_found() {
        let maps = "\
01000000-01231000 r--p 00000000 fe:00 100 /usr/bin/pi-gw
01231000-0179d000 r-xp 00230000 fe:00 100 /usr/bin/pi-gw
0179d000-017d2000 rw-p 0079b000 fe:00 100 /usr/bin/pi-gw
7ffd0000-7ffd2000 r-xp 00000000 00:00 0 [vdso]
";
        assert_eq!(find(maps, 0x0150_0000), Some((0x0123_1000, 0x0056_c000)));
        for (address, what) in [(0x0100_0000, "data"), (0x017a_0000, "writable"), (0x7ffd_0000, "no file"), (1, "none")]
        {
            assert_eq!(find(maps, address), None, "{what}");
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
