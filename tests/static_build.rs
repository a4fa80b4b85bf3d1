//! `.ci/dist/build-static` with stand-ins for the compilers: which way it takes, what it says if something is missing,
//! and that it looks at its own result; and what `pack` puts into a download. Needs `file` (apt install file), as the script does.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const X86: &str = "x86_64-unknown-linux-musl";
const ARM: &str = "arm-unknown-linux-musleabihf";

/// A repository with the script alone, and programs that only note how they were called.
struct Machine {
    dir: tempfile::TempDir,
}

struct Ran {
    code: i32,
    said: String,
    /// What was called to build, with the environment that matters.
    built: String,
}

impl Machine {
    fn new() -> Machine {
        let m = Machine { dir: tempfile::tempdir().unwrap() };
        for folder in ["repo/.ci/dist", "bin", "zig/bin", "sysroot"] {
            fs::create_dir_all(m.at(folder)).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/dist/build-static");
        fs::copy(script, m.at("repo/.ci/dist/build-static")).unwrap();
        m.program("bin/rustc", &format!("echo '{}'", m.at("sysroot").display()));
        let note =
            "echo \"$(basename \"$0\") $* | bootstrap=$RUSTC_BOOTSTRAP rustc=$RUSTC flags=$RUSTFLAGS\" >>../built\n\
                    mkdir -p target/static/$TRIPLE/release && cp ../result target/static/$TRIPLE/release/pi-gw";
        m.program("bin/cargo", note);
        m.program("zig/bin/cargo-zigbuild", note);
        m.results_in(&elf(false), 0);
        m
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn program(&self, path: &str, body: &str) {
        fs::write(self.at(path), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What every build gives: these bytes, followed by nothing up to that size.
    fn results_in(&self, bytes: &[u8], size: u64) {
        fs::write(self.at("result"), bytes).unwrap();
        let file = fs::OpenOptions::new().write(true).open(self.at("result")).unwrap();
        file.set_len(size.max(bytes.len() as u64)).unwrap();
    }

    /// The standard library of that target is installed.
    fn with_target(self, triple: &str) -> Machine {
        let lib = self.at(&format!("sysroot/lib/rustlib/{triple}/lib"));
        fs::create_dir_all(&lib).unwrap();
        fs::write(lib.join("libstd-0123.rlib"), "").unwrap();
        self
    }

    /// The sources of the standard library are there.
    fn with_sources(self) -> Machine {
        let library = self.at("sysroot/lib/rustlib/src/rust/library");
        fs::create_dir_all(&library).unwrap();
        fs::write(library.join("Cargo.lock"), "").unwrap();
        self
    }

    fn build(&self, triple: &str, zig: bool) -> Ran {
        let mut command = Command::new(self.at("repo/.ci/dist/build-static"));
        command.arg(triple).env_clear().env("HOME", self.dir.path()).env("TRIPLE", triple);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.at("bin").display()));
        if zig {
            command.env("ZIG_VENV", self.at("zig"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("file: apt install file"), "apt install file");
        let built = fs::read_to_string(self.at("built")).unwrap_or_default();
        Ran { code: output.status.code().unwrap(), said, built }
    }
}

/// The head of a program of this kind of machine: all that tells a static one from a dynamic one.
fn elf(dynamic: bool) -> Vec<u8> {
    let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    head.extend([2, 0, 62, 0, 1, 0, 0, 0]); // executable, x86-64
    for eight in [0x40_0000_u64, 64, 0] {
        head.extend(eight.to_le_bytes()); // entry, program headers, no section headers
    }
    head.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    let interpreter = b"/lib64/ld-linux-x86-64.so.2\0";
    let (kind, at, length) = if dynamic { (3_u32, 120_u64, interpreter.len() as u64) } else { (1, 0, 120) };
    head.extend(kind.to_le_bytes());
    head.extend(4_u32.to_le_bytes());
    for eight in [at, 0x40_0000 + at, 0x40_0000 + at, length, length, 1] {
        head.extend(eight.to_le_bytes());
    }
    head.extend(interpreter);
    head
}

#[test]
fn an_installed_target_is_built_with_zig_if_there_is_one() {
    let ran = Machine::new().with_target(ARM).with_sources().build(ARM, true);
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(ran.built.starts_with("cargo zigbuild --release --locked --bin pi-gw --target arm-"), "{}", ran.built);
    assert!(!ran.built.contains("build-std") && ran.built.contains("bootstrap= "), "{}", ran.built);
}

#[test]
fn a_zig_whose_allocator_grows_without_end_is_refused() {
    for (version, code) in [("0.15.2", 0), ("0.16.0", 2), ("0.17.1", 2), ("1.0.0", 2)] {
        let m = Machine::new().with_target(ARM);
        m.program("zig/bin/python", &format!("[ \"$*\" = '-m ziglang version' ] && echo {version}"));
        let ran = m.build(ARM, true);
        assert_eq!((ran.code, ran.built.is_empty()), (code, code == 2), "{version}: {}", ran.said);
        assert_eq!(ran.said.contains(&format!("zig {version}")), code == 2, "{}", ran.said);
    }
}

#[test]
fn an_installed_target_of_64_bits_needs_no_zig_but_a_compiler() {
    let m = Machine::new().with_target(X86);
    m.program("bin/musl-gcc", "");
    let ran = m.build(X86, false);
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(ran.built.starts_with("cargo build --release --locked --bin pi-gw --target x86_64-"), "{}", ran.built);

    let ran = Machine::new().with_target(ARM).build(ARM, false);
    assert!(ran.code == 2 && ran.said.contains("make zig") && ran.built.is_empty(), "{} {}", ran.code, ran.said);
}

#[test]
fn without_the_target_its_standard_library_is_built_from_source() {
    let m = Machine::new().with_sources();
    let ran = m.build(ARM, true);
    assert_eq!(ran.code, 0, "{}", ran.said);
    let rustc = m.at("bin/rustc");
    for part in ["cargo-zigbuild zigbuild -Z build-std=std,panic_unwind", "bootstrap=1", "-C link-self-contained=no"] {
        assert!(ran.built.contains(part), "no {part} in {}", ran.built);
    }
    assert!(ran.built.contains(&format!("rustc={}", rustc.display())), "{}", ran.built);
}

#[test]
fn what_is_missing_is_named_and_nothing_is_built() {
    let ran = Machine::new().build(ARM, false);
    assert_eq!((ran.code, ran.built.as_str()), (2, ""), "{}", ran.said);
    assert!(ran.said.contains("make zig"), "{}", ran.said);
    let ran = Machine::new().with_sources().build(X86, false);
    assert!(ran.code == 2 && ran.said.contains("make zig") && ran.built.is_empty(), "{} {}", ran.code, ran.said);
    let ran = Machine::new().build("x86_64-unknown-linux-gnu", true);
    assert!(ran.code == 2 && ran.said.contains("usage") && ran.built.is_empty(), "{} {}", ran.code, ran.said);
}

#[test]
fn a_dynamic_or_a_fat_result_is_a_failure() {
    let m = Machine::new().with_target(X86);
    m.results_in(&elf(true), 0);
    let ran = m.build(X86, true);
    assert!(ran.code == 1 && ran.said.contains("not static"), "{} {}", ran.code, ran.said);
    m.results_in(&elf(false), 20_000_000);
    let ran = m.build(X86, true);
    assert!(ran.code == 1 && ran.said.contains("more than the"), "{} {}", ran.code, ran.said);
}

/// What `make dist` hands out for this machine's kind, made twice; the program is one line that calls the built one.
#[test]
fn a_download_holds_program_example_unit_manual_completions_licences_and_is_the_same_twice() {
    let m = Machine::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name();
        if !["target", "build", ".git", ".ci"].contains(&name.to_str().unwrap()) {
            std::os::unix::fs::symlink(root.join(&name), m.at("repo").join(&name)).unwrap();
        }
    }
    for name in ["pack", "notices.py", "pi-gateway@.service", "Containerfile"] {
        fs::copy(root.join(".ci/dist").join(name), m.at("repo/.ci/dist").join(name)).unwrap();
    }
    m.program("result", &format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_pi-gw")));
    m.program(
        "repo/.ci/dist/build-static",
        "mkdir -p target/static/$1/release && cp ../result target/static/$1/release/pi-gw",
    );
    let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let pack = || {
        let ran = Command::new(m.at("repo/.ci/dist/pack")).arg(&triple).env("SOURCE_DATE_EPOCH", "1000000000").output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        fs::read_to_string(m.at("repo/target/dist/SHA256SUMS")).unwrap()
    };
    let sums = pack();
    assert_eq!(pack(), sums, "other bytes the second time");
    let run = |line: &str| {
        let ran = Command::new("sh").args(["-c", line]).current_dir(m.at("repo/target/dist")).output().unwrap();
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    run("sha256sum --check SHA256SUMS && tar xzf *.tar.gz");
    let name = format!("pi-gw-{}-{triple}", env!("CARGO_PKG_VERSION"));
    let files = run("tar tzf *.tar.gz | grep -v /$ | LC_ALL=C sort");
    let files: Vec<&str> = files.lines().map(|line| line.strip_prefix(&name).unwrap()).collect();
    assert_eq!(
        files,
        [
            "/Containerfile",
            "/LICENSE",
            "/README.md",
            "/THIRD-PARTY",
            "/pi-gateway.jsonc.example",
            "/pi-gateway@.service",
            "/pi-gw",
            "/share/bash-completion/completions/pi-gw",
            "/share/fish/vendor_completions.d/pi-gw.fish",
            "/share/man/man1/pi-gw.1",
            "/share/zsh/site-functions/_pi-gw",
        ]
    );
    let read = |file: &str| fs::read_to_string(m.at("repo/target/dist").join(&name).join(file)).unwrap();
    assert!(read("THIRD-PARTY").contains("rusqlite") && read("share/man/man1/pi-gw.1").starts_with(".TH"));
    assert!(read("pi-gateway@.service").contains("\nUser=%i\n"));
}
