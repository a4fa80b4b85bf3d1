//! Counts wrong secrets per address (R35). Pure: time is a value.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const MOST: u32 = 10;
const ADDRESSES: usize = 1024;

#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<IpAddr, (Instant, u32)>>);

/// A /64 is one customer.
fn bucket(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Throttle {
    /// Seconds until this address may try again; `None`: now. Loopback is never locked out.
    pub fn locked(&self, ip: IpAddr, now: Instant) -> Option<u32> {
        if ip.to_canonical().is_loopback() {
            return None;
        }
        let map = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let (since, n) = map.get(&bucket(ip))?;
        let age = now.saturating_duration_since(*since);
        (*n > MOST && age < WINDOW).then(|| (WINDOW - age).as_secs() as u32 + 1)
    }

    pub fn failed(&self, ip: IpAddr, now: Instant) {
        let mut map = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if map.len() >= ADDRESSES {
            map.retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
            if map.len() >= ADDRESSES {
                if let Some(oldest) = map.iter().min_by_key(|(_, (since, _))| *since).map(|(ip, _)| *ip) {
                    map.remove(&oldest);
                }
            }
        }
        let entry = map.entry(bucket(ip)).or_insert((now, 0));
        if now.saturating_duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_eleven_wrong_secrets_then_the_address_waits_out_the_minute_and_others_do_not() {
        let t = Throttle::default();
        let (bad, good, now) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), Instant::now());
        for _ in 0..10 {
            t.failed(bad, now);
        }
        assert_eq!(t.locked(bad, now), None);
        t.failed(bad, now);
        assert!(t.locked(bad, now).is_some());
        assert_eq!(t.locked(good, now), None);
        assert_eq!(t.locked(bad, now + WINDOW), None);
    }

    #[test]
    fn the_table_stays_bounded_and_loopback_is_never_locked() {
        let t = Throttle::default();
        let now = Instant::now();
        for n in 0..3000u32 {
            t.failed(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), now);
        }
        assert!(t.0.lock().unwrap().len() <= ADDRESSES);
        let local = "127.0.0.1".parse().unwrap();
        for _ in 0..50 {
            t.failed(local, now);
        }
        assert_eq!(t.locked(local, now), None);
    }
}
