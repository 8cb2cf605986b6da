//! Through proxies, as large networks have them: the API, the storage and the API server take the same way.

use std::time::Duration;

use cyberun_stub::{Fault, Options, Step, Stub};
use tokio::net::TcpListener;

use crate::support::files::{Files, bytes};
use crate::support::process::Run;
use crate::support::proxy::{Login, Manners, Proxy};

/// A name that only a proxy knows.
const NAME: &str = "cyberun.corp.example";
const LOGIN: Login = Login { user: "me", password: "p@ss", base64: "bWU6cEBzcw==" };

/// A stub of that name, and what trusts it.
async fn stub(files: &Files, authority: &str) -> (Stub, Run) {
    let options = Options { tls: true, advertise: Some(NAME.into()), ..Options::default() };
    let stub = Stub::start(options).await.unwrap();
    let authorities = format!("{}\n{authority}", stub.ca_pem().unwrap());
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", files.with("ca.pem", authorities.as_bytes()));
    let run = run.file("photo", &files.with("a.png", &bytes(200_000)));
    (stub, run)
}

async fn carries_both(proxy: &Proxy, stub: &Stub, run: Run) {
    let ended = run.run().await.succeeded();
    assert!(stub.objects().contains_key(ended.key("photo")));
    assert_eq!((proxy.asked().len(), stub.calls().len()), (2, 2), "a presign and a PUT: {:?}", proxy.asked());
    assert!(proxy.asked().iter().all(|target| target.starts_with(NAME)), "{:?}", proxy.asked());
}

#[tokio::test]
async fn a_slow_way_to_storage_does_not_use_up_the_wait_for_its_answer() {
    let stub = Stub::start(Options { tls: true, ..Options::default() }).await.unwrap();
    let proxy = Proxy::http(Manners { pause: Duration::from_millis(1500), ..Manners::default() }).await;
    let (files, proxy) = (Files::new(), format!("http://127.0.0.1:{}", proxy.port));
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    stub.fault(Step::Put, Fault::status(412));
    let run = Run::upload(&stub).environment("SSL_CERT_FILE", authority).environment("HTTPS_PROXY", proxy);
    let ended = run.file("photo", &files.with("a.png", &bytes(3_000_000))).run().await.succeeded();
    assert!(stub.objects().contains_key(ended.key("photo")));
    let puts: Vec<_> = stub.snapshot().of(Step::Put).cloned().collect();
    assert_eq!((puts[0].status(), puts[0].body_received), (Some(412), 0), "the refused body stays here");
    assert!(puts[1].continue_asked && puts[1].continue_sent, "and the next one is still asked for");
}

#[tokio::test]
async fn a_proxy_that_itself_speaks_tls_carries_presign_and_put() {
    let files = Files::new();
    let (proxy, authority) = Proxy::https(Manners::default()).await;
    let (stub, run) = stub(&files, &authority).await;
    let url = format!("https://127.0.0.1:{}", proxy.port);
    carries_both(&proxy, &stub, run.environment("HTTPS_PROXY", url)).await;
}

#[tokio::test]
async fn a_proxy_with_a_user_carries_both_and_without_the_user_says_so() {
    for is_tls in [false, true] {
        let (files, manners) = (Files::new(), Manners { user: Some(LOGIN), ..Manners::default() });
        let (proxy, authority) =
            if is_tls { Proxy::https(manners).await } else { (Proxy::http(manners).await, String::new()) };
        let (scheme, port) = (if is_tls { "https" } else { "http" }, proxy.port);
        let (stub_with, run) = stub(&files, &authority).await;
        let run = run.secret("p%40ss").environment("HTTPS_PROXY", format!("{scheme}://me:p%40ss@127.0.0.1:{port}"));
        carries_both(&proxy, &stub_with, run).await;
        let (_stub, run) = stub(&files, &authority).await;
        let mut running = run.environment("HTTPS_PROXY", format!("{scheme}://127.0.0.1:{port}")).start();
        running.said("proxy authorization required: put the user and password into the proxy's URL").await;
    }
}

