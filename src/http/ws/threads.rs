//! Threads for messages that came in. One that has done its work waits for more: to wake it takes less time than to
//! begin a new one, above all on a busy machine.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, Sender};

use crate::http::door::STACK;
use crate::http::port::Permits;

/// So many threads stay for more work, for so long.
const SPARES: usize = 1;
const STAY: Duration = Duration::from_secs(60);

pub type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct Threads {
    /// To a spare thread that waits. `None`: closed, or none was needed yet.
    jobs: Mutex<Option<(Sender<Job>, Receiver<Job>)>>,
    spares: Permits,
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, Option<(Sender<Job>, Receiver<Job>)>> {
        self.jobs.lock().unwrap_or_else(|e| e.into_inner()) // plain data: a panic elsewhere leaves it usable
    }

    /// Does that on a thread which has nothing else to do.
    pub fn give(&self, job: Job) -> io::Result<()> {
        let (jobs, more) = self.lock().get_or_insert_with(|| bounded(0)).clone();
        let Err(refused) = jobs.try_send(job) else { return Ok(()) }; // somebody waits for it
        let (job, spares) = (refused.into_inner(), self.spares.clone());
        drop(jobs);
        let run = move || {
            job();
            let Some(_spare) = spares.take(SPARES) else { return };
            while let Ok(job) = more.recv_timeout(STAY) {
                job();
            }
        };
        Builder::new().name("ws-message".into()).stack_size(STACK).spawn(run).map(drop)
    }

    /// Those that wait for work end.
    pub fn close(&self) {
        *self.lock() = None;
    }
}
