//! A TCP connection to one of several addresses: the next one is tried beside the first after a moment (RFC 8305), so
//! that an IPv6 path that swallows packets costs a quarter of a second.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{connect, ipproto, socket_with, sockopt, AddressFamily, SocketFlags, SocketType};

use super::progress;

/// The head start of an address before the next.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried at most.
const ADDRESSES: usize = 8;
/// How often a shutdown is looked for.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Connects to whichever answers first, within the time the call has left.
pub(super) fn dial(addresses: &[SocketAddr], stop: &AtomicBool) -> Result<TcpStream, String> {
    let mut waiting = alternate(addresses).into_iter();
    let mut next = waiting.next();
    let mut running: Vec<(OwnedFd, SocketAddr)> = Vec::new();
    let mut failed = String::new();
    let mut start_next = Instant::now();
    loop {
        let now = Instant::now();
        if let Some(address) = next.filter(|_| running.is_empty() || now >= start_next) {
            match begin(&address) {
                Ok(Begun::Connected(fd)) => return finish(fd),
                Ok(Begun::Pending(fd)) => running.push((fd, address)),
                Err(e) => note(&mut failed, &address, e),
            }
            next = waiting.next();
            start_next = now + STAGGER;
            continue;
        }
        if running.is_empty() {
            return Err(failed);
        }
        let left = progress::left().filter(|_| !stop.load(Ordering::SeqCst));
        let Some(left) = left else {
            for (_, address) in &running {
                note(&mut failed, address, Errno::TIMEDOUT);
            }
            return Err(failed);
        };
        let until_next = if next.is_some() { start_next.saturating_duration_since(now) } else { LOOK_UP };
        let ready = wait(&running, left.min(LOOK_UP).min(until_next)).map_err(|e| e.to_string())?;
        // From the back, so that the places of the others stay.
        for at in ready.into_iter().rev() {
            let (fd, address) = running.swap_remove(at);
            match sockopt::socket_error(&fd) {
                Ok(Ok(())) => return finish(fd),
                Ok(Err(e)) | Err(e) => note(&mut failed, &address, e),
            }
            start_next = now;
        }
    }
}

/// The first one's family and the other in turns, so that a family that does not work holds up for one step only.
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (a, b): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(|a: &SocketAddr| a.is_ipv6() == first_is_v6);
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut turns: Vec<SocketAddr> = Vec::new();
    while turns.len() < ADDRESSES {
        let pair = [a.next(), b.next()];
        if pair == [None, None] {
            break;
        }
        turns.extend(pair.into_iter().flatten());
    }
    turns
}

enum Begun {
    Connected(OwnedFd),
    Pending(OwnedFd),
}

fn begin(address: &SocketAddr) -> Result<Begun, Errno> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match connect(&fd, address) {
        Ok(()) => Ok(Begun::Connected(fd)),
        Err(Errno::INPROGRESS | Errno::INTR) => Ok(Begun::Pending(fd)),
        Err(e) => Err(e),
    }
}

fn wait(running: &[(OwnedFd, SocketAddr)], time: Duration) -> Result<Vec<usize>, Errno> {
    let mut fds: Vec<PollFd<'_>> = running.iter().map(|(fd, _)| PollFd::new(fd, PollFlags::OUT)).collect();
    // Rounded up to a millisecond: never a busy loop.
    let time =
        Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().clamp(1_000_000, 999_999_999) as _ };
    match poll(&mut fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e),
    }
    Ok((0..fds.len()).filter(|at| !fds[*at].revents().is_empty()).collect())
}

fn finish(fd: OwnedFd) -> Result<TcpStream, String> {
    let stream = TcpStream::from(fd);
    let set = stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true));
    set.map(|()| stream).map_err(|e| e.to_string())
}

fn note(failed: &mut String, address: &SocketAddr, e: Errno) {
    if !failed.is_empty() {
        failed.push_str("; ");
    }
    let e = std::io::Error::from(e);
    failed.push_str(&format!("{address}: {e}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_systems_choice_comes_first() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(alternate(&given), turns);
        let one = addresses(&["1.1.1.1:1"]);
        assert_eq!(alternate(&one), one);
    }
}
