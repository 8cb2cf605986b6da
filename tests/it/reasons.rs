//! Every reason is explained in `docs/reasons.md` and met by a test, and the pages made from the code are as it makes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use fileupload_operator::reason::Reason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn every_reason_has_a_section_with_its_meaning_cause_and_fix() {
    let page = read("docs/reasons.md");
    for reason in Reason::ALL {
        let section = page.split(&format!("\n### {reason}\n")).nth(1).map(|rest| rest.split("\n## ").next().unwrap());
        let section = section.unwrap_or_else(|| panic!("docs/reasons.md has no section {reason}"));
        let section = section.split("\n### ").next().unwrap();
        let class = format!("**Class**: {}.", reason.class());
        for text in [reason.meaning(), reason.cause(), reason.fix(), &class] {
            assert!(section.contains(text), "{text:?} is not in the section {reason}");
        }
        assert!(page.contains(&format!("[{reason}](#{})", reason.as_str().to_lowercase())), "{reason} is in no table");
    }
}

#[test]
fn pages_made_from_the_code_are_as_the_code_makes_them() {
    for (arguments, path) in [
        (&["docs", "reasons"][..], "docs/reasons.md"),
        (&["docs", "cli"], "docs/cli.md"),
        (&["docs", "spec"], "docs/spec/fileupload.md"),
        (&["crd"], "crds/fileuploads.cyberun.cloud.yaml"),
    ] {
        // What the environment holds must not get into them.
        let command = || Command::new(env!("CARGO_BIN_EXE_fileupload"));
        let mut command = command();
        command.args(arguments).env("CYBERUN_API_URL", "https://somewhere.example/api/v1").env("COLUMNS", "40");
        let made = command.output().unwrap();
        assert!(made.status.success(), "{arguments:?}");
        let made = String::from_utf8(made.stdout).unwrap();
        assert!(!made.contains("somewhere.example"), "{path} holds what the environment says");
        assert!(made == read(path), "{path} is not what the code makes: run make generate");
    }
}

/// Everything in which a test names what it expects, but for this file.
fn tests() -> String {
    let mut files: Vec<PathBuf> = Vec::new();
    for (folder, extension) in [("tests/plan", "plan"), ("tests/e2e", "rs"), ("tests/it", "rs"), ("src/plan", "rs")] {
        let paths = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|found| found == extension)));
    }
    files.retain(|path| !path.ends_with("tests/it/reasons.rs"));
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let of_tests =
            if path.starts_with(root().join("src")) { text.split_once("\n#[cfg(test)]\n") } else { Some(("", &*text)) };
        of_tests.map_or_else(String::new, |(_, tests)| tests.to_owned())
    };
    files.into_iter().map(text).collect()
}

#[test]
fn every_reason_is_met_by_a_test() {
    let tests = tests();
    let words: std::collections::BTreeSet<&str> = tests.split(|c: char| !c.is_alphanumeric()).collect();
    let unmet: Vec<_> = Reason::ALL.iter().filter(|reason| !words.contains(reason.as_str())).collect();
    assert!(unmet.is_empty(), "no test names {unmet:?}");
}

