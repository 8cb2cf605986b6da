//! `fileupload wait NAME…`: ends once every `FileUpload` is Available, for init containers and scripts.
//!
//! It reads and watches those objects alone, and changes nothing. Each change of state is one line on stderr; stdout stays
//! empty.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use futures::StreamExt;
use futures::stream;

use self::state::State;
use super::cluster::{Cluster, Place, Sight};
use super::{Unmet, Usage, duration, explain, install_tls_provider, object, run_until_signal};
use crate::resource::FileUpload;

mod state;

/// Each name is a watch, which the API server holds.
const MOST_NAMES: usize = 100;

/// Wait until FileUploads are Available: every file has a live key, and the output has it too.
///
/// One that does not exist yet or is suspended is waited for. Exit codes: 0 all are Available, 1 failed, 2 usage, 3 one is
/// stalled or has expired, so that a person must act, 4 timed out. In a Pod it uses the service account, which needs the
/// verbs get and watch on fileuploads.
#[derive(Parser)]
pub(super) struct Wait {
    /// The FileUploads
    #[arg(value_name = "NAME", required = true, value_parser = object::parse)]
    names: Vec<String>,
    /// Timeout, such as 90s, 10m or 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    timeout: Duration,
    #[command(flatten)]
    place: Place,
}

/// What was last seen of one of them.
#[derive(Default)]
struct Seen {
    upload: Option<FileUpload>,
    is_available: bool,
    line: String,
}

impl Wait {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        install_tls_provider();
        let names: BTreeSet<&str> = self.names.iter().map(String::as_str).collect();
        if names.len() > MOST_NAMES {
            return Err(Usage(format!("at most {MOST_NAMES} FileUploads can be waited for")).into());
        }
        run_until_signal(async {
            // The deadline that --timeout sets.
            let mut over = pin!(tokio::time::sleep(self.timeout));
            let cluster = self.place.find().await?;
            let mut seen: Vec<_> = names.iter().map(|_| Seen::default()).collect();
            let sights = names.iter().enumerate();
            let sights = sights.map(|(at, name)| cluster.follow(name).map(move |sight| (at, sight)).boxed_local());
            let mut sights = stream::select_all(sights);
            let names: Vec<&str> = names.iter().copied().collect();
            while seen.iter().any(|seen| !seen.is_available) {
                let (at, sight) = tokio::select! {
                    sight = sights.next() => sight.ok_or_else(|| anyhow!("the watches have ended"))?,
                    () = &mut over => return Err(Unmet::TimedOut(what_is_left(&cluster, &names, &seen)).into()),
                };
                seen[at].take_in(&cluster, names[at], sight?)?;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Seen {
    /// Takes in what is seen now, and says so if it is something else.
    fn take_in(&mut self, cluster: &Cluster, name: &str, sight: Sight) -> anyhow::Result<()> {
        let (line, over) = match sight {
            Sight::Unseen(why) => (why, None),
            Sight::Absent => {
                (self.upload, self.is_available) = (None, false);
                ("does not exist yet".to_owned(), None)
            }
            Sight::There(upload) => {
                let state = state::of(&upload);
                self.is_available = state == State::Available;
                let over = matches!(state, State::Over(_)).then(|| explain::by_status(&upload));
                self.upload = Some(*upload);
                (state.to_string(), over)
            }
        };
        let line = format!("{}/{name}: {line}", cluster.namespace).replace(char::is_control, " ");
        if line != self.line {
            // Whoever waits need not be able to hear of it.
            let _ = writeln!(io::stderr(), "{line}");
            self.line = line;
        }
        over.map_or(Ok(()), |why| Err(Unmet::Stalled(format!("a person must act\n{why}")).into()))
    }
}

/// What is not Available, explained.
fn what_is_left(cluster: &Cluster, names: &[&str], seen: &[Seen]) -> String {
    let left = names.iter().zip(seen).filter(|(_, seen)| !seen.is_available);
    let text = |(name, seen): (&&str, &Seen)| match &seen.upload {
        Some(upload) => explain::by_status(upload),
        None if seen.line.is_empty() => format!("{}/{name}: the cluster has not answered", cluster.namespace),
        None => seen.line.clone(),
    };
    left.map(text).collect::<Vec<_>>().join("\n")
}
