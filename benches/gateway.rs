//! `make bench`: what the gateway costs, against its goals (footprint.md 2.6). Runs the release binary with the
//! pi stand-in, which answers at once; the stand-in's own time is measured apart and taken off.
//!
//! `PI_GW_BENCH_QUICK=1`: fewer and shorter runs (half a minute). `PI_GW_BENCH_BINARY`: another binary.
//! Figures are medians; on a busy machine times are upper bounds. It never fails because of a missed goal.
#![allow(clippy::unwrap_used)] // a bench that cannot measure has to stop loudly

mod grow;
mod house;
#[path = "../tests/support/raw_http.rs"]
mod raw_http;
mod send;
mod table;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use house::{binary, chat, Direct, House, Proc};
use serde_json::{json, Value};
use table::{median, ms, percentile, Table};

const MAIN: &str = "agent:main:webchat:default";
/// The gateway takes 60 requests a second from a WebSocket.
const PACE: Duration = Duration::from_millis(18);

struct Bench {
    quick: bool,
    table: Table,
}

/// A name for the log, and what measures.
type Section = (&'static str, fn(&mut Bench));

fn main() {
    // cargo passes `--bench`; a word picks sections.
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let quick = std::env::var("PI_GW_BENCH_QUICK").is_ok_and(|v| v != "0" && !v.is_empty());
    let mut b = Bench { quick, table: Table::default() };
    machine();
    let sections: [Section; 7] = [
        ("start", Bench::start),
        ("latency", Bench::latency),
        ("stream", Bench::stream),
        ("old", Bench::old_pi),
        ("idle", Bench::idle),
        ("send", Bench::send),
        ("grow", Bench::grow),
    ];
    for (name, run) in sections {
        if only.is_empty() || only.iter().any(|o| o == name) {
            run(&mut b);
        }
    }
    b.table.end();
}

fn machine() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    println!("machine: {cores} cores, {model}, Linux {}, load {load} at the start", kernel.trim());
    println!("binary:  {} ({})", binary().display(), linkage(&binary()));
}

/// Static or not, from the ELF program headers.
fn linkage(path: &Path) -> &'static str {
    let bytes = fs::read(path).unwrap();
    let find = |needle: &[u8]| bytes.windows(needle.len()).take(1 << 16).any(|w| w == needle);
    match (find(b"/ld-linux"), find(b"/ld-musl")) {
        (true, _) => "dynamic, glibc: the goals are for the static build",
        (_, true) => "dynamic, musl: the goals are for the static build",
        _ => "static",
    }
}

