//! Through a proxy that takes its time to connect, as large networks have them.
//!
//! The wait for `100 Continue` begins when the request is on its way, not when its connection is still being made.

use std::time::Duration;

use cyberun_stub::{Fault, Options, Step, Stub};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::files::{Files, bytes};
use crate::support::process::Run;

/// Starts a proxy for CONNECT that lets so much time pass before each answer; returns its URL.
async fn slow_proxy(pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(tunnel(client, pause));
        }
    });
    url
}

async fn tunnel(mut client: TcpStream, pause: Duration) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    tokio::time::sleep(pause).await;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    // How either side hangs up is none of the proxy's concern.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_slow_way_to_storage_does_not_use_up_the_wait_for_its_answer() {
    let stub = Stub::start(Options { tls: true, ..Options::default() }).await.unwrap();
    let (files, proxy) = (Files::new(), slow_proxy(Duration::from_millis(1500)).await);
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    stub.fault(Step::Put, Fault::status(412));
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", authority).environment("HTTPS_PROXY", proxy);
    let ended = run.file("photo", &files.with("a.png", &bytes(3_000_000))).run().await.succeeded();
    assert!(stub.objects().contains_key(ended.key("photo")));
    let puts: Vec<_> = stub.snapshot().of(Step::Put).cloned().collect();
    assert_eq!((puts[0].status(), puts[0].body_received), (Some(412), 0), "the refused body stays here");
    assert!(puts[1].continue_asked && puts[1].continue_sent, "and the next one is still asked for");
}
