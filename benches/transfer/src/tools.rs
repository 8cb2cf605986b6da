//! The tools, each with the command line that does a work best, and whether it is installed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::Files;
use crate::store::Store;

/// What uploads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tool {
    Fileupload,
    /// The transfer of this tree without hashing; only this bench has it.
    Unhashed,
    Curl,
    S5cmd,
    Mc,
    Aws,
    Rclone,
}

/// All but the one that is measured.
pub(crate) const OTHERS: [Tool; 5] = [Tool::Curl, Tool::S5cmd, Tool::Mc, Tool::Aws, Tool::Rclone];

/// One run of a tool.
pub(crate) struct Job<'a> {
    pub(crate) store: &'a Store,
    pub(crate) files: &'a Files,
    /// The CA file that the tool trusts.
    pub(crate) ca: &'a Path,
    /// Uploads at a time, where the tool has no default of its own.
    pub(crate) side_by_side: usize,
    /// For configuration files of this run.
    pub(crate) folder: &'a Path,
    pub(crate) fileupload: &'a Path,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fileupload => "fileupload",
            Self::Unhashed => "unhashed",
            Self::Curl => "curl",
            Self::S5cmd => "s5cmd",
            Self::Mc => "mc",
            Self::Aws => "aws",
            Self::Rclone => "rclone",
        }
    }

    /// What it says of its version; `None` if it is not installed.
    pub(crate) fn version(self, fileupload: &Path) -> Option<String> {
        let (program, argument) = match self {
            Self::Fileupload | Self::Unhashed => (fileupload.to_owned(), "--version"),
            Self::S5cmd => (PathBuf::from("s5cmd"), "version"),
            _ => (PathBuf::from(self.name()), "--version"),
        };
        let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(|line| line.chars().take(60).collect())
    }

    /// The command that does the job.
    pub(crate) fn command(self, job: &Job<'_>) -> anyhow::Result<Command> {
        let Job { store, files, ca, folder, .. } = *job;
        let mut command = match self {
            Self::Fileupload => Command::new(job.fileupload),
            Self::Unhashed => Command::new(std::env::current_exe()?),
            _ => Command::new(self.name()),
        };
        // The same for all: no proxy, no configuration of this machine.
        for name in [
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "ALL_PROXY",
            "https_proxy",
            "http_proxy",
            "all_proxy",
            "SSL_CERT_DIR",
            "CURL_CA_BUNDLE",
            "AWS_CA_BUNDLE",
        ] {
            command.env_remove(name);
        }
        command.env("SSL_CERT_FILE", ca).env("HOME", folder);
        command.env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench").env("AWS_REGION", "us-east-1");
        // Checksums beside those of TLS would cost the tool CPU that no PUT here asks for.
        command.env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required").env("AWS_EC2_METADATA_DISABLED", "true");
        let many = files.files.len() > 1;
        let source = if many { files.folder.clone() } else { files.only() };
        match self {
            Self::Fileupload => {
                command.env("CYBERUN_API_KEY", "sk-bench").env("CYBERUN_API_URL", &store.api_url);
                command.arg("upload").args(files.paths());
            }
            Self::Unhashed => {
                let url = format!("{}/bucket/inputs/0/{}?X-Amz-Signature=0", store.url, files.files[0].name);
                command.arg("put").arg("--file").arg(source).arg("--ca").arg(ca).args(["--url", &url]);
            }
            Self::Curl => curl(&mut command, job)?,
            Self::S5cmd => {
                let source = if many { format!("{}/", source.display()) } else { source.display().to_string() };
                command.args(["--endpoint-url", &store.url, "cp", &source, "s3://bucket/"]);
            }
            Self::Aws => {
                command.env("AWS_CA_BUNDLE", ca);
                command.args(["s3", "cp", "--endpoint-url", &store.url, "--only-show-errors"]);
                command.args(many.then_some("--recursive")).arg(source).arg("s3://bucket/");
            }
            Self::Mc => {
                command.env("MC_HOST_bench", store.url.replace("https://", "https://bench:benchbench@"));
                command.args(["--quiet", "--insecure", "cp"]).args(many.then_some("--recursive"));
                command.arg(source).arg("bench/bucket/");
            }
            Self::Rclone => {
                let remote = format!(
                    ":s3,provider=Other,endpoint='{}',access_key_id=bench,secret_access_key=bench:bucket",
                    store.url
                );
                command.args(["copy", "--s3-no-head", "--s3-no-check-bucket", "--no-check-dest", "--ignore-checksum"]);
                command.args(["--transfers", &job.side_by_side.to_string(), "--ca-cert"]).arg(ca);
                command.arg(source).arg(remote);
            }
        }
        Ok(command)
    }
}

/// PUTs alone: curl is given what Cyberun would have to be asked for.
fn curl(command: &mut Command, job: &Job<'_>) -> anyhow::Result<()> {
    let mut lines = String::new();
    for (number, path) in job.files.paths().enumerate() {
        let url = format!("{}/bucket/inputs/{number:08}/", job.store.url);
        let name = path.file_name().unwrap_or_default().display();
        writeln!(lines, "upload-file = \"{}\"", path.display())?;
        writeln!(lines, "url = \"{url}{name}?X-Amz-Signature=0\"")?;
    }
    let config = job.folder.join("curl.conf");
    std::fs::write(&config, lines)?;
    command.args(["--silent", "--show-error", "--fail", "--http1.1", "--header", "If-None-Match: *"]);
    if job.files.files.len() > 1 {
        command.args(["--parallel", "--parallel-max", &job.side_by_side.to_string()]);
    }
    command.arg("--cacert").arg(job.ca).arg("--config").arg(config);
    Ok(())
}
