//! `fileupload explain`: what a reason means, or why a `FileUpload` stands as it does.
//!
//! For an object `look` reads what its user may read, `present` asks the production planner how it stands now, as its
//! status may lag behind, and `answer` says so. Secrets are never read, and nothing is changed.

use std::process::ExitCode;

use clap::Parser;

pub(super) use self::answer::Answer;
use super::cluster::Place;
use super::{Usage, install_tls_provider, print};
use crate::clock;

mod answer;
mod look;
mod present;
mod word;

/// Explain a reason, or why a FileUpload stands as it does.
///
/// A reason begins with a capital letter, as in kubectl get; anything else is the name of a FileUpload, about which the
/// cluster of the kubeconfig is asked. Without either every reason is listed. Secrets are never read.
#[derive(Parser)]
pub(super) struct Explain {
    /// A reason, or the name of a FileUpload
    #[arg(value_name = "REASON|NAME")]
    subject: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.subject.as_deref() {
            None => print(&word::all())?,
            // No object can have an upper-case letter in its name.
            Some(subject) if subject.contains(|c: char| c.is_ascii_uppercase()) => {
                print(&word::explain(subject).map_err(Usage)?)?;
            }
            Some(subject) => {
                install_tls_provider();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                print(&runtime.block_on(of_object(&self.place, subject))?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn of_object(place: &Place, name: &str) -> anyhow::Result<String> {
    let cluster = place.find().await?;
    let seen = look::look(&cluster, name).await.map_err(|error| word::or_meant(name, error))?;
    let now = clock::now();
    let status = present::status(&seen, now);
    let answer = Answer { upload: &seen.upload, status: status.as_ref(), unread: &seen.unread, now };
    Ok(answer.text())
}
