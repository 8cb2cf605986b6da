//! `fileupload explain`: what a reason means, or the state of a `FileUpload` and its cause.
//!
//! For an object, `look` reads what its user may read. `present` asks the production planner for its state now, because
//! its status may be out of date. `answer` puts it into words. Secrets are never read, and nothing is changed.

use std::process::ExitCode;

use clap::Parser;

pub(super) use self::answer::Answer;
use super::cluster::Place;
use super::{Usage, install_tls_provider, object, print, until_signal};
use crate::clock;

mod answer;
mod look;
mod present;
mod word;

/// Explain a reason, or the state of a FileUpload.
///
/// A reason begins with a capital letter, as in kubectl get. Anything else is the name of a FileUpload in the cluster
/// of the kubeconfig. Without an argument it lists all reasons. Secrets are never read.
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
                let answer = runtime.block_on(until_signal(of_object(&self.place, subject)));
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
