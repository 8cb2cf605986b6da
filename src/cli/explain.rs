//! `fileupload explain`: what a reason means, or the state of a `FileUpload` and its cause.
//!
//! For an object, `look` reads what its user may read. `present` asks the production planner for its state now, because
//! its status may be out of date. `answer` puts it into words. Secrets are never read, and nothing is changed.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use self::answer::{Answer, Explanation};
use super::cluster::Place;
use super::{Usage, install_tls_provider, object, print, run_until_signal};
use crate::clock;
use crate::resource::FileUpload;

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
    /// How to print the answer; docs/cli.md has the fields of json
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = match self.subject.as_deref() {
            None => self.output.of(&word::all(), |all| word::list(all))?,
            Some(subject) if may_be_reason(subject) => {
                self.output.of(&word::explain(subject).map_err(Usage)?, word::Meaning::text)?
            }
            Some(subject) => {
                install_tls_provider();
                return run_until_signal(async {
                    let said = of_object(&self.place, subject).await;
                    let said = said.map_err(|error| word::or_meant(subject, error))?;
                    print(&self.output.of(&said, Explanation::text)?)?;
                    Ok(ExitCode::SUCCESS)
                });
            }
        };
        print(&answer)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Format {
    /// An answer in this format.
    fn of<T: Serialize>(self, answer: &T, text: impl Fn(&T) -> String) -> serde_json::Result<String> {
        match self {
            Self::Text => Ok(text(answer)),
            Self::Json => Ok(serde_json::to_string_pretty(answer)? + "\n"),
        }
    }
}

fn subject(text: &str) -> Result<String, String> {
    if may_be_reason(text) { Ok(text.to_owned()) } else { object::parse(text) }
}

/// No object can have an upper-case letter in its name.
fn may_be_reason(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_uppercase())
}

async fn of_object(place: &Place, name: &str) -> anyhow::Result<Explanation> {
    let cluster = place.find().await?;
    let seen = look::look(&cluster, name).await?;
    let now = clock::now();
    let status = present::status(&seen, now);
    let answer = Answer { upload: &seen.upload, status: status.as_ref(), unread: &seen.unread, now };
    Ok(answer.explanation())
}

/// What the status of a `FileUpload` says, without a look at anything else.
pub(super) fn by_status(upload: &FileUpload) -> String {
    let status = upload.status.as_ref().filter(|status| status.observed_generation >= 0);
    Answer { upload, status, unread: &[], now: clock::now() }.explanation().text().trim_end().to_owned()
}
