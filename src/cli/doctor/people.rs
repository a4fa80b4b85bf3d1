//! Files of approved people that could not be taken over from the original (B17).

use super::check::Check;
use super::Context;

/// Nothing is said where nothing is wrong: most people never had such files.
pub fn check(context: &Context) -> Vec<Check> {
    let dir = context.paths.credentials_dir();
    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
    let mut bad: Vec<String> = entries
        .map(|e| e.path().display().to_string())
        .filter(|name| name.ends_with("-allowFrom.json.bad") || name.ends_with("-pairing.json.bad"))
        .collect();
    bad.sort();
    let check = |name| {
        Check::warning("credentials", format!("{name} was damaged: the people in it were not taken over")).remedy(
            "mend it, take .bad off its name and restart the gateway; or approve the people anew (pi-gw pairing allow) \
             and delete it",
        )
    };
    bad.into_iter().map(check).collect()
}
