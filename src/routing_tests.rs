use super::*;

fn source(channel: &str, chat_type: ChatType, chat: &str) -> Source {
    Source { channel: channel.into(), chat_type, chat: chat.into(), sender: "7".into(), ..Source::default() }
}

fn some(text: &str) -> Option<String> {
    Some(text.into())
}

#[test]
fn session_keys_are_those_of_the_original() {
    use ChatType::*;
    let at = |mut s: Source, account: &str| {
        s.account = some(account);
        s
    };
    let inside = |mut s: Source, thread: &str| {
        s.thread = some(thread);
        s
    };
    for (scope, s, key) in [
        (DmScope::Main, source("discord", Dm, "d"), "agent:a:main:main"),
        (DmScope::Main, source("telegram", Dm, "7"), "agent:a:telegram:account:default:main"),
        (DmScope::PerPeer, source("discord", Dm, "d"), "agent:a:dm:7"),
        (DmScope::PerPeer, at(source("telegram", Dm, "7"), "b2"), "agent:a:telegram:account:b2:dm:7"),
        (DmScope::PerChannelPeer, source("discord", Dm, "d"), "agent:a:discord:dm:7"),
        (DmScope::PerChannelPeer, at(source("feishu", Dm, "x"), "app2"), "agent:a:feishu:account:app2:dm:7"),
        (DmScope::Main, source("feishu", Group, "oc_1"), "agent:a:feishu:group:oc_1"),
        (DmScope::Main, inside(source("feishu", Group, "oc_1"), "omt_2"), "agent:a:feishu:group:oc_1:topic:omt_2"),
        (
            DmScope::Main,
            inside(source("telegram", Group, "-100"), "5"),
            "agent:a:telegram:account:default:group:-100:topic:5",
        ),
        (DmScope::Main, source("discord", Channel, "c"), "agent:a:discord:channel:c"),
        (DmScope::Main, inside(source("discord", Thread, "c"), "t"), "agent:a:discord:channel:c:thread:t"),
        (DmScope::Main, source("x", Group, "a:b%c"), "agent:a:x:group:a%3Ab%25c"),
    ] {
        let routing = Routing { scope, ..Routing::default() };
        assert_eq!(routing.session_key("a", &s), key);
    }
}

#[test]
fn a_key_names_its_agent() {
    assert_eq!(agent_of("agent:coder:webchat:x"), Some("coder"));
    assert_eq!(agent_of("cron:backup"), None);
    assert_eq!(agent_of("agent::x"), None);
    assert_eq!(with_agent("agent:main:webchat:x", "coder"), "agent:coder:webchat:x");
    assert_eq!(with_agent("cron:backup", "coder"), "cron:backup");
}

#[test]
fn the_best_binding_wins_then_the_prefix_then_the_default() {
    let bound = |agent: &str| Binding { agent: agent.into(), ..Binding::default() };
    let routing = Routing {
        agents: ["main", "coder", "home", "team"].map(str::to_owned).to_vec(),
        bindings: vec![
            Binding { agent: "gone".into(), peer: Some((None, some("9"))), ..Binding::default() },
            Binding { channel: some("telegram"), ..bound("home") },
            Binding { channel: some("telegram"), ..bound("coder") }, // equal: the first wins
            Binding { channel: some("telegram"), account: some("work"), ..bound("team") },
            Binding { peer: Some((Some(ChatType::Group), some("-5"))), ..bound("coder") },
            Binding { roles: vec!["r1".into(), "r2".into()], guild: some("g"), ..bound("team") },
            Binding { parent: Some((some("channel"), some("p"))), ..bound("coder") },
        ],
        ..Routing::default()
    };
    let t = |s: Source| routing.agent(&s, "hello").0.to_owned();
    assert_eq!(t(source("telegram", ChatType::Dm, "1")), "home");
    assert_eq!(t(Source { account: some("work"), ..source("telegram", ChatType::Dm, "1") }), "team");
    assert_eq!(t(source("telegram", ChatType::Group, "-5")), "coder");
    assert_eq!(t(source("telegram", ChatType::Dm, "-5")), "home", "the kind must match too");
    assert_eq!(t(source("discord", ChatType::Dm, "9")), "main", "a binding to nobody does not count");
    let guild = |roles: &[&str]| Source {
        guild: some("g"),
        member_roles: roles.iter().map(|r| r.to_string()).collect(),
        ..source("discord", ChatType::Channel, "c")
    };
    assert_eq!(t(guild(&["r2"])), "team");
    assert_eq!(t(guild(&["r3"])), "main");
    let parent = Some(("channel".to_owned(), "p".to_owned()));
    assert_eq!(t(Source { parent, ..source("discord", ChatType::Thread, "c") }), "coder");
    assert_eq!(t(Source { agent: some("x"), ..source("telegram", ChatType::Dm, "1") }), "x", "forced");

    let dm = source("discord", ChatType::Dm, "1");
    assert_eq!(routing.agent(&dm, "/coder  fix\nit "), ("coder", "fix\nit"));
    assert_eq!(routing.agent(&dm, "/coder"), ("main", "/coder"), "nothing to say: the caller tells how");
    assert_eq!(routing.agent(&dm, "/codery x"), ("main", "/codery x"));
    assert_eq!(prefixed(&routing.agents, " /home "), Some(("home", "")));
    assert_eq!(routing.agent_of("agent:coder:webchat:x"), "coder");
    assert_eq!(routing.agent_of("agent:nobody:webchat:x"), "main");
    assert_eq!(Routing::default().agent(&dm, "/main x"), ("main", "/main x"), "an empty list has no prefixes");
}

