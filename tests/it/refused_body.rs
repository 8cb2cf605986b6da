//! A gigabyte that is refused at once: the refusal arrives, and not a byte of the body is sent.
//!
//! Without `Expect: 100-continue` the status drowns in a broken pipe.

use cyberun_stub::{Fault, Options, Rule, Step, Stub};

use crate::support::files::Files;
use crate::support::process::Run;

#[tokio::test]
async fn a_gigabyte_refused_with_412_or_403_costs_no_byte_20_times_of_20() {
    let (stub, files) = (Stub::start(Options { tls: true, ..Options::default() }).await.unwrap(), Files::new());
    let authority = files.with("ca.pem", stub.ca_pem().unwrap().as_bytes());
    let mut run = Run::upload(&stub).environment("SSL_CERT_FILE", authority);
    for status in [412_u16, 403] {
        for number in 0..2 {
            let name = format!("{status}-{number}");
            stub.arm(Rule::always(Step::Put, Fault::status(status)).for_file(&name));
            run = run.argument(files.sparse(&name, 1 << 30));
        }
    }
    let ended = run.run().await.failed(1);
    for name in ["412-0", "412-1", "403-0", "403-1"] {
        let failure = ended.stderr.lines().find(|line| line.starts_with(&format!("error: {name}: "))).unwrap();
        assert!(failure.contains(": StorageRefused: ") && failure.contains(&format!("({}", &name[..3])), "{failure}");
    }
    let puts: Vec<_> = stub.snapshot().of(Step::Put).cloned().collect();
    for status in [412, 403] {
        assert_eq!(
            puts.iter().filter(|put| put.status() == Some(status)).count(),
            20,
            "5 attempts, 2 tickets, 2 files"
        );
    }
    assert_eq!(puts.iter().map(|put| (put.body_received, put.continue_sent)).max(), Some((0, false)));
}
