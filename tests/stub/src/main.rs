//! `cyberun-stub`: the double as a process, for demos and shell scripts.
//!
//! Prints one line of JSON with its addresses once it answers requests, and ends cleanly on SIGTERM or SIGINT. What
//! it saw is asked for over HTTP, under `/_stub/`; it logs nothing.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use cyberun_stub::{ExternalS3, KeyShape, Options, Stub, UploadHeaders};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

#[derive(Parser)]
#[command(version, about = "A double of the Cyberun upload API and its S3 storage, for tests and demos")]
struct Args {
    /// Address both ports listen on
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: IpAddr,
    /// Host to write into URLs, if clients cannot dial --bind
    #[arg(long)]
    advertise: Option<String>,
    /// Port of the API; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    api_port: u16,
    /// Port of the storage; 0 picks a free one
    #[arg(long, default_value_t = 0)]
    s3_port: u16,
    /// Serve HTTPS with a certificate authority made at start
    #[arg(long, requires = "ca_out")]
    tls: bool,
    /// File the authority's certificate is written to, as PEM
    #[arg(long, requires = "tls")]
    ca_out: Option<PathBuf>,
    /// What `upload_headers` holds in presign answers
    #[arg(long, value_enum, default_value_t = Filling::Filled)]
    upload_headers: Filling,
    /// Which documented shape file keys have
    #[arg(long, value_enum, default_value_t = Shape::Alternating)]
    key_shape: Shape,
    /// Seconds a signed URL is good for
    #[arg(long, default_value_t = 3600)]
    url_lifetime: u64,
    /// Seconds after which an object is deleted
    #[arg(long)]
    retention: Option<u64>,
    /// Largest file accepted, in bytes
    #[arg(long)]
    max_size: Option<u64>,
    /// A token to accept (sk-, dk-, ak- or a JWT); repeatable
    #[arg(long = "token")]
    tokens: Vec<String>,
    #[command(flatten)]
    external: External,
}

#[derive(clap::Args)]
#[group(multiple = true)]
struct External {
    /// Sign URLs for the S3 store at this URL instead of the stub's own
    #[arg(long = "external-s3", requires_all = ["bucket", "access_key", "secret_key"])]
    endpoint: Option<Url>,
    /// Bucket in that store
    #[arg(long = "external-s3-bucket", requires = "endpoint")]
    bucket: Option<String>,
    /// Region to sign for
    #[arg(long = "external-s3-region", default_value = "us-east-1")]
    region: String,
    /// Access key of that store
    #[arg(long = "external-s3-access-key", requires = "endpoint")]
    access_key: Option<String>,
    /// Secret key of that store
    #[arg(long = "external-s3-secret-key", requires = "endpoint")]
    secret_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Filling {
    Empty,
    Filled,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shape {
    WithMime,
    Plain,
    Alternating,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stub = Stub::start(args.options()).await?;
    for token in &args.tokens {
        stub.accept(token).context("--token")?;
    }
    if let (Some(file), Some(pem)) = (&args.ca_out, stub.ca_pem()) {
        std::fs::write(file, pem).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let ready = serde_json::json!({"api_url": stub.api_url(), "s3_url": stub.s3_url(), "ca_file": args.ca_out});
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    stub.shutdown().await;
    Ok(())
}

impl Args {
    fn options(&self) -> Options {
        Options {
            tls: self.tls,
            bind: self.bind,
            advertise: self.advertise.clone(),
            api_port: self.api_port,
            s3_port: self.s3_port,
            upload_headers: match self.upload_headers {
                Filling::Empty => UploadHeaders::Empty,
                Filling::Filled => UploadHeaders::Filled,
            },
            key_shape: match self.key_shape {
                Shape::WithMime => KeyShape::WithMime,
                Shape::Plain => KeyShape::Plain,
                Shape::Alternating => KeyShape::Alternating,
            },
            url_lifetime: Duration::from_secs(self.url_lifetime),
            retention: self.retention.map(Duration::from_secs),
            max_size: self.max_size,
            external_s3: self.external.store(),
            ..Options::default()
        }
    }
}

impl External {
    fn store(&self) -> Option<ExternalS3> {
        Some(ExternalS3 {
            endpoint: self.endpoint.clone()?,
            bucket: self.bucket.clone()?,
            region: self.region.clone(),
            access_key: self.access_key.clone()?,
            secret_key: self.secret_key.clone()?,
        })
    }
}
