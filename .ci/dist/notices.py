#!/usr/bin/env python3
"""The licences of everything that is linked into pi-gw for a target: notices.py TRIPLE > THIRD-PARTY.

Reads what cargo knows (cargo metadata) and the licence files in the crates' sources. The same lock file gives the
same bytes. Ends with an error if a crate has neither a licence file nor a licence whose text another crate has.
"""

import json
import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.I)

# What comes with the compiler and the linker rather than from Cargo.lock.
BUILT_IN = """\
SQLite, in libsqlite3-sys: public domain, https://sqlite.org/copyright.html
compiler-rt and libunwind: Apache-2.0 WITH LLVM-exception, https://llvm.org (the exception asks for no notice in binaries)
The Rust standard library: MIT OR Apache-2.0. Copyright (c) The Rust Project Contributors, https://github.com/rust-lang/rust
musl, the C library: MIT. Copyright (c) 2005-2020 Rich Felker, et al., https://musl.libc.org
zig's part of the C library: MIT. Copyright (c) Zig contributors, https://ziglang.org

The last three under the MIT licence:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def linked(triple):
    """The packages whose code is in the program: no build scripts, no procedural macros, no tests."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", triple]
    data = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {p["id"]: p for p in data["packages"]}
    nodes = {n["id"]: n for n in data["resolve"]["nodes"]}
    macro = lambda p: any("proc-macro" in t["kind"] for t in p["targets"])
    todo, seen = [data["resolve"]["root"]], set()
    while todo:
        here = todo.pop()
        if here in seen or macro(packages[here]):
            continue
        seen.add(here)
        for dep in nodes[here]["deps"]:
            if any(kind["kind"] is None for kind in dep["dep_kinds"]):
                todo.append(dep["pkg"])
    seen.discard(data["resolve"]["root"])
    return sorted((packages[id] for id in seen), key=lambda p: (p["name"], p["version"]))


def texts(package):
    """Its licence files; of a choice that offers MIT, only that one."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [f for f in folder.rglob("*") if f.is_file() and NAMES.match(f.name) and f.suffix not in (".rs", ".html")]
    files.sort(key=lambda f: (len(f.relative_to(folder).parts), str(f.relative_to(folder))))
    if re.search(r"\bOR\b|/", package["license"] or ""):
        mit = [f for f in files if re.search(r"mit", f.name, re.I) and f.parent == folder]
        files = mit or files
    return ["\n".join(line.rstrip() for line in f.read_text("utf-8", "replace").strip().splitlines()) for f in files]


def main():
    packages = linked(sys.argv[1])
    users, licences = {}, {}
    for p in packages:
        name = f"{p['name']} {p['version']}"
        licences[name] = p["license"] or "see its licence file"
        own = texts(p)
        if not own:
            authors = ", ".join(p["authors"]) or "its authors"
            own = [f"No licence file comes with it. Copyright {authors}. Licence: {licences[name]}. {p['repository'] or ''}"]
            if "MIT" not in licences[name] and "Apache-2.0" not in licences[name]:
                sys.exit(f"{name} ({licences[name]}) has no licence file")
        for text in own:
            users.setdefault(text, []).append(name)
    out = ["pi-gw is made with the following, besides its own code (LICENSE).", "", BUILT_IN]
    out += [f"{name}: {licence}" for name, licence in licences.items()]
    for text, names in users.items():
        out += ["", "=" * 100, ", ".join(names), "-" * 100, "", text]
    sys.stdout.buffer.write(("\n".join(out) + "\n").encode())


main()
