//! What a test leaves behind: shown when it fails, and searched for secrets when it does not.

use std::fmt::Write as _;

use anyhow::ensure;

use crate::world::World;

/// Never to be seen outside of a Secret, whatever their values.
const SIGNED: [&str; 2] = ["X-Amz-Signature", "X-Amz-Credential"];

impl World {
    /// All that users and operators can read, as text.
    async fn evidence(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for kind in ["FileUpload", "ConfigMap", "Event", "Job", "Pod"] {
            for mut object in self.list(kind).await? {
                object["metadata"]["managedFields"].take();
                if object["metadata"]["name"] != "kube-root-ca.crt" {
                    writeln!(text, "--- {kind}\n{object:#}")?;
                }
            }
        }
        if let Some(logs) = &self.logs {
            text.push_str(&logs.listing(&self.operator_logs()));
        }
        if let Some(operator) = &self.operator {
            if operator.runs() {
                writeln!(text, "--- metrics\n{}", operator.get("/metrics").await?.1)?;
            }
            writeln!(text, "--- the operator's log\n{}", operator.log())?;
        }
        Ok(text)
    }

    /// Shows what there was, for a test that failed.
    pub(crate) async fn show(&self) -> String {
        let mut text = match self.evidence().await {
            Ok(text) => text,
            Err(error) => format!("(not everything can be shown: {error:#})\n"),
        };
        text.push_str("--- the double's calls\n");
        for call in self.stub.calls() {
            let (step, name, end, fault) = (call.step, call.file_name, call.end, call.fault);
            let _ = writeln!(text, "{step:?} {name:?} {:?}: {end:?}, fault {fault:?}", call.credential);
        }
        text
    }

    /// Judges what every test must leave as it should be.
    pub(crate) async fn finish(&self) -> anyhow::Result<()> {
        let evidence = self.evidence().await?;
        for secret in self.secrets.all().iter().map(String::as_str).filter(|secret| secret.len() > 8).chain(SIGNED) {
            let line = evidence.lines().find(|line| line.contains(secret));
            ensure!(line.is_none(), "a token or signed URL can be read: {line:?}");
        }
        let forbidden = self.requests()?.unwrap_or_default().into_iter().find(|request| request.code == 403);
        ensure!(forbidden.is_none() || self.refusals_expected, "the chart's rights do not suffice: {forbidden:?}");
        Ok(())
    }
}
