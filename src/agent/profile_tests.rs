use super::*;

fn profile(model: Option<&str>) -> Profile {
    Profile {
        agent: "main".into(),
        role: "default".into(),
        channel: "webchat".into(),
        cwd: "/work".into(),
        model: model.map(Into::into),
        thinking: "low".into(),
        generation: 1,
        ..Profile::default()
    }
}

fn settings() -> LaunchSettings {
    LaunchSettings { command: vec!["pi".into()], allowed: vec!["pi".into()], ..LaunchSettings::default() }
}

fn spec(profile: &Profile, settings: &LaunchSettings, env: &[(&str, &str)]) -> SpawnSpec {
    let instance =
        Instance { id: ProcId(3), mark: "s.3".into(), token: "secret", session_file: Path::new("/s/a.jsonl") };
    spawn_spec(profile, settings, Path::new("/bin/pi"), instance, env.iter().map(|(a, b)| (a.into(), b.into())))
}

fn args(profile: &Profile, settings: &LaunchSettings) -> String {
    spec(profile, settings, &[]).args.join(OsStr::new(" ")).into_string().unwrap()
}

#[test]
fn the_model_is_split_or_passed_as_a_pattern() {
    let s = settings();
    let head = "--mode rpc --provider anthropic --model claude/x --thinking low --session /s/a.jsonl";
    assert_eq!(args(&profile(Some("anthropic/claude/x")), &s), head);
    assert_eq!(args(&profile(Some("sonnet")), &s), "--mode rpc --model sonnet --thinking low --session /s/a.jsonl");
    assert_eq!(args(&profile(None), &s), "--mode rpc --thinking low --session /s/a.jsonl");
}

#[test]
fn resources_are_given_once_and_prompts_one_by_one() {
    let s = LaunchSettings {
        append_system_prompts: vec!["mine".into(), "the gateway's".into()],
        extensions: vec!["/e/a.ts".into(), "/e/b.ts".into(), "/e/a.ts".into()],
        no_extensions: true,
        ..settings()
    };
    let all = args(&profile(None), &s);
    assert!(all.ends_with("--append-system-prompt mine --append-system-prompt the gateway's --extension /e/a.ts --extension /e/b.ts --no-extensions"), "{all}");
}

#[test]
fn tools_follow_the_profile_the_lists_and_the_gateway() {
    let rules = |profile, allow: Option<&[&str]>, deny: &[&str]| {
        let list = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let rules = ToolRules { profile, allow: allow.map(list), deny: list(deny), gateway: list(&["send_message"]) };
        tools(&rules).join(OsStr::new(" ")).into_string().unwrap()
    };
    assert_eq!(rules(ToolProfile::Coding, None, &[]), "");
    assert_eq!(rules(ToolProfile::Minimal, None, &[]), "--tools read,grep,find,ls,send_message");
    assert_eq!(rules(ToolProfile::Messaging, None, &[]), "--no-builtin-tools");
    assert_eq!(rules(ToolProfile::Coding, None, &["bash"]), "--tools read,edit,write,grep,find,ls,send_message");
    assert_eq!(rules(ToolProfile::Full, Some(&["read", "bash"]), &["bash"]), "--tools read,send_message");
    assert_eq!(rules(ToolProfile::Full, Some(&[]), &["send_message"]), "--no-tools");
}

#[test]
fn secrets_of_the_gateway_do_not_reach_pi() {
    let s = LaunchSettings {
        used_variables: vec!["MY_BOT_TOKEN".into(), "REGION".into()],
        gateway_url: "http://127.0.0.1:1".into(),
        agent_dir: Some("/pi".into()),
        ..settings()
    };
    let env = [
        ("PATH", "/bin"),
        ("MY_BOT_TOKEN", "x"),
        ("REGION", "eu"),
        ("GITHUB_TOKEN", "for the agent"),
        ("TELEGRAM_BOT_TOKEN", "x"),
        ("PI_GATEWAY_AUTH_TOKEN", "x"),
        ("PI_GATEWAY_SESSION_KEY", "x"),
        ("PI_GW_PROC", "outer"),
        ("NOTIFY_SOCKET", "x"),
    ];
    let spec = spec(&profile(None), &s, &env);
    let text: Vec<_> = spec.env.iter().map(|(n, v)| format!("{}={}", n.display(), v.display())).collect();
    assert_eq!(
        text,
        [
            "PATH=/bin",
            "REGION=eu",
            "GITHUB_TOKEN=for the agent",
            "PI_GATEWAY_URL=http://127.0.0.1:1",
            "PI_GATEWAY_INTERNAL_TOKEN=secret",
            "PI_CODING_AGENT_DIR=/pi",
        ]
    );
    assert_eq!(spec.mark.as_deref(), Some("s.3"));
}

#[test]
fn pi_is_found_in_path_or_by_path_and_must_be_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let pi = dir.path().join("pi");
    let path = std::env::join_paths(["/nowhere".as_ref(), dir.path()]).unwrap();
    assert_eq!(find(&settings(), &path), Err(FindError::NotFound("pi".into())));
    std::fs::write(&pi, "#!/bin/sh\necho 1.2.3 >&2\n").unwrap();
    let by_path = LaunchSettings { command: vec![pi.display().to_string()], ..settings() };
    assert_eq!(find(&by_path, &path), Err(FindError::NotExecutable(pi.clone())));
    std::fs::set_permissions(&pi, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(find(&settings(), &path), Ok(pi.clone()));
    assert_eq!(find(&by_path, &path), Ok(pi.clone()));
    let node = LaunchSettings { command: vec!["node".into(), "/x/cli.js".into()], ..settings() };
    assert_eq!(find(&node, &path), Err(FindError::NotAllowed("node".into())));
    assert_eq!(version(&[pi.into_os_string()]).unwrap(), "1.2.3");
    assert!(version(&["/no/such/pi".into()]).is_err());
}

#[test]
fn a_command_of_several_words_and_a_runner_come_first() {
    let mut s = LaunchSettings { command: vec!["node".into(), "/x/cli.js".into()], ..settings() };
    assert!(args(&profile(None), &s).starts_with("/x/cli.js --mode rpc"));
    s.runner = vec!["nice".into(), "-n5".into()];
    assert!(args(&profile(None), &s).starts_with("-n5 node /x/cli.js --mode rpc"));
}
