//! The mind under random schedules, faults and crashes (core.md 23).
//!
//! One seed is one run; the same seed gives the same run. `PI_GW_SEED=n` repeats one with its trace,
//! `PI_GW_SEEDS=n` runs many, from `PI_GW_FROM` on. `make simulate` sets them.

#![allow(clippy::unwrap_used)]

mod delegations;
mod hearts;
mod model_pi;
mod platform;
mod presses;
mod schedules;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{World, API, BUTTONS, CRON, DELEGATE, HEART};

/// Fresh seeds of a usual run; `make simulate` does more.
const USUAL: u64 = 2000;
/// Seeds that once failed, each with the fault it found.
const KEPT: &str = include_str!("../simulation.seeds");

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

fn run(seed: u64, trace: bool) -> Result<u64, String> {
    run_with(seed, trace, number("PI_GW_POOL").map(|n| n as usize))
}

fn run_with(seed: u64, trace: bool, pool: Option<usize>) -> Result<u64, String> {
    let outcome = std::panic::catch_unwind(|| World::new(seed, trace, pool).run());
    outcome.unwrap_or_else(|p| {
        let text = p.downcast_ref::<String>().cloned().or(p.downcast_ref::<&str>().map(|s| s.to_string()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

#[test]
fn every_seed_keeps_the_promise() {
    if let Some(seed) = number("PI_GW_SEED") {
        match run(seed, true) {
            Ok(hash) => println!("seed {seed}: clean, trace {hash:016x}"),
            Err(why) => panic!("seed {seed}: {why}"),
        }
        return;
    }
    let kept: Vec<u64> = KEPT.lines().filter_map(|l| l.split_whitespace().next()?.parse().ok()).collect();
    let count = number("PI_GW_SEEDS").unwrap_or(USUAL);
    let from = number("PI_GW_FROM").unwrap_or(1);
    let seeds: Vec<u64> = kept.iter().copied().chain(from..from + count).collect();
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    let failures = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(why) = run(*seed, false) {
                        failures.lock().unwrap().push((*seed, why));
                    }
                    if failures.lock().unwrap().len() >= 5 {
                        break;
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    println!("{} runs in {:.1} s, {} failed", seeds.len(), begun.elapsed().as_secs_f32(), failures.len());
    for (i, (seed, why)) in failures.iter().enumerate() {
        let why = if i == 0 { why } else { why.lines().next().unwrap_or("") };
        println!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
    }
    assert!(failures.is_empty());
}

/// Every run checks at every step that no two sessions share a process, that each prompt reaches a process with its
/// session's directory and role, and that no process is taken from a turn. Here there is always a crowd for it.
#[test]
fn b13_c39_given_more_sessions_than_processes_then_none_is_shared_or_taken_from_a_turn() {
    for pool in [1, 2] {
        for seed in 900_000..900_150 {
            if let Err(why) = run_with(seed, false, Some(pool)) {
                panic!("pool of {pool}, seed {seed}: {why}");
            }
        }
    }
}

/// Among people's messages, requests of `/v1`: each in a turn of its own, some with a model of their own, some in a
/// session that must be gone in the end, some taken back by a client that left.
#[test]
fn requests_of_the_api_keep_the_promise() {
    for seed in API..API + number("PI_GW_SEEDS").unwrap_or(USUAL) / 4 {
        if let Err(why) = run(seed, false) {
            panic!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
        }
    }
}

/// People press the buttons of menus and questions: their own and others', once, twice, late, with the delivery
/// repeated. Each press is answered, what it does is done once, and no question stays open.
#[test]
fn presses_of_buttons_keep_the_promise() {
    for seed in BUTTONS..BUTTONS + number("PI_GW_SEEDS").unwrap_or(USUAL) / 4 {
        if let Err(why) = run(seed, false) {
            panic!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
        }
    }
}

/// Jobs are made, run by hand, changed and removed; the clock is set, the gateway dies. Each due time is run at most once,
/// each job for one time is run or said to be missed, every run has an end, and its result is told once.
#[test]
fn scheduled_jobs_keep_the_promise() {
    for seed in CRON..CRON + number("PI_GW_SEEDS").unwrap_or(USUAL) / 4 {
        if let Err(why) = run(seed, false) {
            panic!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
        }
    }
}

/// Tools that run, and clients, ask other agents, which ask others; callers leave, turns are stopped, pis and the gateway
/// die. Whoever waits is answered once, no task outlives its caller, no platform hears of one, no process is left over.
#[test]
fn delegations_keep_the_promise() {
    for seed in DELEGATE..DELEGATE + number("PI_GW_SEEDS").unwrap_or(USUAL) / 8 {
        if let Err(why) = run(seed, false) {
            panic!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
        }
    }
}

/// An agent is woken by itself and for events, on copies of its conversation's file. No event is lost while it counts, none
/// is dealt with twice, no file goes that a conversation or a process has, none stays that nobody has, and what people
/// wrote is answered as ever.
#[test]
fn heartbeats_keep_the_promise() {
    for seed in HEART..HEART + number("PI_GW_SEEDS").unwrap_or(USUAL) / 8 {
        if let Err(why) = run(seed, false) {
            panic!("seed {seed}: {why}\n  repeat it with: make simulate SEED={seed}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [11, 12, 13, 14] {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
