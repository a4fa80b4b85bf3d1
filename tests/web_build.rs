//! What `build.rs` leaves of the page's sources means the same.
#![allow(clippy::unwrap_used)]

#[path = "../build.rs"]
#[allow(dead_code)]
mod build;

use std::fs;
use std::path::Path;
use std::process::Command;

use build::slim;

#[test]
fn given_a_script_then_only_what_means_nothing_goes() {
    let cases = [
        ("// note\nlet one = 1; /* two */\n\n\tlet three = one + +1;\n", "let a=1,b=a+ +1;\n"),
        ("f('a  // b', \"c /* d */\", `e  ${ g( 1 ) }  f`);", "f('a  // b',\"c /* d */\",`e  ${g(1)}  f`);\n"),
        ("x = a / b / c; y = /[/ ]+ /g.test(z); return / q/;", "x=a/b/c;y=/[/ ]+ /g.test(z);return/ q/;\n"),
        ("a = b\n(c)\nd++\ne", "a=b\n(c)\nd++\ne\n"),
        ("for (;;);\nif (a) { b(); }", "for(;;);if(a){b()}\n"),
        ("if (a) { for (;;); }", "if(a){for(;;);}\n"),
        ("f(async (x) => (y) => x(y), (p, q) => p)", "f(async x=>y=>x(y),(p,q)=>p)\n"),
        (
            "const a = { b() { let c; const d = 1; } }; let e = `${a}`;\nif (e) f(); const g = 1;\nfor (const h of a) { i(); } let j;",
            "let a={b(){let c,d=1}},e=`${a}`;if(e)f();let g=1;for(let h of a){i()}let j;\n",
        ),
        ("t = { true: 1, ok: true };", "t={true:1,ok:!0};\n"),
    ];
    for (text, want) in cases {
        assert_eq!(slim(text, "x.js"), want, "{text}");
    }
}

#[test]
fn given_names_that_others_see_then_they_stay() {
    let text = "export const outer = 1;\nclass Shelf { #books = []; add(book) { this.#books.push({ book }); return outer; } }\n\
                function total(amount, { price }) { const result = amount * price; return `${result} ${total.length}`; }\n";
    let want = "export let outer=1;class e{#a=[];add(book){this.#a.push({book});return outer}}\
                function d(b,{price}){let c=b*price;return`${c} ${d.length}`}\n";
    assert_eq!(slim(text, "x.js"), want);
}

#[test]
fn given_a_style_then_spaces_that_mean_something_stay() {
    let text = "/* x */\n:root { --edge: #fff; --edge-2: 1px; }\n.a .b > c:not(.d) ,\ne { margin: calc(1px + var(--edge-2)) 0; content: \"a  b\"; }\n";
    let want = ":root{--b:#fff;--a:1px}.a .b>c:not(.d),e{margin:calc(1px + var(--a)) 0;content:\"a  b\"}\n";
    assert_eq!(slim(text, "x.css"), want);
}

/// The page's own tests, run on what is embedded.
#[test]
fn given_the_scripts_as_they_are_embedded_then_they_pass_the_tests_of_their_sources() {
    let to = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src/web", "tests/web"] {
        fs::create_dir_all(to.path().join(folder)).unwrap();
        for file in fs::read_dir(root.join(folder)).unwrap().map(|f| f.unwrap().path()) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let text = if folder == "src/web" { slim(&text, &name) } else { text };
            fs::write(to.path().join(folder).join(name), text).unwrap();
        }
    }
    fs::write(to.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    let tests = fs::read_dir(to.path().join("tests/web")).unwrap().map(|f| f.unwrap().path());
    let run = Command::new("node").arg("--test").args(tests).current_dir(to.path()).output().expect("node");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("fail 0") && !said.contains("tests 0"), "{said}");
}
