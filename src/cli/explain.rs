//! `fileupload explain`: what a reason means, or why a `FileUpload` stands as it does.
//!
//! For an object `look` reads what its user may read, `present` asks the production planner how it stands now, as its
//! status may lag behind, and `answer` says so. Secrets are never read, and nothing is changed.

use std::process::ExitCode;

use clap::Parser;

pub(super) use self::answer::Answer;
use super::cluster::Place;
use super::{Usage, install_tls_provider, object, print};
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
    #[arg(value_name = "REASON|NAME", value_parser = subject)]
    subject: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.subject.as_deref() {
            None => print(&word::all())?,
            Some(subject) if may_be_reason(subject) => {
                print(&word::explain(subject).map_err(Usage)?)?;
            }
            Some(subject) => {
                install_tls_provider();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let answer = runtime.block_on(of_object(&self.place, subject));
                print(&answer.map_err(|error| word::or_meant(subject, error))?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn subject(text: &str) -> Result<String, String> {
    if may_be_reason(text) { Ok(text.to_owned()) } else { object::parse(text) }
}

/// No object can have an upper-case letter in its name.
fn may_be_reason(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_uppercase())
}

async fn of_object(place: &Place, name: &str) -> anyhow::Result<String> {
    let cluster = place.find().await?;
    let seen = look::look(&cluster, name).await?;
    let now = clock::now();
    let status = present::status(&seen, now);
    let answer = Answer { upload: &seen.upload, status: status.as_ref(), unread: &seen.unread, now };
    Ok(answer.text())
}
