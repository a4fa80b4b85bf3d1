//! The original's files of scheduled jobs: `jobs.json`, and `runs/<id>.jsonl` (config.md 8).

use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::cron::{JobRow, KEEP_RUNS};
use super::{Result, Store};
use crate::cron::job::{Job, RunInfo};
use crate::message::Wall;

const MARK: &str = "taken:cron";

/// How many jobs were taken over, and why others were not.
type Taken = (usize, Vec<String>);

impl Store {
    /// Takes them over, unless that was done before. A name that is stored already is left alone. `Err`: the file is
    /// damaged, and why.
    pub fn take_over_cron(
        &self,
        dir: &Path,
        zone: &TimeZone,
        now: Wall,
    ) -> Result<std::result::Result<Option<Taken>, String>> {
        let Ok(bytes) = std::fs::read(dir.join("jobs.json")) else { return Ok(Ok(None)) }; // the usual case
        if self.meta_text(MARK)?.is_some() {
            return Ok(Ok(None));
        }
        let value: Value = match serde_json::from_slice(&bytes) {
            Ok(value) => value,
            Err(e) => return Ok(Err(e.to_string())),
        };
        let none = Vec::new();
        let list = value.get("jobs").unwrap_or(&value).as_array().unwrap_or(&none);
        self.begin()?;
        let done = self.take_cron(list, dir, zone, now);
        match &done {
            Ok(_) => self.commit()?,
            Err(_) => self.rollback(),
        }
        Ok(Ok(Some(done?)))
    }

    fn take_cron(&self, list: &[Value], dir: &Path, zone: &TimeZone, now: Wall) -> Result<Taken> {
        let there = self.cron_jobs()?;
        let (mut taken, mut left) = (0, Vec::new());
        for value in list {
            let name = value.get("id").and_then(Value::as_str).unwrap_or("?");
            let job = match Job::from_json(value) {
                Ok(job) if there.iter().any(|row| row.id == job.id) => continue,
                Ok(job) => job,
                Err(why) => {
                    left.push(format!("{name}: {why}"));
                    continue;
                }
            };
            match JobRow::fresh(&job, zone, now) {
                Ok(row) => self.put_cron_job(&row)?,
                Err(why) => {
                    left.push(format!("{name}: {why}"));
                    continue;
                }
            }
            self.take_runs(&job.id, &dir.join("runs").join(format!("{}.jsonl", job.id)))?;
            taken += 1;
        }
        self.set_meta(MARK, "1")?;
        Ok((taken, left))
    }

    fn take_runs(&self, id: &str, path: &Path) -> Result<()> {
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let runs: Vec<RunInfo> = text.lines().filter_map(|line| run(id, &serde_json::from_str(line).ok()?)).collect();
        for run in runs.iter().skip(runs.len().saturating_sub(KEEP_RUNS as usize)) {
            self.add_cron_run(run, None)?;
        }
        Ok(())
    }
}

fn run(id: &str, v: &Value) -> Option<RunInfo> {
    let ms = |key: &str| v.get(key).and_then(Value::as_f64).map(|ms| ms as Wall);
    let text = |key: &str| v.get(key).and_then(Value::as_str).map(str::to_owned);
    let started = ms("startedAt")?;
    Some(RunInfo {
        job: id.to_owned(),
        due: started,
        started,
        finished: Some(ms("finishedAt").unwrap_or(started)),
        status: text("status").filter(|s| matches!(s.as_str(), "completed" | "timeout" | "error"))?,
        preview: text("resultPreview"),
        error: text("error"),
        delivery: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_jobs_are_taken_over_once_with_their_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("gateway.db")).unwrap();
        let cron = dir.path().join("cron");
        std::fs::create_dir_all(cron.join("runs")).unwrap();
        let now = 1_800_000_000_000;
        let take = || store.take_over_cron(&cron, &TimeZone::UTC, now).unwrap();
        assert_eq!(take(), Ok(None), "there is no such file");
        std::fs::write(cron.join("jobs.json"), "[{").unwrap();
        assert!(take().is_err());
        let jobs = r#"[{"id":"a","schedule":{"kind":"every","expr":"1h"},"payload":{"text":"look"},"delivery":"silent"},
            {"id":"b","schedule":{"kind":"cron","expr":"0 0 30 2 *"},"payload":{"text":"never"}}]"#;
        std::fs::write(cron.join("jobs.json"), jobs).unwrap();
        let runs: String = (0..120)
            .map(|n| {
                format!("{{\"jobId\":\"a\",\"startedAt\":{n},\"finishedAt\":{},\"status\":\"completed\"}}\n", n + 5)
            })
            .collect();
        std::fs::write(cron.join("runs/a.jsonl"), runs + "torn").unwrap();
        let (taken, left) = take().unwrap().unwrap();
        assert_eq!(taken, 1);
        assert!(left[0].starts_with("b: schedule.expr: names no day"), "{left:?}");
        let rows = store.cron_jobs().unwrap();
        assert_eq!((rows.len(), rows[0].next), (1, Some(now + 3_600_000)));
        let runs = store.cron_runs("a", 1000).unwrap();
        assert_eq!((runs.len(), runs[0].started, runs[99].started), (100, 20, 119));
        store.remove_cron_job("a").unwrap();
        assert_eq!(take(), Ok(None), "only once");
    }
}
