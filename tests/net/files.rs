//! Uploads from disk and downloads into a writer.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use pi_gateway::net::{transfer_time, Error, Form, Net, Part, Purpose, Request};

use super::peer::*;

fn files() -> pi_gateway::net::Agent {
    net(&[]).agent(Purpose::Files).build()
}

#[test]
fn a_form_with_a_large_file_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photo");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let server = serve(move |_, mut peer| {
        let (head, body) = peer.request();
        let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with("content-type:")).unwrap();
        let boundary = line.split_once("boundary=").unwrap().1;
        let start = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\nGrüße\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"photo\"; filename=\"ü%22.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
        );
        let end = format!("\r\n--{boundary}--\r\n");
        assert!(body.starts_with(start.as_bytes()) && body.ends_with(end.as_bytes()));
        assert!(body[start.len()..body.len() - end.len()] == bytes);
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        peer.send(OK);
    });
    let form =
        Form::new().with(Part::text("caption", "Grüße")).with(Part::file("photo", "ü\".jpg", "image/jpeg", &path));
    let url = server.url("/");
    let answer = files().call(&Request::post_form(&url, &form).within(transfer_time(3_000_000))).unwrap();
    assert_eq!(answer.body, b"ok");
}

#[test]
fn given_a_file_that_is_not_there_then_nothing_was_sent_not_even_a_connection() {
    let server = serve(|_, _| {});
    let form = Form::new().with(Part::file("photo", "x", "image/jpeg", std::path::Path::new("/nowhere/x.jpg")));
    let url = server.url("/");
    let why = not_sent(files().call(&Request::post_form(&url, &form)));
    assert!(why.contains("/nowhere/x.jpg"), "{why}");
    assert_eq!(server.connections(), 0);
}

#[test]
fn given_an_upload_that_is_cut_then_it_was_not_sent_and_after_its_end_it_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, vec![7; 8 << 20]).unwrap();
    let form = Form::new().with(Part::file("x", "x", "text/plain", &path));
    let cut = serve(|_, mut peer| {
        peer.take(1 << 20);
        peer.reset();
    });
    let url = cut.url("/");
    not_sent(files().call(&Request::post_form(&url, &form).within(PATIENCE)));
    let taken = serve(|_, mut peer| {
        peer.request();
    });
    let url = taken.url("/");
    unknown(files().call(&Request::post_form(&url, &form).within(PATIENCE)));
}

#[test]
fn times_of_transfers() {
    assert_eq!(transfer_time(0), Duration::from_secs(60));
    assert_eq!(transfer_time(50_000_000), Duration::from_secs(560));
}

#[test]
fn a_download_goes_into_the_writer_up_to_its_limit() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..100 {
            if write!(peer.sock, "2710\r\n{}\r\n", "x".repeat(10_000)).is_err() {
                return;
            }
        }
        let _ = peer.sock.write_all(b"0\r\n\r\n");
    });
    let url = server.url("/file/bot1:t/x");
    let mut file = Vec::new();
    let answer = files().fetch(&Request::get(&url).limit(1_000_000).within(PATIENCE), &mut file).unwrap();
    assert_eq!((answer.received, file.len(), answer.body.len()), (1_000_000, 1_000_000, 0));
    let mut file = Vec::new();
    let result = files().fetch(&Request::get(&url).limit(999_999).within(PATIENCE), &mut file);
    assert!(matches!(result, Err(Error::TooLarge { limit: 999_999 })), "{result:?}");
    assert!(file.len() <= 999_999);
}

#[test]
fn given_a_refusal_then_it_is_in_the_answer_and_the_writer_stays_empty() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\n{\"description\":\"no\"}");
    });
    let url = server.url("/");
    let mut file = Vec::new();
    let answer = files().fetch(&Request::get(&url).within(PATIENCE), &mut file).unwrap();
    assert_eq!((answer.status, file.len()), (404, 0));
    assert_eq!(answer.body, b"{\"description\":\"no\"}");
}

#[test]
fn given_a_download_cut_short_then_it_is_an_error() {
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf");
    });
    let url = server.url("/");
    unknown(files().fetch(&Request::get(&url).within(PATIENCE), &mut Vec::new()));
}

#[test]
fn a_full_disk_is_told() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = serve(|_, mut peer| {
        peer.request();
        peer.send(OK);
    });
    let url = server.url("/");
    let why = unknown(files().fetch(&Request::get(&url).within(PATIENCE), &mut Full));
    assert!(why.contains("cannot keep the file"), "{why}");
}

#[test]
fn a_download_that_makes_progress_gets_more_time_a_stalled_one_does_not() {
    // 100 kB give a second more than the 400 ms the call has.
    let server = serve(|n, mut peer| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n").send("x".repeat(100_000));
        if n == 0 {
            std::thread::sleep(SHORT * 2); // longer than it had at first
            peer.send("x");
        }
        peer.await_end();
    });
    let url = server.url("/");
    let agent = Net::open(&network()).unwrap().agent(Purpose::Files).build();
    let request = Request::get(&url).within(SHORT).growing();
    assert_eq!(agent.fetch(&request, &mut Vec::new()).unwrap().received, 100_001);
    agent.drop_idle();
    let start = Instant::now();
    unknown(agent.fetch(&request, &mut Vec::new()));
    assert!(start.elapsed() >= Duration::from_millis(1300) && start.elapsed() < Duration::from_secs(4));
}
