//! The sessions' hands: one thread per session that is doing something; jobs in order, gone after a minute.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};

use super::chores::Chores;
use crate::agent::session_file;
use crate::ask::Mind;
use crate::fault;
use crate::heartbeat;
use crate::message::{Event, Job, JobDone, JobId};
use crate::transcripts;

/// Jobs of one session that may wait; core has a few outstanding at most.
const JOBS: usize = 64;
const IDLE: Duration = Duration::from_secs(60);
const STACK: usize = 256 << 10;
/// A transcript is rotated at that size, three old ones are kept.
const TRANSCRIPT: u64 = 5 << 20;

type Queue = Sender<(JobId, Job)>;

/// Starts hands on demand. Called by core: never blocks.
pub struct Hands {
    mind: Mind,
    transcripts: PathBuf,
    chores: Arc<Chores>,
    threads: Arc<Mutex<HashMap<Arc<str>, Queue>>>,
}

impl Hands {
    pub fn new(mind: Mind, transcripts: PathBuf, chores: Chores) -> Hands {
        Hands { mind, transcripts, chores: Arc::new(chores), threads: Arc::default() }
    }

    /// Queues a job. One that cannot be queued is not reported: the mind's deadline for it passes, and it asks
    /// again.
    pub fn give(&self, session: &Arc<str>, id: JobId, job: Job) {
        // A download lets nothing else of its session wait.
        let apart: Option<Arc<str>> = matches!(job, Job::Fetch { .. }).then(|| format!("{session} files").into());
        let session = apart.as_ref().unwrap_or(session);
        let mut threads = self.threads.lock().unwrap_or_else(|e| e.into_inner());
        let job = match threads.get(session) {
            // A thread leaves the table under this lock and only with an empty queue: nothing is lost (C4).
            Some(queue) => match queue.try_send((id, job)) {
                Ok(()) => return,
                Err(e) if e.is_full() => return log::error!("{session}: its hands are {JOBS} jobs behind"),
                Err(e) => e.into_inner().1,
            },
            None => job,
        };
        let (queue, jobs) = bounded(JOBS);
        let _ = queue.try_send((id, job)); // new and empty
        let worker = Worker {
            session: session.clone(),
            jobs,
            mind: self.mind.clone(),
            transcripts: self.transcripts.clone(),
            chores: self.chores.clone(),
            threads: self.threads.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("session-{id}")).stack_size(STACK);
        match thread.spawn(move || worker.run()) {
            Ok(_) => {
                threads.insert(session.clone(), queue);
            }
            Err(e) => log::error!("{session}: no thread for its work: {e}"),
        }
    }
}

struct Worker {
    session: Arc<str>,
    jobs: Receiver<(JobId, Job)>,
    mind: Mind,
    transcripts: PathBuf,
    chores: Arc<Chores>,
    threads: Arc<Mutex<HashMap<Arc<str>, Queue>>>,
}

impl Worker {
    fn run(self) {
        let name = format!("{}.jsonl", crate::config::session_dir_name(&self.session));
        let mut transcript = Transcript::new(self.transcripts.join(name));
        loop {
            let (id, job) = match self.jobs.recv_timeout(IDLE) {
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let mut threads = self.threads.lock().unwrap_or_else(|e| e.into_inner());
                    match self.jobs.try_recv() {
                        Ok(next) => next,
                        Err(_) => {
                            threads.remove(&self.session);
                            return;
                        }
                    }
                }
            };
            match &job {
                Job::Transcript { lines, .. } => transcript.append(lines),
                Job::ForgetTranscript => transcript.put_aside(),
                _ => self.perform(id, job),
            }
        }
    }

    fn perform(&self, id: JobId, job: Job) {
        let work = || perform(&self.chores, job);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
            .unwrap_or_else(|_| JobDone::Failed { why: "the work panicked; it is in the log".into() });
        fault::point("job done");
        self.mind.tell(Event::Job { id, done: Box::new(done) }); // a mind that is gone wants nothing more
    }
}

fn perform(chores: &Chores, job: Job) -> JobDone {
    let found = |result: std::io::Result<_>| match result {
        Ok(found) => JobDone::FileRead(found),
        Err(e) => JobDone::Failed { why: e.to_string() },
    };
    match job {
        Job::PrepareFile { path, cwd, fresh } => {
            if let Err(e) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&cwd) {
                return JobDone::Failed { why: format!("the working directory {} cannot be made: {e}", cwd.display()) };
            }
            session_file::prepare(&path, &cwd, &fresh)
        }
        Job::ReadFile { path, marker, from, position_only } => {
            found(session_file::read(&path, &marker, from, position_only))
        }
        Job::FindMessages { path, ids } => found(session_file::find_messages(&path, &ids)),
        Job::Transcript { .. } | Job::ForgetTranscript => JobDone::Done, // the worker's own
        Job::ForgetFiles { dir } => match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                log::warn!("{}: the files of an ended session stay: {e}", dir.display());
                JobDone::Failed { why: e.to_string() }
            }
            _ => JobDone::Done,
        },
        Job::CopySession { from, to, cwd } => match session_file::copy(&from, &cwd, &to) {
            Ok(()) => JobDone::Done,
            Err(e) => JobDone::Failed { why: e.to_string() },
        },
        Job::BranchFile { from, to, cwd } => session_file::branch(&from, &cwd, &to),
        Job::RemoveFile { path } => match session_file::remove(&path) {
            Ok(()) => JobDone::Done,
            Err(e) => {
                log::warn!("{} stays: {e}", path.display());
                JobDone::Failed { why: e.to_string() }
            }
        },
        Job::ReadHeartbeat { path } => JobDone::Asks(asks(&path)),
        chore => chores.perform(chore),
    }
}

