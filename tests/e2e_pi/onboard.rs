//! What `pi-gw onboard` finds out about the real pi before it writes anything.

use std::process::Command;

use crate::support::home::PiHome;
use crate::support::llm::Llm;
use crate::support::pi;
use crate::support::port::free_port;

fn dry_run(home: &PiHome, new: bool, model: &str) -> (i32, String) {
    let pi = if new { pi::new() } else { pi::old() };
    let ran = Command::new(env!("CARGO_BIN_EXE_pi-gw"))
        .args(["onboard", "--non-interactive", "--dry-run", "--model", model, "--port", &free_port().to_string()])
        .arg("--pi-cli")
        .arg(pi)
        .env_clear()
        .envs(home.env())
        .current_dir(home.path())
        .output()
        .unwrap();
    (ran.status.code().unwrap(), String::from_utf8(ran.stderr).unwrap())
}

pub fn onboard_asks_the_model_a_question(new: bool) {
    let llm = Llm::start();
    let (code, said) = dry_run(&PiHome::new(&llm), new, "fake2/backup-model");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ok: pi:") && said.contains("ok: model: fake2/backup-model answered"), "{said}");
}

pub fn onboard_tells_why_a_model_does_not_answer(new: bool) {
    let nobody = format!("http://127.0.0.1:{}/v1", free_port());
    let (code, said) = dry_run(&PiHome::at(&nobody, &nobody), new, "fake/fake-model");
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("error: model: no answer: Connection error"), "{said}");
}
