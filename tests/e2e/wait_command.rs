//! `fileupload wait`: what it waits for, what ends it, and what it does while the API server is away.

use std::process::Stdio;
use std::time::{Duration, Instant};

use cyberun_stub::{Fault, Hold, Moment, Options, Rule, Step};
use kube::api::{Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_support::{DEADLINE, Person, World, ended, file, kubectl, scenario, scenario_alone};
use tokio::process::Child;

use crate::OPERATOR;

fn spec() -> Value {
    json!({"files": [file("photo", "texts", "a.txt")], "output": {"configMap": {"name": "keys"}}})
}

/// A status of generation 1 whose conditions have this reason.
async fn write(world: &World, name: &str, reason: &str, true_ones: &[&str]) -> anyhow::Result<()> {
    let condition = |kind: &str| {
        let status = if true_ones.contains(&kind) { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": "as the test has it",
            "observedGeneration": 1, "lastTransitionTime": "2026-11-24T10:00:00Z"})
    };
    let kinds = ["Ready", "Available"].into_iter().chain(true_ones.contains(&"Stalled").then_some("Stalled"));
    let conditions: Vec<_> = kinds.map(condition).collect();
    let entry = json!({"name": "photo", "state": "Failed", "revision": "r", "reason": reason, "message": "so it is"});
    let status = json!({
        "observedGeneration": 1, "filesUploaded": 0, "filesTotal": 1, "attempts": 1, "files": [entry],
        "conditions": conditions,
    });
    let patch = Patch::Merge(json!({"status": status}));
    world.api("FileUpload").patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the file that `child` writes its lines to has this one.
async fn says(world: &World, path: &std::path::Path, line: &str) -> anyhow::Result<()> {
    let look = async || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok((text.lines().any(|said| said == line), text))
    };
    world.wait_for(DEADLINE, &format!("the line {line:?}"), look).await?;
    Ok(())
}

/// Starts a wait whose lines go to a file.
fn starts(world: &World, arguments: &[&str]) -> anyhow::Result<(Child, std::path::PathBuf)> {
    let path = world.folder.path().join("lines");
    let mut command = tokio::process::Command::new(OPERATOR);
    command.arg("wait").args(arguments).args(["--namespace", &world.namespace]).arg("--kubeconfig");
    command.arg(&world.cluster.kubeconfig).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(&path)?);
    Ok((command.spawn()?, path))
}

#[test]
fn it_ends_once_all_are_available_and_waits_for_what_does_not_exist_or_is_suspended() {
    scenario(OPERATOR, async |world| {
        let namespace = world.namespace.clone();
        let suspended = json!({"suspend": true, "files": [file("photo", "texts", "a.txt")]});
        world.file_upload("two", suspended).await?;
        world.with_texts(&[("a.txt", "first")]).await?;
        world.upload("two", "Suspended", |upload| test_support::reason(upload) == "Suspended").await?;
        let (waiting, lines) = starts(world, &["one", "fu/two", "one"])?;
        says(world, &lines, &format!("{namespace}/one: does not exist yet")).await?;
        let text = "Suspended: suspended by spec.suspend: set it to false to go on";
        says(world, &lines, &format!("{namespace}/two: {text}")).await?;
        world.file_upload("one", spec()).await?;
        says(world, &lines, &format!("{namespace}/one: Available")).await?;
        world.patch("FileUpload", "two", json!({"spec": {"suspend": false}})).await?;
        let said = ended(waiting).await?;
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
        let text = std::fs::read_to_string(&lines)?;
        assert!(text.ends_with(&format!("{namespace}/two: Available\n")), "{text}");
        assert!(world.entry("keys", "photo").await?.is_some(), "the output is there by then");
        Ok(())
    });
}

