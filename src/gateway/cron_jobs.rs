//! The original's scheduled jobs and their runs are taken over once (config.md 8).

use crate::clock;
use crate::config::{Env, Paths};
use crate::store::Store;

use super::settings;

/// What is damaged stops nothing; it is said in the log, and the files stay as they are.
pub fn take_over(store: &Store, paths: &Paths, env: &Env) {
    match store.take_over_cron(&paths.cron_dir(), &settings::zone(env), clock::now().wall) {
        Ok(Ok(None)) => {}
        Ok(Ok(Some((jobs, left)))) => {
            log::info!("{jobs} scheduled jobs of the original were taken over");
            for why in left {
                log::error!("a scheduled job of the original was not taken over: {why}");
            }
        }
        Ok(Err(why)) => log::error!(
            "{} is damaged and was not taken over ({why}); mend it and restart",
            paths.cron_dir().join("jobs.json").display()
        ),
        Err(e) => log::error!("the original's scheduled jobs could not be taken over: {e}"),
    }
}
