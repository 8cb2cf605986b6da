//! The operator in a real Kubernetes, as users see it: one file a subject, a namespace each.
//!
//! `make test` runs these, or `tests/cluster/run cargo test --test e2e`. The harness is `tests/support`, where everything
//! lies that two files share: it starts the operator as the chart has it and reads what it does as plain JSON, from the
//! outside.

mod admission;
mod api_server_outage;
mod attempts;
mod chart;
mod chart_releases;
mod claims;
mod config_map_files;
mod credential_rotation;
mod deletion;
mod deployments;
mod disks;
mod examples;
mod examples_engines;
mod explain_command;
mod folders;
mod folders_interrupted;
mod folders_killed;
mod folders_large;
mod forged_pods;
mod granted_verbs;
mod harness_judgement;
mod harness_pods;
mod healing;
mod helm_test;
mod hundred_files;
mod idle_operator;
mod immutable_output;
mod indirect_uploads;
mod injected_containers;
mod isolation;
mod key_life;
mod leader_election;
mod many_files;
mod older_definition;
mod operator_killed;
mod operator_killed_with_worker;
mod operator_lifecycle;
mod output;
mod peak_memory;
mod reasons;
mod refresh_command;
mod request;
mod secret_names;
mod sidecar;
mod source_change;
mod source_changing;
mod spec_change;
mod status_conflict;
mod stolen_token;
mod suspension;
mod volume_escape;
mod volume_files;
mod wait_command;
mod worker_answers;
mod worker_during_change;
mod worker_image;
mod worker_interrupted;
mod worker_not_started;
mod worker_pod;
mod worker_queue;
mod worker_retries;

/// The program under test.
const OPERATOR: &str = env!("CARGO_BIN_EXE_fileupload");
