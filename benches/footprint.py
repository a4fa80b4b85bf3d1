#!/usr/bin/env python3
"""What a gateway takes: time to start, and memory. For any gateway, so that figures can be compared.

    footprint.py --url http://127.0.0.1:52134/health --send 'curl -sf … -d "message {n}"' -- ./pi-gw gateway …

--url       polled from the start on; the first answer 200 ends the start
--send      a shell command that sends one message and ends with 0 when its answer is there; {n} becomes its number.
            Left out: nothing is sent
--messages  how many (100)
--starts    how often it is started for the median of the start time (5); the memory is that of the last start
--settle    seconds after the start, and after the messages, until memory is read (60)
--json      one JSON object instead of lines

Needs Linux and python3, nothing else. RSS is the resident memory of the program itself; PSS counts pages that other
processes have mapped too in shares. All processes below it (agents, runtimes, helpers) are summed apart; a gateway
that needs them has to be seen with them. Figures of programs under an emulator are the emulator's.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--send")
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--settle", type=float, default=60)
    parser.add_argument("--limit", type=float, default=120, help="seconds a start, a message or an end may take (120)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    given = parser.parse_args()
    given.command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not given.command or given.starts < 1:
        parser.error("what is to be measured? put -- and its command line at the end")
    return given


def answers(url):
    """Whether there is a 200."""
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=5)
    try:
        connection.request("GET", (url.path or "/") + ("?" + url.query if url.query else ""))
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start(given, url):
    """The process, and the milliseconds from exec to the first 200."""
    if answers(url):
        sys.exit(f"something answers on {given.url} already")
    begun = time.monotonic()
    process = subprocess.Popen(given.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while not answers(url):
        if process.poll() is not None:
            sys.exit(f"it ended with {process.returncode}")
        if time.monotonic() - begun > given.limit:
            end(process, given.limit)
            sys.exit(f"no 200 on {given.url} within {given.limit:.0f} s")
        time.sleep(0.0001)
    return process, (time.monotonic() - begun) * 1000


def end(process, limit):
    """SIGTERM to it alone, as a service manager does; what is left after that is killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def below(pid):
    """All processes that descend from it."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", errors="replace") as f:
                parents[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue  # it ended meanwhile
    found, todo = [], [pid]
    while todo:
        here = todo.pop()
        children = [child for child, parent in parents.items() if parent == here]
        found += children
        todo += children
    return found


def memory(pid):
    """RSS, PSS and what of RSS is no file's, in MB, and threads; nothing if it ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            rollup = dict(re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M))
        with open(f"/proc/{pid}/status") as f:
            threads = int(re.search(r"^Threads:\s+(\d+)", f.read(), re.M).group(1))
    except OSError:
        return None
    kinds = {"rss": "Rss", "pss": "Pss", "anonymous": "Anonymous"}
    return {name: int(rollup[kind]) / 1024 for name, kind in kinds.items()} | {"threads": threads}


def look(process):
    own = memory(process.pid) or sys.exit(f"it ended with {process.wait()}")
    others = [m for m in map(memory, below(process.pid)) if m]
    return {
        **own,
        "children": len(others),
        "childrenRss": sum(m["rss"] for m in others),
        "childrenPss": sum(m["pss"] for m in others),
    }


def send(given, n):
    done = subprocess.run(given.send.replace("{n}", str(n)), shell=True, stdout=subprocess.DEVNULL, timeout=given.limit)
    if done.returncode != 0:
        sys.exit(f"message {n} failed: the command ended with {done.returncode}")


def measure(given):
    url, times, process = urllib.parse.urlsplit(given.url), [], None
    try:
        for n in range(given.starts):
            if process:
                end(process, given.limit)
            process, took = start(given, url)
            times.append(took)
        time.sleep(given.settle)
        found = {"startMs": times, "startMedianMs": statistics.median(times), "idle": look(process)}
        if given.send:
            for n in range(given.messages):
                send(given, n)
            found["busy"] = look(process)
            time.sleep(given.settle)
            found["after"] = look(process)
        return found
    finally:
        if process and process.poll() is None:
            end(process, given.limit)


def told(given, found):
    program = shutil.which(given.command[0]) or given.command[0]
    yield f"program                      {os.path.getsize(program) / 1e6:.2f} MB ({os.path.basename(program)}, without what it starts)"
    yield f"exec to first 200            {found['startMedianMs']:.1f} ms (median of {given.starts}; first {found['startMs'][0]:.1f})"
    names = {
        "idle": f"{given.settle:.0f} s after start",
        "busy": f"right after {given.messages} messages",
        "after": f"{given.settle:.0f} s later",
    }
    for key, name in names.items():
        if key in found:
            m = found[key]
            text = f"{name:<28} RSS {m['rss']:.2f} MB ({m['anonymous']:.2f} anonymous), PSS {m['pss']:.2f} MB, {m['threads']} threads"
            if m["children"]:
                text += f"; below it {m['children']} processes: RSS {m['childrenRss']:.1f} MB, PSS {m['childrenPss']:.1f} MB"
            yield text


def main():
    given = arguments()
    found = measure(given)
    print(json.dumps(found) if given.json else "\n".join(told(given, found)))


main()
