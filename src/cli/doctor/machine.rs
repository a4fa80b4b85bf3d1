//! The machine: memory, open files, clock, time zone.

use std::path::Path;
use std::time::SystemTime;

use rustix::process::{getrlimit, Resource};

use super::check::Check;
use super::files::size;
use super::Context;
use crate::cli::instance::Instance;
use crate::clock;
use crate::config::Env;

/// What a pi process takes, and everything else, bytes.
const PER_PI: u64 = 200_000_000;
const REST: u64 = 300_000_000;

/// Whether the pool fits.
pub fn memory(context: &Context) -> Vec<Check> {
    let max = u64::from(context.loaded.config.agent.pool.max);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let idle = matches!(context.instance, Ok(Instance::None));
    vec![match (amount(&text, "MemTotal:"), amount(&text, "MemAvailable:")) {
        (Some(total), Some(available)) => {
            fits(limit.map_or(total, |limit: u64| total.min(limit)), available, max, idle)
        }
        _ => Check::ok("memory", "unknown on this system"),
    }]
}

fn amount(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// `idle`: no pi of ours is part of what is used.
fn fits(total: u64, available: u64, max: u64, idle: bool) -> Check {
    let need = max * PER_PI;
    let about =
        format!("{} of {} available, agent.pool.max {max} needs up to {}", size(available), size(total), size(need));
    let room = (total.saturating_sub(REST) / PER_PI).max(1);
    match () {
        () if room < max => Check::warning("memory", about).remedy(format!("set agent.pool.max to {room}")),
        () if idle && available < need => Check::warning("memory", about)
            .remedy(format!("stop other programs, or set agent.pool.max to {}", (available / PER_PI).max(1))),
        () => Check::ok("memory", about),
    }
}

/// Whether enough files may be open at the same time.
pub fn descriptors(context: &Context) -> Vec<Check> {
    let config = &context.loaded.config;
    // Connections, three pipes and a file per pi, and what the gateway holds itself.
    let need = config.gateway.limits.max_connections as u64 + 4 * u64::from(config.agent.pool.max) + 64;
    let limits = getrlimit(Resource::Nofile);
    vec![match limits.current {
        Some(now) if now < need => {
            Check::warning("open files", format!("at most {now}; with all connections in use {need} are needed"))
                .remedy("raise it: LimitNOFILE=4096 in the service, ulimit -n 4096 in a shell; or lower gateway.limits.maxConnections")
        }
        Some(now) => Check::ok("open files", format!("at most {now}")),
        None => Check::ok("open files", "unlimited"),
    }]
}

/// Whether the clock can be believed.
pub fn clock(context: &Context) -> Vec<Check> {
    vec![clock_of(&context.env)]
}

pub fn clock_of(env: &Env) -> Check {
    clock_is(env.now, clock::synchronised() || env.var(clock::TRUSTED) == Some("1"))
}

fn clock_is(now: SystemTime, synchronised: bool) -> Check {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let shown = jiff::Timestamp::from_second(seconds as i64)
        .map_or("?".into(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let remedy = "start a time service (systemd-timesyncd, chrony or ntpd) and check the network";
    match (seconds, synchronised) {
        // 2024 and 2100
        (1_704_067_200..4_102_444_800, true) => Check::ok("clock", format!("{shown}, synchronised")),
        (1_704_067_200..4_102_444_800, false) => {
            Check::warning("clock", format!("{shown}, but nothing keeps it right (containers may not tell)"))
                .remedy(format!("{remedy}; if the host keeps the time: PI_GW_CLOCK_OK=1"))
        }
        _ => Check::error("clock", format!("{shown} cannot be true: schedules wait, TLS fails")).remedy(remedy),
    }
}

/// Whether local time is known.
pub fn zone(_: &Context) -> Vec<Check> {
    vec![zone_now()]
}

pub fn zone_now() -> Check {
    let remedy = "install tzdata and set the zone: TZ=Europe/Berlin, or a link /etc/localtime";
    let database = Path::new("/usr/share/zoneinfo").is_dir();
    match jiff::tz::TimeZone::try_system() {
        Ok(zone) if database => {
            let name = zone.iana_name().map_or("from /etc/localtime".into(), str::to_owned);
            let time = jiff::Timestamp::now().to_zoned(zone).strftime("%H:%M").to_string();
            Check::ok("time zone", format!("{name}, it is {time}"))
        }
        Ok(_) => {
            Check::warning("time zone", "/usr/share/zoneinfo is missing: other zones than the system's are unknown")
                .remedy("install tzdata")
        }
        Err(error) => Check::warning("time zone", format!("unknown, so times are in UTC: {error}")).remedy(remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_pool_must_fit_the_memory() {
        const GB: u64 = 1_000_000_000;
        assert_eq!(fits(8 * GB, 4 * GB, 4, true).state, State::Ok);
        let small = fits(GB, GB / 2, 4, true);
        assert_eq!((small.state, small.remedy.as_deref()), (State::Warning, Some("set agent.pool.max to 3")));
        assert_eq!(fits(8 * GB, GB / 2, 4, true).state, State::Warning);
        assert_eq!(fits(8 * GB, GB / 2, 4, false).state, State::Ok, "its own pi use it");
        assert_eq!(amount("MemTotal: 10 kB\nMemAvailable:   2 kB\n", "MemAvailable:"), Some(2048));
    }

    #[test]
    fn a_clock_of_1970_is_an_error() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(clock_is(at(100), true).state, State::Error);
        assert_eq!(clock_is(at(1_800_000_000), true).state, State::Ok);
        assert_eq!(clock_is(at(1_800_000_000), false).state, State::Warning);
    }
}