#[test]
fn get_and_watch_on_those_names_suffice_and_less_is_told() {
    scenario(OPERATOR, async |world| {
        world.file_upload("one", spec()).await?;
        let namespace = world.namespace.clone();
        let rule = |verbs: &[&str]| json!([{"apiGroups": ["cyberun.cloud"], "resources": ["fileuploads"], "resourceNames": ["one"], "verbs": verbs}]);
        let asks = ["wait", "one", "--namespace", &namespace];
        let few = Person::with_rules(world, "few", rule(&["get", "watch"])).await?;
        let waiting = few.starts(&asks)?;
        let blind = Person::with_rules(world, "blind", rule(&["get"])).await?;
        let said = blind.runs(&asks).await?;
        said.fails(1, &["no right", "cannot watch resource", "fileuploads", "no operator has looked at it yet"]);
        world.with_texts(&[("a.txt", "first")]).await?;
        let said = ended(waiting).await?;
        assert_eq!(said.code, Some(0), "{said:?}");
        // What is there already is not even watched.
        let said = blind.runs(&asks).await?;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), format!("{namespace}/one: Available\n").as_str()));
        let said = Person::with_rules(world, "none", json!([])).await?.runs(&asks).await?;
        said.fails(1, &["no right", "fileuploads"]);
        Ok(())
    });
}

#[test]
fn what_a_person_must_act_on_ends_it_with_3_and_the_time_with_4() {
    scenario(OPERATOR, async |world| {
        let namespace = world.namespace.clone();
        let admin = Person::admin(world);
        for name in ["stalled", "expired", "pending"] {
            world.file_upload(name, spec()).await?;
        }
        let waiting = admin.starts(&["wait", "stalled", "pending", "-n", &namespace])?;
        write(world, "stalled", "TooLarge", &["Stalled"]).await?;
        let line = format!("{namespace}/stalled: TooLarge: as the test has it\n");
        ended(waiting).await?.fails(3, &[&line, "error: a person must act\n", "Fix: Make the file smaller"]);

        write(world, "expired", "Expired", &["Ready"]).await?;
        let said = admin.runs(&["wait", "expired", "-n", &namespace]).await?;
        said.fails(3, &["a person must act", "Expired", "fileupload refresh"]);

        let said = admin.runs(&["wait", "pending", "absent", "--timeout", "2s", "-n", &namespace]).await?;
        let left = format!("{namespace}/absent: does not exist yet");
        said.fails(4, &["timed out (--timeout)\n", &left, "Cause: No operator is running"]);
        Ok(())
    });
}

#[test]
fn a_signal_ends_it_at_once_also_where_it_would_be_ignored() {
    scenario(OPERATOR, async |world| {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let (waiting, lines) = starts(world, &["absent"])?;
            says(world, &lines, &format!("{}/absent: does not exist yet", world.namespace)).await?;
            let process = waiting.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            kill_process(process.unwrap_or(Pid::INIT), signal)?;
            let begun = Instant::now();
            assert_eq!(ended(waiting).await?.code, Some(code), "an exit, as that of the first process of a container");
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
        Ok(())
    });
}

#[test]
fn an_api_server_that_is_restarted_and_forgets_old_versions_does_not_end_it() -> anyhow::Result<()> {
    scenario_alone(OPERATOR, Options::default(), "an API server that is restarted", async |world| {
        world.expect_refusals();
        let hold = Hold::new("on its way");
        world.stub.arm(Rule::always(Step::Put, Fault::hold(&hold).at(Moment::Received)));
        world.credential().await?;
        world.config_map("texts", &[("a.txt", "one")]).await?;
        world.operator_everywhere(&[]).await?;
        world.file_upload("one", spec()).await?;
        hold.reached(DEADLINE).await?;
        let namespace = world.namespace.clone();
        let (waiting, lines) = starts(world, &["one", "later"])?;
        says(world, &lines, &format!("{namespace}/later: does not exist yet")).await?;
        let mut server = world.api_server()?;
        server.restart().await?;
        hold.release();
        server.restart().await?;
        says(world, &lines, &format!("{namespace}/one: Available")).await?;
        let later = json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
            "metadata": {"name": "later", "namespace": namespace}, "spec": {"files": [file("photo", "texts", "a.txt")]},
        });
        kubectl(world.cluster, ["create", "--filename", "-"], &later.to_string())?;
        let said = ended(waiting).await?;
        assert_eq!(said.code, Some(0), "{}", std::fs::read_to_string(&lines)?);
        Ok(())
    })
}