/// Where a test does what the fix of a reason says, and sees it heal. What needs no fix is left out.
const HEALED: [(&str, &str); 39] = [
    ("Expired", "key_life::with_never_a_key_expires_on_time_and_leaves_status_and_output"),
    ("RefreshFailed", "key_life::a_credential_that_was_revoked_costs_one_call_and_its_successor_renews_the_keys"),
    ("SecretNotFound", "reasons::a_missing_secret_is_waited_for"),
    ("ConfigMapNotFound", "reasons::a_missing_config_map_is_waited_for"),
    ("ConfigMapKeyNotFound", "reasons::a_missing_key_is_waited_for_and_holds_no_other_file_back"),
    ("ClaimNotFound", "claims::a_missing_claim_is_waited_for"),
    ("ClaimNotBound", "claims::an_unbound_claim_is_bound_by_its_own_consumer_and_never_by_a_worker"),
    ("ClaimInUse", "claims::a_claim_for_one_pod_is_waited_for_while_it_is_in_use"),
    ("Queued", "worker_queue::two_of_six_in_one_namespace_run_at_a_time_in_the_order_in_which_they_came"),
    ("WorkerPending", "worker_not_started::a_worker_that_no_node_can_run_says_so_and_follows_the_spec"),
    ("Suspended", "suspension::what_is_suspended_from_the_start_makes_no_call"),
    ("InvalidSpec", "request::a_request_that_the_status_has_no_room_for_is_refused_and_costs_no_key"),
    ("DeploymentUnknown", "deployments::two_deployments_with_their_own_authorities_and_lives_serve_side_by_side"),
    ("CredentialsInvalid", "reasons::a_user_token_works_once_its_team_is_there"),
    ("CredentialsRejected", "reasons::a_wrong_token_is_rejected_once_and_not_tried_again_until_the_secret_changes"),
    ("FeatureNotLicensed", "reasons::an_unlicensed_feature_is_not_asked_for_again_until_the_secret_changes"),
    ("RequestRejected", "healing::a_request_that_is_refused_is_taken_with_another_name"),
    ("TooLarge", "request::a_request_wakes_what_only_a_person_can_mend"),
    ("PermissionDenied", "volume_files::a_file_of_another_user_is_told_with_owner_mode_and_the_fix_that_heals_it"),
    ("NotAFile", "healing::a_file_that_cannot_be_sent_is_sent_once_another_is_named"),
    ("TooManyFiles", "folders::a_folder_with_more_than_may_be_is_refused_with_the_number"),
    ("PathEscapes", "healing::a_file_that_cannot_be_sent_is_sent_once_another_is_named"),
    ("FileNeverAppeared", "healing::a_file_that_never_appeared_is_sent_once_it_is_there_and_asked_for"),
    ("ReportUnsupported", "worker_image::a_report_of_another_version_stalls_until_the_spec_changes"),
    ("UpdateUnsupported", "source_change::on_change_needs_a_config_map_and_an_operator_that_reads_it"),
    ("OutputConflict", "output::a_foreign_config_map_is_never_touched_and_its_deletion_heals"),
    ("ApiUnavailable", "reasons::an_api_that_is_down_is_tried_again_until_it_is_up"),
    ("RateLimited", "reasons::an_api_that_asks_to_slow_down_is_given_the_time_it_asks_for"),
    ("InvalidResponse", "worker_answers::an_answer_that_is_none_is_every_files"),
    ("StorageUnavailable", "worker_answers::a_file_that_the_storage_does_not_take_holds_no_other_back"),
    ("StorageRefused", "healing::a_storage_that_refuses_is_tried_again_until_it_takes_the_file"),
    ("AdmissionDenied", "worker_not_started::a_limit_that_a_worker_does_not_meet_is_named_and_met_by_the_spec"),
    ("FileNotFound", "source_changing::a_file_that_is_not_there_yet_is_told_with_what_is_and_is_sent_when_it_appears"),
    ("SourceChanged", "source_changing::a_file_that_changes_while_it_is_sent_gets_the_key_of_its_new_content"),
    ("QuotaExceeded", "worker_not_started::a_quota_without_room_for_a_pod_is_named"),
    ("ImagePullFailed", "worker_image::an_image_that_cannot_be_pulled_is_named_with_what_pulling_it_may_need"),
    ("WorkerFailed", "worker_interrupted::a_worker_that_is_killed_has_reported_what_it_had_done"),
    ("WorkerTimedOut", "worker_answers::a_worker_that_takes_too_long_is_ended_and_what_it_did_is_kept"),
    ("ReportMissing", "worker_image::an_image_that_reports_nothing_is_tried_again_with_growing_waits"),
];

#[test]
fn every_fix_is_shown_to_heal_by_a_test() {
    let healed = |reason: &str| HEALED.iter().any(|(name, _)| *name == reason);
    // Nothing is to be done about these.
    let calm = ["Uploaded", "Uploading", "ReportFull"];
    let unshown: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).filter(|name| !healed(name)).collect();
    assert_eq!(unshown, calm, "no test heals what these say");
    for (reason, test) in HEALED {
        let (file, name) = test.split_once("::").unwrap();
        let text = read(format!("tests/e2e/{file}.rs"));
        assert!(text.contains(&format!("\nfn {name}()")), "{reason}: there is no test {test}");
    }
}
