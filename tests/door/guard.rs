//! Who may pass (gateway-api.md 2.2).

use pi_gateway::http::{Net, Settings};
use serde_json::json;

use crate::bearer;
use crate::house::*;
use crate::raw_http::*;

#[test]
fn the_secret_is_taken_from_header_query_and_cookie_and_nowhere_else() {
    let h = House::new();
    let get = |path: &str, fields: &str| ask(h.addr, "GET", path, fields, "").status;
    assert_eq!(get("/api/pool", ""), 401);
    assert_eq!(get("/nowhere", ""), 401);
    assert_eq!(get("/api/pool", &bearer()), 200);
    assert_eq!(get("/nowhere", &bearer()), 404);
    assert_eq!(get("/api/pool", &format!("Authorization: bEARER {SECRET}\r\n")), 200);
    assert_eq!(get("/api/pool", &format!("Authorization: {SECRET}\r\n")), 200);
    assert_eq!(get("/api/pool", "Authorization: Bearer wrong\r\n"), 401);
    let token = "token=correct+horse%20battery+staple";
    assert_eq!(get(&format!("/api/pool?{token}"), ""), 200);
    assert_eq!(get("/api/pool?token=wrong", ""), 401);
    assert_eq!(get(&format!("/api/pool?{token}"), "Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(get(&format!("/metrics?{token}"), ""), 401);
    assert_eq!(get("/api/pool", "Cookie: pigw=guess\r\n"), 401);
    for open in ["/", "/web/app.js", "/favicon.ico", "/robots.txt", "/health", "/api/health", "/health/live"] {
        assert!(get(open, "") < 300, "{open}");
    }
    let r = ask(h.addr, "GET", "/api/pool", "", "");
    assert_eq!(r.json()["error"], "Unauthorized");
    assert!(r.header("www-authenticate").is_some());
}

#[test]
fn a_right_secret_in_the_address_becomes_a_cookie() {
    let h = House::new();
    let r = ask(h.addr, "GET", "/?token=correct%20horse%20battery%20staple", "", "");
    assert_eq!((r.status, r.header("location")), (303, Some("/")));
    let cookie = r.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000") && !cookie.contains("Secure"));
    let cookie = format!("Cookie: x=1; {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask(h.addr, "GET", "/?token=wrong", "", "").status, 401);
    let person = ask(h.addr, "GET", "/?token=wrong", "Accept: text/html,*/*\r\n", "");
    assert_eq!((person.status, person.header("location"), person.header("set-cookie")), (303, Some("/"), None));

    assert_eq!(ask(h.addr, "GET", "/api/pool", &cookie, "").status, 200);
    let post = |origin: &str| ask(h.addr, "POST", "/api/chat", &format!("{cookie}{origin}"), r#"{"message":"a"}"#);
    assert_eq!(post("").refusal(), (403, "origin_not_allowed".into()));
    assert_eq!(post("Origin: http://localhost\r\n").status, 200);
    assert_eq!(post("Origin: http://evil.example\r\n").status, 403);
    assert_eq!(post("Origin: null\r\n").status, 403);
    assert!(Ws::open(h.addr, "/ws", &format!("{cookie}Origin: http://evil.example\r\n")).is_err());
    let mut ws = Ws::open(h.addr, "/ws", &format!("{cookie}Origin: http://localhost\r\n")).unwrap();
    assert_eq!(ws.call("connect", json!({}))["ok"], true);

    // another start knows the cookie, another secret does not
    let again = House::with(Settings { logins_file: None, ..settings() }, well());
    assert_eq!(ask(again.addr, "GET", "/api/pool", &cookie, "").status, 401);
    let out = ask(h.addr, "POST", "/logout", &format!("{cookie}Origin: http://localhost\r\n"), "");
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(ask(h.addr, "GET", "/api/pool", &cookie, "").status, 401);
}

#[test]
fn login_takes_json_and_forms() {
    let h = House::new();
    let r = ask(h.addr, "POST", "/login", "", &json!({"token": SECRET}).to_string());
    assert!(r.status == 200 && r.header("set-cookie").is_some());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let r = ask(h.addr, "POST", "/login", form, "token=correct+horse+battery+staple");
    assert!(r.status == 303 && r.header("set-cookie").is_some());
    assert_eq!(ask(h.addr, "POST", "/login", "", r#"{"token":"x"}"#).status, 401);
    assert_eq!(ask(h.addr, "POST", "/login", "", "{}").status, 400);
    assert_eq!(ask(h.addr, "POST", "/login", "Origin: http://evil.example\r\n", "{}").status, 403);
}

#[test]
fn foreign_hosts_are_told_the_setting() {
    let h = House::open();
    let mut c = Client::new(h.addr);
    c.send("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let r = c.response();
    assert_eq!(r.refusal(), (421, "host_not_allowed".into()));
    assert!(r.text().contains("gateway.allowedHosts"));
}

#[test]
fn given_mode_off_or_a_bearer_then_origins_are_judged_accordingly() {
    let h = House::open();
    let evil = "Origin: http://evil.example\r\n";
    assert_eq!(ask(h.addr, "POST", "/api/chat", evil, r#"{"message":"a"}"#).status, 403);
    let r = Ws::open(h.addr, "/", evil).err().unwrap();
    assert!(r.text().contains("http://evil.example") && r.text().contains("gateway.allowedOrigins"));
    assert_eq!(ask(h.addr, "GET", "/api/pool", evil, "").header("access-control-allow-origin"), None);
    let h = House::new();
    let r = ask(h.addr, "POST", "/api/chat", &format!("{evil}{}", bearer()), r#"{"message":"a"}"#);
    assert_eq!((r.status, r.header("access-control-allow-origin")), (200, Some("*")));
    let r = ask(h.addr, "GET", "/api/pool", evil, "");
    assert_eq!((r.status, r.header("access-control-allow-origin")), (401, Some("*")));
    let r = ask(h.addr, "OPTIONS", "/api/chat", &format!("{evil}Access-Control-Request-Method: POST\r\n"), "");
    assert_eq!(r.status, 204);
    assert!(r.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
}

#[test]
fn local_open_is_for_local_programs_only() {
    let h = House::with(Settings { local_open: true, ..settings() }, well());
    let get = |fields: &str| ask(h.addr, "GET", "/api/pool", fields, "").status;
    assert_eq!(get(""), 200);
    assert_eq!(get("Origin: http://localhost\r\n"), 401);
    assert_eq!(get("X-Forwarded-For: 1.2.3.4\r\n"), 401);
    assert_eq!(get("Authorization: wrong\r\n"), 401);
}

#[test]
fn after_eleven_wrong_secrets_an_address_has_to_wait() {
    let proxies = vec![Net::parse("127.0.0.1").unwrap()];
    let h = House::with(Settings { trusted_proxies: proxies, ..settings() }, well());
    let from = |ip: &str, key: &str| {
        ask(h.addr, "GET", "/api/pool", &format!("X-Forwarded-For: {ip}\r\nAuthorization: {key}\r\n"), "")
    };
    for _ in 0..11 {
        assert_eq!(from("9.9.9.9", "guess").status, 401);
    }
    let r = from("9.9.9.9", SECRET);
    assert_eq!(r.refusal(), (429, "rate_limited".into()));
    assert!(r.header("retry-after").is_some());
    assert_eq!(from("9.9.9.8", SECRET).status, 200);
}

#[test]
fn every_answer_has_its_security_headers_and_a_request_id() {
    let h = House::open();
    let r = ask(h.addr, "GET", "/", "X-Request-Id: my-id.1\r\n", "");
    assert_eq!(r.header("x-request-id"), Some("my-id.1"));
    assert_eq!(r.header("x-frame-options"), Some("DENY"));
    assert!(r.header("content-security-policy").unwrap().starts_with("default-src 'self'; img-src 'self' data: blob:"));
    assert_eq!(r.header("server"), Some("pi-gw"));
    let again = ask(h.addr, "GET", "/", &format!("If-None-Match: {}\r\n", r.header("etag").unwrap()), "");
    assert_eq!(again.status, 304);
    let r = ask(h.addr, "GET", "/nowhere", "X-Request-Id: bad id!\r\n", "");
    assert_eq!(r.header("cache-control"), Some("no-store"));
    assert_eq!(r.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(r.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(r.json()["requestId"], r.header("x-request-id").unwrap());
    let v2 = ask(h.addr, "GET", "/nowhere", "Accept: application/vnd.pigw.v2+json\r\n", "");
    assert_eq!(v2.json()["error"]["code"], "not_found");
    let r = ask(h.addr, "PUT", "/health", "", "");
    assert_eq!((r.status, r.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn a_page_that_is_switched_off_is_not_there() {
    let h = House::set(|s| s.page = false);
    assert_eq!(ask(h.addr, "GET", "/", "", "").json()["error"], "Web UI disabled (--no-gui mode)");
}

#[test]
fn the_page_comes_compressed_to_those_who_take_it() {
    let h = House::open();
    let get = |fields: &str| ask(h.addr, "GET", "/web/app.js", fields, "");
    let plain = get("");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    for taken in ["gzip", "br, GZIP;q=0.5", "*", "deflate;q=0, *;q=0.1"] {
        let r = get(&format!("Accept-Encoding: {taken}\r\n"));
        assert_eq!((r.status, r.header("content-encoding")), (200, Some("gzip")), "{taken}");
        assert_eq!((&r.body[..2], r.header("vary")), ([0x1f, 0x8b].as_slice(), Some("Accept-Encoding")));
        assert_eq!(r.header("content-type"), plain.header("content-type"));
        assert!(r.body.len() * 2 < plain.body.len());
        // the last four bytes of gzip: how long it is unpacked
        let length = u32::from_le_bytes(r.body[r.body.len() - 4..].try_into().unwrap());
        assert_eq!(length as usize, plain.body.len());
        let (one, other) = (r.header("etag").unwrap(), plain.header("etag").unwrap());
        assert!(one != other && one.starts_with('"'));
        assert_eq!(get(&format!("Accept-Encoding: gzip\r\nIf-None-Match: {one}\r\n")).status, 304);
        assert_eq!(get(&format!("Accept-Encoding: gzip\r\nIf-None-Match: {other}\r\n")).status, 200);
    }
    for refused in ["identity", "gzip;q=0", "br", "gzip;q=0, *"] {
        assert_eq!(get(&format!("Accept-Encoding: {refused}\r\n")).body, plain.body, "{refused}");
    }
}
