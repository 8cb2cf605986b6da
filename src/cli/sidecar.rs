//! `fileupload sidecar [NAME=]FILE… --keys-dir D`: a native sidecar of a Pod, without rights in the cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing::info;

use self::folders::Folders;
use super::logging::Logging;
use super::named::{self, Named};
use super::{Api, Key, Usage, duration, install_tls_provider, listen, on_this_thread, stop_on_signal};
use crate::cyberun;
use crate::key_life::Terms;
use crate::keys::Folder;
use crate::sidecar::{self, Input, Life, RefreshPolicy};

mod folders;

/// Upload files of a Pod, keep their file_keys in a folder, and answer probes once all keys exist.
///
/// Use it in an init container with restartPolicy Always and a startup probe on /readyz: the next containers start once
/// all keys exist. The credential is read from the environment variable CYBERUN_API_KEY. The sidecar waits for missing
/// files and markers. A file that was written within the last 10 seconds must stay unchanged for 5 seconds first.
#[derive(Parser)]
pub(super) struct Sidecar {
    /// Files, each with an optional name for its key, such as photo=/data/portrait.png; a path with = in it may be written
    /// as NAME=./PATH
    #[arg(value_name = "[NAME=]FILE", required_unless_present_any = ["inputs", "recursive"])]
    files: Vec<OsString>,
    /// The same as an option (repeatable)
    #[arg(long = "input", value_name = "[NAME=]FILE", num_args = 1..)]
    inputs: Vec<OsString>,
    #[command(flatten)]
    folders: Folders,
    /// The folder for the keys: each key is D/NAME, and D/keys.json lists all keys of single files
    #[arg(long, value_name = "D")]
    keys_dir: PathBuf,
    /// Whether to upload each file again before its key expires; an expired key is removed from the folder. The keys of a
    /// --recursive folder are renewed and removed together
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Refresh::Never)]
    refresh_policy: Refresh,
    /// How long the deployment keeps an upload: seconds, or a duration such as 90s, 15m, 24h or 1d
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    retention: Duration,
    /// How long before its expiry a key is removed: the time that a consumer has to use it; less than half of
    /// --retention
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    minimum_life: Duration,
    /// The address that serves /readyz and /livez once every key exists; default: port 8080 of every address
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The URL of the API, with its /api/v1
    #[arg(long, env = "CYBERUN_API_URL", default_value = cyberun::HOSTED)]
    api_url: String,
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    logging: Logging,
}

// Spelled as in the resource's field.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Refresh {
    Never,
    BeforeExpiry,
}

impl Sidecar {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        self.logging.start()?;
        let inputs = named::parse(&[self.files.as_slice(), &self.inputs].concat())?;
        named::apart(&inputs, &self.keys_dir)?;
        let folders = self.folders.parse(&inputs, &self.keys_dir)?;
        let inputs = inputs.iter().map(input).collect();
        let (credential, life) = (self.key.credential()?, self.life()?);
        let owner = credential.owner(&self.api_url);
        let courier = self.api.courier(&self.api_url, None)?;
        let folder = Folder::open(&self.keys_dir)?;
        let socket = listen::bound(self.listen)?;
        let work = sidecar::Sidecar { courier, credential, owner, inputs, folders, folder, life, socket };
        on_this_thread(async {
            info!(version = env!("CARGO_PKG_VERSION"), "started");
            sidecar::run(work, stop_on_signal()?).await.map_err(anyhow::Error::from)
        })?;
        info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    fn life(&self) -> Result<Life, Usage> {
        let terms = Terms { retention: self.retention, minimum_life: self.minimum_life };
        if terms.minimum_life >= terms.retention / 2 {
            return Err(Usage(
                "--minimum-life is half of --retention or more, and keys could not be renewed in time: give a shorter \
                 --minimum-life or a longer --retention"
                    .into(),
            ));
        }
        let refresh = match self.refresh_policy {
            Refresh::Never => RefreshPolicy::Never,
            Refresh::BeforeExpiry => RefreshPolicy::BeforeExpiry,
        };
        Ok(Life { terms, refresh })
    }
}

fn input(named: &Named) -> Input {
    Input { parcel: named.parcel(), name: named.name().into_owned() }
}