#[tokio::test]
async fn all_proxy_stands_in_and_may_be_a_socks_proxy() {
    for (variable, scheme, user) in [
        ("ALL_PROXY", "http", None),
        ("all_proxy", "", None),
        ("ALL_PROXY", "socks5", None),
        ("HTTPS_PROXY", "socks5h", None),
        ("ALL_PROXY", "socks5", Some(LOGIN)),
    ] {
        let (files, manners) = (Files::new(), Manners { user, ..Manners::default() });
        let is_socks = scheme.starts_with("socks");
        let proxy = if is_socks { Proxy::socks(manners).await } else { Proxy::http(manners).await };
        let (stub, run) = stub(&files, "").await;
        let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
        let user = if user.is_some() { "me:p%40ss@" } else { "" };
        // An empty variable is none: it does not hide the other.
        let run = run.environment("HTTPS_PROXY", "").environment("https_proxy", " ");
        let run = run.environment(variable, format!("{scheme}{user}127.0.0.1:{}", proxy.port));
        carries_both(&proxy, &stub, run).await;
    }
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let (stub, files) = (Stub::start(Options { tls: true, ..Options::default() }).await.unwrap(), Files::new());
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    let proxy = Proxy::http(Manners::default()).await;
    let port = stub.api_url().port().unwrap();
    for (no, asked) in [
        ("*.corp.example 127.0.0.0/8", 0),
        ("localhost, 127.0.0.1 ,", 0),
        ("*", 0),
        (format!("127.0.0.1:{port}").as_str(), 1),
        ("localhost,", 2),
    ] {
        let before = proxy.asked().len();
        let run = Run::upload(&stub).environment("SSL_CERT_FILE", &authority).environment("no_proxy", no);
        let run = run.environment("HTTPS_PROXY", format!("127.0.0.1:{}", proxy.port));
        run.file("photo", &files.with("a.png", b"a")).run().await.succeeded();
        assert_eq!(proxy.asked().len() - before, asked, "no_proxy={no:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_none_is_told_as_what_it_is() {
    for answer in ["403 Forbidden", "204 No Content"] {
        let (files, proxy) = (Files::new(), Proxy::http(Manners { answer, ..Manners::default() }).await);
        let (_stub, run) = stub(&files, "").await;
        let mut running = run.environment("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port)).start();
        running.said("tunnel error: unsuccessful: the proxy refuses to connect to this host").await;
    }
    for url in ["ftp://proxy.example", "socks4://proxy.example", "http://me:hunter2@@ x"] {
        let files = Files::new();
        let (stub, run) = stub(&files, "").await;
        let ended = run.secret("hunter2").environment("HTTPS_PROXY", url).run().await.failed(2);
        assert!(ended.stderr.contains("HTTPS_PROXY is not the URL of a proxy"), "{}", ended.stderr);
        assert_eq!(stub.calls().len(), 0);
    }
}

#[tokio::test]
async fn plain_http_to_storage_goes_through_the_proxy_too() {
    let (stub, files) = (Stub::start(Options::default()).await.unwrap(), Files::new());
    let proxy = Proxy::socks(Manners::default()).await;
    let run = Run::upload(&stub).environment("HTTP_PROXY", format!("socks5://127.0.0.1:{}", proxy.port));
    run.file("photo", &files.with("a.png", b"a")).run().await.succeeded();
    assert_eq!(proxy.asked().len(), 2, "{:?}", proxy.asked());
}

/// A kubeconfig of a cluster at this address, and perhaps a proxy of its own.
fn kubeconfig(files: &Files, server: &str, proxy: Option<String>) -> std::path::PathBuf {
    let mut cluster = serde_json::json!({ "server": server, "insecure-skip-tls-verify": true });
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = proxy.into();
    }
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{ "name": "here", "context": { "cluster": "here", "user": "me" } }],
        "users": [{ "name": "me", "user": {} }],
        "clusters": [{ "name": "here", "cluster": cluster }],
    });
    files.with("kubeconfig", config.to_string().as_bytes())
}

const COMMANDS: usize = 3;