impl Bench {
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick {
            quick
        } else {
            full
        }
    }

    fn start(&mut self) {
        self.table.section("Start");
        let size = fs::metadata(binary()).unwrap().len() as f64 / 1e6;
        self.table.goal("binary", size, 4.5, "MB");
        let firsts: Vec<f64> = (0..self.pick(11, 5))
            .map(|_| {
                let mut house = House::new("new", true);
                let took = ms(house.start());
                house.stop();
                took
            })
            .collect();
        let mut house = House::new("new", true);
        house.start();
        house.stop();
        let again = |_| {
            let took = ms(house.start());
            let cpu = house.proc().cpu();
            house.stop();
            (took, cpu)
        };
        let (warm, cpu): (Vec<f64>, Vec<f64>) = (0..self.pick(31, 11)).map(again).unzip();
        self.table.goal("exec to 200 on /health, data directory in use", median(&warm), 3.0, "ms");
        self.table.note("    fastest", format!("{:.2} ms", percentile(&warm, 0.0)));
        self.table.note("    processor time of it", format!("{:.2} ms", median(&cpu)));
        self.table.note("first start, empty data directory", format!("{:.2} ms", median(&firsts)));
        let empty: Vec<f64> = (0..self.pick(31, 11))
            .map(|_| {
                let begun = Instant::now();
                Command::new("/bin/true").status().unwrap();
                ms(begun.elapsed())
            })
            .collect();
        self.table.note("for comparison: exec to the end of /bin/true", format!("{:.2} ms", median(&empty)));
    }

    fn latency(&mut self) {
        let count = self.pick(600, 200);
        self.table.section(&format!("One WebChat message, stand-in answers at once ({count} messages, one by one)"));
        let synced = sync_time(std::env::temp_dir().as_path());
        self.table.note("one fdatasync of 8 kB here, p50", format!("{:.3} ms", median(&synced)));
        self.table.note("                            p99", format!("{:.3} ms", percentile(&synced, 0.99)));
        let hop = hop_time();
        self.table.note("one word from thread to thread and back, p50", format!("{:.3} ms", median(&hop)));
        self.table.note("                                        p99", format!("{:.3} ms", percentile(&hop, 0.99)));
        let disk = self.messages("data on disk", tempfile::tempdir().unwrap(), count);
        let memory = tempfile::tempdir_in("/dev/shm").ok().map(|dir| self.messages("data in memory", dir, count));
        let (name, (p50, p99)) = memory.map_or(("", disk), |m| (", data in memory", m));
        self.table.goal(&format!("added per message, p50{name}"), p50, 0.3, "ms");
        self.table.goal(&format!("added per message, p99{name}"), p99, 2.0, "ms");
    }

    fn send(&mut self) {
        let count = self.pick(15, 5);
        send::run(&self.table, count);
    }

    fn grow(&mut self) {
        let count = self.pick(1600, 1000);
        grow::run(&mut self.table, count);
    }

    /// p50 and p99 of what the gateway adds.
    fn messages(&mut self, place: &str, dir: tempfile::TempDir, count: u64) -> (f64, f64) {
        let mut direct = Direct::new("new");
        let mut house = House::in_dir(dir, "new", false);
        house.start();
        let mut ws = house.socket(&[MAIN]);
        for key in 0..20 {
            chat(&mut ws, MAIN, "[[say:ok]]", key);
            sleep(PACE);
        }
        sleep(Duration::from_millis(1500)); // the lazy sync of what came before
        let proc = house.proc();
        let on_disk = place == "data on disk";
        let begin = (proc.written(), house.wal(), house.metric("pigw_sync_total"));
        let mut strace = (on_disk && !self.quick).then(|| Syncs::of(proc)).flatten();
        let traced = if strace.is_some() { 50 } else { 0 };
        for key in 100..100 + traced {
            chat(&mut ws, MAIN, "[[say:ok]]", key);
            sleep(PACE);
        }
        let traced = strace.take().map(|s| s.count() / traced as f64);
        let busy = proc.cpu();
        // By turns, so that both meet the same machine.
        let times: Vec<(f64, f64, f64)> = (1000..1000 + count)
            .map(|key| {
                sleep(PACE / 2);
                let own = direct.turn("[[say:ok]]", b"{\"type\":\"agent_settled\"").0;
                sleep(PACE / 2);
                let (res, reply) = chat(&mut ws, MAIN, "[[say:ok]]", key);
                (ms(res), ms(reply), ms(own))
            })
            .collect();
        sleep(Duration::from_millis(1500));
        let busy = (proc.cpu() - busy) / count as f64;
        let end = (proc.written(), house.wal(), house.metric("pigw_sync_total"));
        let res: Vec<f64> = times.iter().map(|t| t.0).collect();
        let reply: Vec<f64> = times.iter().map(|t| t.1).collect();
        let own: Vec<f64> = times.iter().map(|t| t.2).collect();
        self.table.note(&format!("{place}: p50, p95, p99 in ms"), "");
        let three = |v: &[f64]| [0.5, 0.95, 0.99].map(|p| percentile(v, p));
        let print = |v: [f64; 3]| format!("{:.3}  {:.3}  {:.3}", v[0], v[1], v[2]);
        let (all, pi) = (three(&reply), three(&own));
        let added = [0, 1, 2].map(|i| all[i] - pi[i]);
        self.table.note("    chat.send to chat.reply", print(all));
        self.table.note("    the stand-in itself, prompt to agent_settled", print(pi));
        self.table.note("    added", print(added));
        self.table.note("    chat.send to its answer (the message is safe)", print(three(&res)));
        self.table.note("    processor time of the gateway per message", format!("{busy:.3} ms"));
        if on_disk {
            let n = (count + if traced.is_some() { 50 } else { 0 }) as f64;
            self.table.goal("written to disk per message", (end.0 - begin.0) as f64 / n / 1e3, 4.0, "kB");
            self.table.note("    growth of the WAL", format!("{:.2} kB", (end.1 as f64 - begin.1 as f64) / n / 1e3));
            let counted = end.2.zip(begin.2).map(|(e, b)| (e - b) / n);
            if let Some(n) = counted {
                self.table.goal("syncs per message, from /metrics", n, 3.0, "");
            }
            match traced {
                Some(n) => self.table.goal("fsync and fdatasync per message, from strace", n, 3.0, ""),
                None => self.table.note("fsync and fdatasync, from strace", "not taken"),
            }
        }
        (added[0], added[2])
    }

    fn stream(&mut self) {
        self.table.section("Streaming from new pi to one WebSocket");
        let n = self.pick(20_000, 5_000);
        let prompt = format!("[[stream:{n} words every 0 ms]]");
        let mut direct = Direct::new("new");
        let house = House::running("new", false);
        let mut ws = house.socket(&[MAIN]);
        chat(&mut ws, MAIN, "[[say:ok]]", 0);
        let (mut own, mut all, mut frames) = (Vec::new(), Vec::new(), Vec::new());
        for key in 1..=self.pick(5, 3) {
            own.push(n as f64 / direct.turn(&prompt, b"{\"type\":\"agent_settled\"").0.as_secs_f64());
            let begun = Instant::now();
            ws.ask("chat.send", json!({"sessionKey": MAIN, "text": prompt, "idempotencyKey": format!("s{key}")}));
            let mut seen = 0u64;
            let reply = loop {
                let v = ws.json();
                match v["event"].as_str() {
                    Some("agent") if v["payload"]["type"] == "message_update" => seen += 1,
                    Some("chat.reply") => break v,
                    _ => {}
                }
            };
            all.push(n as f64 / begun.elapsed().as_secs_f64());
            frames.push(seen as f64);
            assert!(reply["payload"]["text"].as_str().unwrap().ends_with(&format!("word{n}")), "{reply}");
        }
        self.table.note("deltas per second through the gateway", format!("{:.0}", median(&all)));
        self.table.note("deltas per second the stand-in writes by itself", format!("{:.0}", median(&own)));
        self.table.note(&format!("frames for {n} deltas"), format!("{:.0}", median(&frames)));
    }

    fn old_pi(&mut self) {
        self.table.section("Old pi: 100 kB in pieces of 50, each event repeats all before it");
        let prompt = "[[long:100000 chars by 50 every 0 ms]]";
        let mut direct = Direct::new("old");
        let house = House::running("old", false);
        let mut ws = house.socket(&[MAIN]);
        chat(&mut ws, MAIN, "[[say:ok]]", 0);
        let (mut own, mut all, mut peaks, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
        for key in 1..=self.pick(3, 1) {
            let (took, bytes) = direct.turn(prompt, b"{\"type\":\"agent_end\"");
            size = bytes as f64 / 1e6;
            own.push(size / took.as_secs_f64());
            house.proc().forget_peak();
            all.push(size / chat(&mut ws, MAIN, prompt, key).1.as_secs_f64());
            peaks.push(house.proc().peak() as f64 / 1024.0);
        }
        self.table.note("written by pi for one answer", format!("{size:.0} MB"));
        self.table.goal("highest RSS of the gateway meanwhile", median(&peaks), 15.0, "MB");
        self.table.note("throughput through the gateway", format!("{:.0} MB/s", median(&all)));
        self.table.note("throughput of the stand-in by itself", format!("{:.0} MB/s", median(&own)));
    }

    /// All of it side by side: memory does not mind, and wake-ups are counted.
    fn idle(&mut self) {
        let seconds = self.pick(45, 12);
        self.table.section(&format!("Idle, no pi process (wake-ups counted over {seconds} s)"));
        let empty = House::running("new", true);
        let watched = House::running("new", true);
        let follower = watched.socket(&[MAIN]);
        let used = House::running("new", true);
        let many = House::running("new", true);
        let one = House::running("new", true);
        let mut ws = one.socket(&[MAIN]);
        chat(&mut ws, MAIN, "[[say:ok]]", 0);
        let first_message = one.proc();
        for key in 1..=100 {
            chat(&mut ws, MAIN, "[[say:ok]]", key);
            sleep(PACE);
        }
        drop(ws);
        one.wait_no_pi();
        let sessions = self.sessions(&used);
        let sockets = self.sockets(&many);
        sleep(Duration::from_secs(10));
        let watch = [("nobody connected", empty.proc()), ("one idle WebSocket", watched.proc())];
        let begin: Vec<_> = watch.iter().map(|(_, p)| p.wakes()).collect();
        let begun = Instant::now();
        sleep(Duration::from_secs(seconds));
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let end: Vec<_> = watch.iter().map(|(_, p)| p.wakes()).collect();

        let t = &mut self.table;
        t.goal("RSS", empty.proc().rss() as f64 / 1024.0, 4.0, "MB");
        t.note("    anonymous part", format!("{:.2} MB", empty.proc().anon() as f64 / 1024.0));
        t.note(
            "    PSS (some gateways of this bench share its pages)",
            format!("{:.2} MB", empty.proc().pss() as f64 / 1024.0),
        );
        t.note("    threads", empty.proc().threads());
        t.goal("RSS after 100 messages", first_message.rss() as f64 / 1024.0, 4.0, "MB");
        t.note("    anonymous part", format!("{:.2} MB", first_message.anon() as f64 / 1024.0));
        t.note("    threads", first_message.threads());
        for (((what, _), b), e) in watch.iter().zip(begin).zip(end) {
            let before: HashMap<String, u64> = b.into_iter().collect();
            let rows: Vec<(String, u64)> =
                e.into_iter().map(|(name, n)| (name.clone(), n - before.get(&name).unwrap_or(&0))).collect();
            let sum: u64 = rows.iter().map(|r| r.1).sum();
            t.goal(&format!("wake-ups per minute, {what}"), sum as f64 / minutes, 20.0, "");
            for (name, n) in rows.iter().filter(|r| r.1 > 0) {
                t.note(&format!("    {}", name.split('/').next().unwrap()), n);
            }
        }
        t.note("RSS per idle session, used once", format!("{sessions:.1} kB"));
        if !self.quick {
            sleep(Duration::from_secs(20)); // their threads end a minute after their last work
            let left = used.proc().threads();
            self.table.note("    threads when all is quiet", left);
            self.table.note("    RSS then", format!("{:.2} MB", used.proc().rss() as f64 / 1024.0));
        }
        self.table.goal("RSS per idle WebSocket", sockets.0, 6.0, "kB");
        self.table.goal("    threads", sockets.1, 0.0, "");
        drop(follower);
    }

    fn sessions(&self, house: &House) -> f64 {
        let key = |n: u32| format!("agent:main:webchat:s{n}");
        let n = 100;
        let mut ws = house.socket(&[]);
        let go = |ws: &mut raw_http::Ws, key: &str| {
            let params = json!({"sessionKey": key, "text": "[[say:ok]]", "idempotencyKey": key});
            let res: Value = ws.call("chat.send", params);
            assert_eq!(res["ok"], true, "{res}");
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let h = ws.call("chat.history", json!({"sessionKey": key}));
                if h["payload"]["messages"].as_array().is_some_and(|m| m.len() >= 2) {
                    break;
                }
                assert!(Instant::now() < end, "{key}: no answer: {h}");
                sleep(Duration::from_millis(50));
            }
        };
        go(&mut ws, &key(1000));
        let before = house.proc().rss();
        for s in 0..n {
            go(&mut ws, &key(s));
        }
        drop(ws);
        house.wait_no_pi();
        (house.proc().rss() as f64 - before as f64) / f64::from(n)
    }

    /// Memory and threads of one that is idle, after some were there.
    fn sockets(&self, house: &House) -> (f64, f64) {
        let open = |n| (0..n).map(|_| house.socket(&[MAIN])).collect::<Vec<_>>();
        let settled = || {
            sleep(Duration::from_secs(1));
            (house.proc().rss() as f64, house.proc().threads() as f64)
        };
        let first = open(20);
        let before = settled();
        let all = open(200);
        let after = settled();
        drop((first, all));
        ((after.0 - before.0) / 200.0, (after.1 - before.1) / 200.0)
    }
}

