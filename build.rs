//! The page as it is embedded: without indentation and lines that are only comments, which are a sixth of it.
//! Line numbers stay. Nothing in `src/web` may hold a template literal that goes over several lines.

use std::io::Write;
use std::path::Path;
use std::{env, fs};

use flate2::write::GzEncoder;
use flate2::Compression;

fn main() {
    println!("cargo:rerun-if-changed=src/web");
    let to = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
    fs::create_dir_all(&to).expect("a folder in OUT_DIR");
    for file in fs::read_dir("src/web").expect("src/web") {
        let file = file.expect("a file of src/web");
        println!("cargo:rerun-if-changed={}", file.path().display());
        let text = fs::read_to_string(file.path()).expect("text");
        let name = file.file_name();
        let script = name.to_string_lossy().ends_with(".js");
        let slim = slim(&text, script);
        fs::write(to.join(&name), &slim).expect("a file in OUT_DIR");
        fs::write(to.join(format!("{}.gz", name.to_string_lossy())), gzip(&slim)).expect("a file in OUT_DIR");
    }
}

/// Compressed here, so that the program needs no compressor. The same text gives the same bytes.
fn gzip(text: &str) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(text.as_bytes()).and_then(|()| gz.finish()).expect("writing into memory cannot fail")
}

fn slim(text: &str, script: bool) -> String {
    let mut out = String::new();
    let mut comment = false;
    for line in text.lines() {
        let line = line.trim();
        comment |= script && line.starts_with("/*");
        let silent = comment || script && line.starts_with("//");
        if !silent {
            out += line;
        }
        comment &= !line.ends_with("*/");
        out.push('\n');
    }
    out
}