#[test]
fn the_nearest_role_wins() {
    let group = |role: Option<&str>, inner: &[(&str, &str)]| GroupRoles {
        role: role.map(str::to_owned),
        inner: inner.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    };
    let account = |role: &str, groups: &[(&str, GroupRoles)]| AccountRoles {
        role: some(role),
        groups: groups.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
    };
    let roles = [
        (
            ("telegram", "default"),
            account(
                "all",
                &[
                    ("-1", group(Some("one"), &[("5", "five")])),
                    ("-2", group(None, &[])),
                    ("*", group(Some("any"), &[("6", "six")])),
                ],
            ),
        ),
        (("discord", "default"), account("disc", &[("g", group(Some("guild"), &[("c", "chan")]))])),
    ];
    let roles = roles.into_iter().map(|((c, a), r)| ((c.to_owned(), a.to_owned()), r)).collect();
    let routing = Routing { roles, ..Routing::default() };
    let chat = |chat: &str, topic: Option<&str>| Source {
        thread: topic.map(str::to_owned),
        ..source("telegram", ChatType::Group, chat)
    };
    for (s, role) in [
        (chat("-1", Some("5")), Some("five")),
        (chat("-1", Some("6")), Some("six")),
        (chat("-1", Some("9")), Some("one")),
        (chat("-2", None), Some("any")),
        (source("telegram", ChatType::Dm, "-1"), Some("all")),
        (Source { account: some("other"), ..chat("-1", None) }, None),
        (Source { guild: some("g"), ..source("discord", ChatType::Channel, "c") }, Some("chan")),
        (Source { guild: some("g"), ..source("discord", ChatType::Channel, "d") }, Some("guild")),
        (Source { guild: some("h"), ..source("discord", ChatType::Channel, "d") }, Some("disc")),
        (source("webchat", ChatType::Dm, "x"), None),
    ] {
        assert_eq!(routing.role(&s), role, "{s:?}");
    }
}

#[test]
fn a_group_is_known_by_the_key_of_its_conversation() {
    let group = |key: &str| group_of(key).map(|s| (s.channel, s.account.unwrap(), s.chat, s.thread));
    let is = |channel: &str, account: &str, chat: &str, topic: Option<&str>| {
        Some((channel.to_owned(), account.to_owned(), chat.to_owned(), topic.map(str::to_owned)))
    };
    assert_eq!(group("agent:main:telegram:account:work:group:-100:topic:5"), is("telegram", "work", "-100", Some("5")));
    assert_eq!(group("agent:a:feishu:group:oc%3Ax"), is("feishu", "default", "oc:x", None));
    for none in ["agent:main:main:main", "agent:main:telegram:account:default:dm:7", "agent:main:webchat:x", "x"] {
        assert_eq!(group(none), None, "{none}");
    }
}

#[test]
fn topics_of_private_chats_are_conversations_of_their_own_only_where_that_is_wanted() {
    let s = Source {
        channel: "telegram".into(),
        chat: "7".into(),
        sender: "7".into(),
        thread: Some("5".into()),
        ..Source::default()
    };
    let wanted = |yes: bool, scope| {
        let dm_topics = yes.then(|| ("telegram".to_owned(), "default".to_owned())).into_iter().collect();
        Routing { scope, dm_topics, ..Routing::default() }.session_key("main", &s)
    };
    assert_eq!(wanted(false, DmScope::PerPeer), "agent:main:telegram:account:default:dm:7");
    assert_eq!(wanted(true, DmScope::PerPeer), "agent:main:telegram:account:default:dm:7:topic:5");
    assert_eq!(wanted(true, DmScope::Main), "agent:main:telegram:account:default:main:topic:5");
}

#[test]
fn the_role_of_a_forum_s_general_is_that_of_its_topic_one() {
    let inner = [("1".to_owned(), "general".to_owned())].into();
    let groups = [("-1".to_owned(), GroupRoles { role: Some("forum".into()), inner })].into();
    let roles = [(("telegram".to_owned(), "default".to_owned()), AccountRoles { role: None, groups })].into();
    let routing = Routing { roles, ..Routing::default() };
    let at = |thread: Option<&str>| Source {
        channel: "telegram".into(),
        chat_type: ChatType::Group,
        chat: "-1".into(),
        thread: thread.map(str::to_owned),
        ..Source::default()
    };
    assert_eq!(routing.role(&at(None)), Some("general"));
    assert_eq!(routing.role(&at(Some("5"))), Some("forum"));
}