/// What one sync of two pages costs where the data lies, ms.
fn sync_time(dir: &Path) -> Vec<f64> {
    let mut file = tempfile::tempfile_in(dir).unwrap();
    let one = |_| {
        file.write_all(&[7; 8192]).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        ms(begun.elapsed())
    };
    (0..200).map(one).collect()
}

/// What waking another thread and being woken by it costs on this machine, ms: a message takes this way about four
/// times on its way in and out.
fn hop_time() -> Vec<f64> {
    let (ask, asked) = crossbeam_channel::bounded::<()>(1);
    let (tell, told) = crossbeam_channel::bounded::<()>(1);
    let echo = std::thread::spawn(move || asked.iter().all(|()| tell.send(()).is_ok()));
    let one = |_| {
        sleep(PACE); // both asleep, as the threads of an idle gateway are
        let begun = Instant::now();
        ask.send(()).expect("the echo lives");
        told.recv().expect("the echo lives");
        ms(begun.elapsed())
    };
    let times = (0..200).map(one).collect();
    drop(ask);
    echo.join().expect("the echo ends with its questions");
    times
}

/// strace counting syncs of a process.
struct Syncs {
    strace: std::process::Child,
    out: tempfile::NamedTempFile,
}

impl Syncs {
    fn of(proc: Proc) -> Option<Syncs> {
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-o"]).arg(out.path());
        let mut strace = command.args(["-p", &proc.0.to_string()]).stderr(std::process::Stdio::null()).spawn().ok()?;
        let end = Instant::now() + Duration::from_secs(5);
        let tracer = || fs::read_to_string(format!("/proc/{}/status", proc.0)).unwrap_or_default();
        while tracer().contains("TracerPid:\t0\n") {
            if strace.try_wait().ok()?.is_some() || Instant::now() > end {
                let _ = strace.kill();
                let _ = strace.wait();
                return None; // no strace, or it may not trace
            }
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(300));
        Some(Syncs { strace, out })
    }

    fn count(mut self) -> f64 {
        sleep(Duration::from_millis(1500));
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.strace), rustix::process::Signal::INT);
        let _ = self.strace.wait();
        let text = fs::read_to_string(self.out.path()).unwrap_or_default();
        text.lines().filter(|l| l.contains("sync(")).count() as f64
    }
}
