//! Tells the mind about the wall clock: that it is known to be right, and that it was set (core.md 20).

use rustix::io::{read, Errno};
use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};

use crate::ask::Mind;
use crate::clock;
use crate::config::Env;
use crate::message::Event;

/// Nothing expires before the wall clock is known to be right. `Err`: there is no thread to watch it.
pub fn watch(mind: &Mind, env: &Env) -> std::io::Result<()> {
    let trusted = env.var(clock::TRUSTED) == Some("1");
    let right = move || trusted || clock::synchronised();
    if right() {
        mind.tell(Event::Clock { confirmed: true });
    } else {
        let mind = mind.clone();
        let run = move || {
            let mut wait = 5;
            while !right() {
                std::thread::sleep(std::time::Duration::from_secs(wait));
                wait = (wait * 2).min(120);
            }
            mind.tell(Event::Clock { confirmed: true });
        };
        std::thread::Builder::new().name("clock".into()).stack_size(64 << 10).spawn(run)?;
    }
    let mind = mind.clone();
    let run = move || {
        if let Err(e) = until_set(|| mind.tell(Event::Clock { confirmed: right() })) {
            log::info!("nobody says when the clock is set ({e}): schedules look every ten minutes");
        }
    };
    std::thread::Builder::new().name("clock-set".into()).stack_size(64 << 10).spawn(run)?;
    Ok(())
}

/// Waits on a timer that is never due, which the kernel cancels whenever the clock is set.
fn until_set(mut told: impl FnMut() -> bool) -> rustix::io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let never = Timespec { tv_sec: 1 << 33, tv_nsec: 0 }; // the year 2242
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        timerfd_settime(&timer, flags, &Itimerspec { it_interval: zero, it_value: never })?;
        match read(&timer, &mut [0; 8]) {
            Err(Errno::CANCELED) if told() => {}
            Err(Errno::CANCELED) => return Ok(()), // the mind has ended
            Err(Errno::INTR) => {}
            Ok(_) => {}
            Err(e) => return Err(e),
        }
    }
}
