//! Golden plans: each `tests/plan/NAME.yaml` is rendered by the program and compared with `NAME.plan`.
//!
//! The planner is the production one. A Job is compared in full only where the case is about it, which a line
//! `# prints the Job` says. A line `# worker defaults: ` or `# deployments: ` has the text of that file of the operator.
//! `UPDATE_PLANS=1` writes the files again; read the difference before you commit.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[test]
fn every_golden_case_is_planned_as_it_is_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let mut cases = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            cases.insert(path);
        }
    }
    assert!(cases.len() >= 20, "only {} cases in {}", cases.len(), folder.display());
    let mut differ = Vec::new();
    for case in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fileupload"));
        command.args(["render", "--at", &time_of(&case), "-f"]).arg(&case);
        let folder = tempfile::tempdir().unwrap();
        for (comment, flag) in [("# worker defaults: ", "--worker-defaults"), ("# deployments: ", "--deployments")] {
            if let Some(text) = said(&case, comment) {
                let file = folder.path().join(&flag[2..]);
                std::fs::write(&file, text).unwrap();
                command.arg(flag).arg(file);
            }
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", case.display(), String::from_utf8_lossy(&output.stderr));
        let printed = shown(&case, &String::from_utf8(output.stdout).unwrap());
        let golden = case.with_extension("plan");
        #[expect(clippy::disallowed_methods, reason = "a switch for people, as golden tests have it")]
        if std::env::var_os("UPDATE_PLANS").is_some() {
            std::fs::write(&golden, &printed).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != printed {
            differ.push(format!("{}:\n{printed}", golden.display()));
        }
    }
    assert!(differ.is_empty(), "planned otherwise than written down:\n{}", differ.join("\n"));
}

/// What is compared: the plan, and the Jobs where the case is about them.
fn shown(case: &Path, printed: &str) -> String {
    let printed = printed.replace(&format!("kubernetes.io/arch: {}\n", architecture()), "kubernetes.io/arch: (own)\n");
    let text = std::fs::read_to_string(case).unwrap();
    if text.lines().any(|line| line == "# prints the Job") {
        return printed;
    }
    let plans = printed.split("---\n").filter(|document| document.starts_with("fileUpload: "));
    plans.flat_map(|plan| ["---\n", plan]).collect()
}

/// The architecture that the program is built for, as nodes name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The time at which a case is planned: soon after what most of them tell of, unless a comment says otherwise.
fn time_of(case: &Path) -> String {
    said(case, "# at: ").unwrap_or_else(|| "2026-11-23T10:05:00Z".to_owned())
}

/// The rest of the comment in a case that begins like this.
fn said(case: &Path, beginning: &str) -> Option<String> {
    let text = std::fs::read_to_string(case).unwrap();
    text.lines().find_map(|line| line.strip_prefix(beginning)).map(str::to_owned)
}

#[test]
fn a_field_that_no_file_upload_has_is_refused_by_its_path() {
    let manifest = "apiVersion: cyberun.cloud/v1alpha1\nkind: FileUpload\nmetadata: { name: x }\nspec:\n  files: [{ name: a, source: { configMapKeyRef: { name: m, key: k } }, mimeType: a/b }]\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, manifest).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fileupload")).arg("render").arg("-f").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("spec.files[0].mimeType: no such field"), "{said}");
}
