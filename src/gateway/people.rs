//! Who could write to the original may write here: its credential files are taken over once (config.md 8).

use crate::channels::telegram;
use crate::clock;
use crate::config::types::DEFAULT_ACCOUNT;
use crate::config::{Config, Paths};
use crate::store::original::{aside, Credentials};
use crate::store::Store;

/// Looks for the files of every account. What is damaged is put aside, loudly, and stops nothing (B17).
pub fn take_over(store: &Store, c: &Config, paths: &Paths) {
    for account in c.channels.telegram.accounts.keys() {
        for (what, word) in [(Credentials::Approved, "allowFrom"), (Credentials::Asked, "pairing")] {
            let of = |account| paths.original_credentials(telegram::NAME, account, word);
            let mut files = vec![of(Some(account))];
            if account == DEFAULT_ACCOUNT {
                files.push(of(None)); // from before the original had accounts
            }
            for file in files {
                match store.take_over(&file, what, telegram::NAME, account, clock::now().wall) {
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some(said))) => log::info!("{said}"),
                    Ok(Err(why)) => {
                        let bad = aside(&file);
                        let kept = std::fs::rename(&file, &bad).map_or_else(|e| e.to_string(), |()| "put aside".into());
                        log::error!(
                            "{} is damaged and was not taken over ({why}); {}: {kept}. Mend it, give it its old name \
                             back and restart, or approve people anew",
                            file.display(),
                            bad.display()
                        );
                    }
                    Err(e) => log::error!("{} could not be taken over: {e}", file.display()),
                }
            }
        }
    }
}
