//! Once a day: received files that are too old, or too many, go (`media.*`).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::carry::SharedConfig;
use crate::tidy::{tidy, Limits};

/// After the start, which has more urgent things to do.
const FIRST: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(86_400);

pub fn begin(config: SharedConfig, media: PathBuf) -> std::io::Result<()> {
    let work = move || {
        std::thread::sleep(FIRST);
        loop {
            let c = config.read().unwrap_or_else(|e| e.into_inner()).media.clone();
            let limits = Limits { age: DAY * c.retention_days, total: c.max_total_mb << 20 };
            let done = tidy(&media, limits, SystemTime::now(), false);
            if done.files > 0 {
                log::info!(
                    "{} received files ({} kB) were removed: they were old, or too many",
                    done.files,
                    done.bytes >> 10
                );
            }
            done.errors.iter().for_each(|why| log::warn!("received files: {why}"));
            std::thread::sleep(DAY);
        }
    };
    std::thread::Builder::new().name("janitor".into()).stack_size(256 << 10).spawn(work).map(drop)
}
