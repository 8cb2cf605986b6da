//! What a worker is given in its pod: a volume, a credential's folder, assignments, and a report to write to.
//!
//! Whatever a run prints or reports is searched for the credential, signed URLs and file keys by [`Work::ended`].

use std::path::PathBuf;
use std::time::Duration;

use cyberun_stub::{Kind, Options, Step, Stub};
use fileupload_operator::outcome::Upload;
use fileupload_operator::report::{self, Assignment, Entry, Report};

use crate::support::files::{Files, bytes};
use crate::support::process::{Ended, Run, Running};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Work {
    pub(crate) stub: Stub,
    pub(crate) volume: Files,
    pub(crate) secret: Files,
    pub(crate) assignments: Vec<Assignment>,
    tokens: Vec<String>,
    reports: Files,
}

impl Work {
    /// These files, each of other content.
    pub(crate) async fn with(names: &[&str]) -> Self {
        let mut work = Self::on(Options::default()).await;
        for (number, name) in names.iter().enumerate() {
            work.file(name, &bytes(1000 + number));
        }
        work
    }

    /// Nothing yet, on such a stub, with a credential that is good.
    pub(crate) async fn on(options: Options) -> Self {
        let stub = Stub::start(options).await.unwrap();
        let token = stub.credential(Kind::Integration).token().to_owned();
        let (volume, secret, reports) = (Files::new(), Files::new(), Files::new());
        secret.with("CYBERUN_API_KEY", format!("{token}\n").as_bytes());
        Self { stub, volume, secret, assignments: Vec::new(), tokens: vec![token], reports }
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) {
        self.volume.with(name, content);
        self.assign(name);
    }

    /// Assigns a file, be it there or not.
    pub(crate) fn assign(&mut self, name: &str) {
        self.assignments.push(Assignment {
            name: format!("n{}", self.assignments.len()),
            revision: "r1".into(),
            path: name.into(),
            file_name: name.into(),
            content_type: None,
            folder: None,
        });
    }

    /// Another credential takes the place of the one before, as the kubelet does it.
    pub(crate) fn rotate(&mut self, token: &str) {
        self.tokens.push(token.to_owned());
        let new = self.secret.with("new", token.as_bytes());
        std::fs::rename(new, self.secret.folder().join("CYBERUN_API_KEY")).unwrap();
    }

    /// The worker that is to do it.
    pub(crate) fn run(&self) -> Run {
        self.run_reporting_to(&self.report_path())
    }

    /// The same with its report elsewhere.
    pub(crate) fn run_reporting_to(&self, report: &std::path::Path) -> Run {
        let run = self.tokens.iter().fold(Run::of("worker"), |run, token| run.secret(token));
        let run = run.argument("--api-url").argument(self.stub.api_url().as_str());
        let run = if self.stub.ca_pem().is_some() { run } else { run.argument("--allow-http") };
        let run = run.argument("--credentials").argument(self.secret.folder());
        let run = run.argument("--source").argument(self.volume.folder());
        let run = run.argument("--report").argument(report);
        self.assignments.iter().fold(run, |run, file| run.argument(serde_json::to_string(file).unwrap()))
    }

    pub(crate) fn report_path(&self) -> PathBuf {
        self.reports.folder().join("report")
    }

    /// What the report says now.
    pub(crate) fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.report_path()).unwrap();
        for part in self.tokens.iter().map(String::as_str).chain(["X-Amz-"]) {
            assert!(!text.contains(part), "{text}");
        }
        let report = report::read(&text, &self.assignments).unwrap();
        assert!(!report.garbled, "{text}");
        report
    }

    /// Runs a worker that ends with this code; what it printed, and its report.
    pub(crate) async fn done(&self, code: i32) -> (Ended, Report) {
        self.ended(self.run().start(), code).await
    }

    pub(crate) async fn ended(&self, running: Running, code: i32) -> (Ended, Report) {
        let ended = running.ended().await.failed(code);
        self.check(&ended);
        (ended, self.report())
    }

    /// No key may be logged, and each that is reported must be there.
    pub(crate) fn check(&self, ended: &Ended) {
        assert_eq!(ended.stdout, "");
        let calls = self.stub.calls();
        for key in calls.iter().filter_map(|call| call.file_key.as_deref()) {
            assert!(!ended.stderr.contains(key), "{}", ended.stderr);
        }
        let objects = self.stub.objects();
        for entry in self.report().entries {
            let Entry::Uploaded { file, upload } = entry else { continue };
            let Upload { file_key, content_type, size, sha256, .. } = upload;
            let object = &objects[&file_key];
            assert_eq!((object.size, &object.sha256), (size, &sha256));
            assert_eq!((&object.content_type, &object.file_name), (&content_type, &self.assignments[file].file_name));
        }
    }

    /// How many presigns and PUTs the stub saw.
    pub(crate) fn counted(&self) -> (usize, usize) {
        let count = |step| self.stub.snapshot().of(step).count();
        (count(Step::Presign), count(Step::Put))
    }
}

/// The files that were uploaded, in the order of their assignments.
pub(crate) fn uploaded(report: &Report) -> Vec<usize> {
    let file = |entry: &Entry| if let Entry::Uploaded { file, .. } = entry { Some(*file) } else { None };
    let mut files: Vec<usize> = report.entries.iter().filter_map(file).collect();
    files.sort_unstable();
    files
}

/// What failed: whose it was, and why.
pub(crate) fn failed(report: &Report) -> Vec<(Option<usize>, &'static str, String)> {
    let entries = report.entries.iter();
    let said = entries.filter_map(|entry| match entry {
        Entry::Failed { file, trouble } => Some((*file, trouble.reason.as_str(), trouble.message())),
        Entry::Uploaded { .. } => None,
    });
    said.collect()
}