/// Without a readable file the agent itself decides what there is to do.
fn asks(path: &Path) -> bool {
    let mut text = String::new();
    let file = File::open(path).map(|file| file.take(heartbeat::MOST));
    match file.and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => heartbeat::asks_for_something(&text),
        Err(_) => true,
    }
}

/// A session's transcript, open while its hands are at work.
struct Transcript {
    path: PathBuf,
    file: Option<(File, u64)>,
}

impl Transcript {
    fn new(path: PathBuf) -> Transcript {
        Transcript { path, file: None }
    }

    fn append(&mut self, lines: &[String]) {
        if let Err(e) = self.try_append(lines) {
            log::warn!("transcript {}: {e}", self.path.display());
            self.file = None;
        }
    }

    /// What comes next begins a new file.
    fn put_aside(&mut self) {
        self.file = None;
        if let Err(e) = transcripts::put_aside(&self.path, SystemTime::now()) {
            log::warn!("transcript {} of a deleted session stays: {e}", self.path.display());
        }
    }

    /// Appends lines; at 5 MiB the file becomes `.1`, `.1` becomes `.2`, and so on to `.3`.
    fn try_append(&mut self, lines: &[String]) -> std::io::Result<()> {
        // Moved or deleted meanwhile: begun anew.
        if self.file.as_ref().is_some_and(|(f, _)| f.metadata().is_ok_and(|m| m.nlink() == 0)) {
            self.file = None;
        }
        if self.file.as_ref().is_none_or(|(_, size)| *size > TRANSCRIPT) {
            self.file = Some(open(&self.path)?);
        }
        let Some((file, size)) = &mut self.file else { return Ok(()) };
        let text = lines.join("\n") + "\n";
        file.write_all(text.as_bytes())?;
        *size += text.len() as u64;
        Ok(())
    }
}

/// The transcript's file and its size; a full one is put aside before.
fn open(path: &Path) -> std::io::Result<(File, u64)> {
    if let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    if path.metadata().is_ok_and(|m| m.len() > TRANSCRIPT) {
        let old = |n: u32| path.with_extension(format!("jsonl.{n}"));
        for n in (1..3).rev() {
            let _ = std::fs::rename(old(n), old(n + 1)); // there may be none yet
        }
        std::fs::rename(path, old(1))?;
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    fn defaults(home: &Path) -> crate::config::Config {
        let env =
            crate::config::Env { home: home.to_owned(), cwd: home.to_owned(), ..crate::config::Env::from_process() };
        let options = crate::config::Options { allow_missing: true, ..crate::config::Options::default() };
        crate::config::load(&env, &options).unwrap().config
    }

    #[test]
    fn c4_every_job_is_done_in_order_however_many_sessions_there_are() {
        let (tx, rx) = bounded(1000);
        let dir = tempfile::tempdir().unwrap();
        let rules = defaults(dir.path()).security.exec;
        let checkpoint = Arc::new(crate::children::checkpoint::Checkpoint::new(rules));
        let (_main, children) = crate::children::Children::new(checkpoint).unwrap();
        let chores = Chores {
            programs: Arc::new(crate::gateway::programs::Programs::new(children)),
            operator: Arc::default(),
            files: Arc::default(),
            config: Arc::new(std::sync::RwLock::new(Arc::new(defaults(dir.path())))),
            roles_dir: dir.path().join("roles"),
            data_root: dir.path().to_owned(),
        };
        let hands = Hands::new(Mind::new(tx, Arc::default()), dir.path().to_owned(), chores);
        for n in 0..300u64 {
            let session: Arc<str> = format!("s{}", n % 7).into();
            let path = dir.path().join("none.jsonl");
            hands.give(&session, n, Job::ReadFile { path, marker: "x".into(), from: 0, position_only: false });
        }
        let mut last = HashMap::new();
        for _ in 0..300 {
            let Event::Job { id, done } = rx.recv_timeout(Duration::from_secs(30)).unwrap() else { panic!() };
            assert_eq!(*done, JobDone::FileRead(Default::default()));
            assert!(last.insert(id % 7, id).is_none_or(|before| before < id));
        }
    }

    #[test]
    fn without_a_heartbeat_file_the_agent_is_asked_and_with_an_empty_one_it_is_let_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heartbeat.md");
        assert!(asks(&path));
        for (text, asked) in [("", false), ("# Heartbeat\n- [ ]\n", false), ("# Heartbeat\n- look\n", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(asks(&path), asked, "{text}");
        }
    }

    #[test]
    fn a_transcript_is_rotated_before_it_fills_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        std::fs::write(&path, vec![b'x'; TRANSCRIPT as usize + 1]).unwrap();
        Transcript::new(path.clone()).append(&["{}".into()]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}\n");
        assert!(dir.path().join("t.jsonl.1").exists());
    }
}