/// What asks the API server; the operator last.
fn commands(files: &Files, server: &str, proxy: Option<String>) -> Vec<Run> {
    let kubeconfig = kubeconfig(files, server, proxy);
    let controller = Run::of("controller").argument("--api-url").argument("https://api.example/api/v1");
    let controller = controller.argument("--listen").argument("127.0.0.1:0");
    let runs = [Run::of("explain").argument("portrait"), Run::of("refresh").argument("portrait"), controller];
    runs.into_iter().map(|run| run.environment("KUBECONFIG", &kubeconfig)).collect()
}

#[tokio::test]
async fn a_cluster_is_reached_through_every_kind_of_proxy() {
    const SERVER: &str = "https://cluster.example:6443";
    let files = Files::new();
    for is_socks in [false, true] {
        for user in [None, Some(LOGIN)] {
            for is_own in [false, true] {
                let manners = Manners { user, ..Manners::default() };
                let mut proxy = if is_socks { Proxy::socks(manners).await } else { Proxy::http(manners).await };
                let user = if user.is_some() { "me:p%40ss@" } else { "" };
                // Without a scheme it speaks HTTP.
                let url = format!("{}{user}127.0.0.1:{}", if is_socks { "socks5://" } else { "" }, proxy.port);
                // The operator takes no password from the environment.
                let count = if user.is_empty() || is_own { COMMANDS } else { COMMANDS - 1 };
                for run in commands(&files, SERVER, is_own.then(|| url.clone())).into_iter().take(count) {
                    let before = proxy.asked().len();
                    // A proxy of the kubeconfig is meant for its server in any case, as for kubectl.
                    let no = if is_own { "cluster.example" } else { "localhost," };
                    let run = run.environment("NO_PROXY", no);
                    let run = if is_own { run } else { run.environment("HTTPS_PROXY", &url) };
                    let running = run.start();
                    proxy.until_asked_again("cluster.example:6443", before).await;
                    drop(running);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cluster_that_no_proxy_names_is_reached_directly() {
    let (files, proxy) = (Files::new(), Proxy::http(Manners::default()).await);
    for no in ["10.0.0.0/8,127.0.0.1", "127.0.0.1,", "127.0.0.1:PORT", "*", "localhost 127.0.0.0/8"] {
        for command in 0..COMMANDS {
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = server.local_addr().unwrap().port();
            let run = commands(&files, &format!("https://127.0.0.1:{port}"), None).swap_remove(command);
            let run = run.environment("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port));
            let running = run.environment("NO_PROXY", no.replace("PORT", &port.to_string())).start();
            let reached = tokio::time::timeout(Duration::from_secs(20), server.accept()).await;
            assert!(reached.is_ok(), "NO_PROXY={no:?}");
            drop(running);
        }
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_that_cannot_be_used_is_told_without_its_password() {
    let files = Files::new();
    let proxy = Some("ftp://me:hunter2@proxy.example".to_owned());
    for run in commands(&files, "https://cluster.example", proxy) {
        let ended = run.secret("hunter2").run().await.failed(1);
        assert!(ended.stderr.contains("its proxy-url is neither http, https nor socks5"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn workers_get_the_proxies_of_the_operator() {
    let render = |variables: &[(&str, &str)]| {
        let run = Run::of("render").argument("--at").argument("2026-11-23T10:05:00Z");
        let run = run.argument("-f").argument("tests/plan/volume-just-applied.yaml");
        variables.iter().fold(run, |run, (name, value)| run.environment(name, *value)).run()
    };
    let ended = render(&[("all_proxy", "http://proxy.example:3128"), ("NO_PROXY", " "), ("no_proxy", "a b")]).await;
    let ended = ended.succeeded();
    for (name, value) in [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", "a b")] {
        let line = format!("- name: {name}\n          value: {value}\n");
        assert!(ended.stdout.contains(&line), "{line} is not in {}", ended.stdout);
    }
    let ended = render(&[("all_proxy", "http://me:hunter2@proxy.example:3128")]).await.failed(2);
    assert!(
        ended.stderr.contains("everyone who may read Jobs") && !ended.stderr.contains("hunter2"),
        "{}",
        ended.stderr
    );
}
