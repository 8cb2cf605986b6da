//! What the API server refuses, in words that name the field; and what it must let through.
//!
//! Through kubectl, as it is what users read.

use serde_json::{Value, json};
use test_support::{World, file, kubectl, scenario};

use crate::OPERATOR;

mod workers;

/// What kubectl says to a `FileUpload` with this spec: what it printed, or its complaint.
fn apply(world: &World, name: &str, spec: &Value) -> anyhow::Result<String> {
    let manifest = json!({
        "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
        "metadata": {"name": name, "namespace": world.namespace}, "spec": spec,
    });
    kubectl(world.cluster, ["apply", "--filename", "-"], &manifest.to_string())
}

/// Each of these specs is refused, with all of these words.
fn refused(world: &World, cases: &[(&str, Value, &[&str])]) {
    for (what, spec, words) in cases {
        let Err(complaint) = apply(world, "refused", spec) else { unreachable!("{what} was accepted") };
        let complaint = format!("{complaint:#}");
        for word in *words {
            assert!(complaint.contains(word), "{what}: {word:?} is not in: {complaint}");
        }
    }
}

fn one(change: impl FnOnce(&mut Value)) -> Value {
    let mut only = file("a", "texts", "a.txt");
    change(&mut only);
    json!({"files": [only]})
}

fn many(count: usize) -> Value {
    let list: Vec<_> = (0..count).map(|number| file(&format!("f{number}"), "texts", "a.txt")).collect();
    json!({"files": list})
}

#[test]
fn unknown_fields_are_refused() {
    scenario(OPERATOR, async |world| {
        let mut top = one(|_| ());
        top["refreshPolicies"] = "Never".into();
        let deep = one(|file| file["source"]["secretKeyRef"] = json!({"name": "x", "key": "y"}));
        refused(
            world,
            &[
                ("an unknown field of spec", top, &["unknown field", "spec.refreshPolicies"]),
                ("an unknown source", deep, &["unknown field", "spec.files[0].source.secretKeyRef"]),
                ("a misspelt field", one(|file| file["filename"] = "x".into()), &["spec.files[0].filename"]),
            ],
        );
        Ok(())
    });
}

#[test]
fn names_that_cannot_be_keys_are_refused() {
    scenario(OPERATOR, async |world| {
        let named = |name: String| one(|file| file["name"] = name.into());
        let rule: &[&str] = &["spec.files[0]", "name must be letters, digits, '-', '_' and '.'"];
        let own: &[&str] = &["spec.files[0]", "name must not end in .json", "must not be '.' or begin with '..'"];
        let twice = json!({"files": [file("a", "texts", "a.txt"), file("a", "texts", "b.txt")]});
        refused(
            world,
            &[
                ("the operator's entry", named("keys.json".into()), own),
                ("a name that a folder may have", named("a.json".into()), own),
                ("a dot", named(".".into()), own),
                ("two dots, which no key of a ConfigMap begins with", named("..a".into()), own),
                ("a space", named("a b".into()), rule),
                ("a slash", named("a/b".into()), rule),
                ("a letter of another alphabet", named("ä".into()), rule),
                ("a trailing newline", named("a\n".into()), rule),
                ("64 characters", named("a".repeat(64)), &["spec.files[0].name", "63"]),
                ("an empty name", named(String::new()), &["spec.files[0].name"]),
                ("a name twice", twice, &["spec.files[1]", "Duplicate value"]),
            ],
        );
        Ok(())
    });
}

#[test]
fn too_many_or_no_files_are_refused() {
    scenario(OPERATOR, async |world| {
        refused(
            world,
            &[
                ("101 files", many(101), &["spec.files", "at most 100"]),
                (
                    "an empty list",
                    json!({"files": []}),
                    &["spec", "at least one file in files, or one folder in folders"],
                ),
                ("no list", json!({}), &["spec", "at least one file in files, or one folder in folders"]),
            ],
        );
        Ok(())
    });
}

/// A spec of one folder, with this change.
fn one_folder(change: impl FnOnce(&mut Value)) -> Value {
    let source = json!({"persistentVolumeClaim": {"claimName": "data", "path": "out"}});
    let mut spec =
        json!({"folders": [{"name": "frames", "source": source}], "output": {"configMap": {"name": "keys"}}});
    change(&mut spec);
    spec
}

#[test]
fn folders_are_bounded_and_need_an_output() {
    scenario(OPERATOR, async |world| {
        let of = |field: &str, value: Value| one_folder(|spec| spec["folders"][0][field] = value);
        let at =
            |path: &str| one_folder(|spec| spec["folders"][0]["source"]["persistentVolumeClaim"]["path"] = path.into());
        let named = |name: &str| of("name", name.into());
        let nine = one_folder(|spec| {
            let folder = |number: usize| {
                let mut folder = spec["folders"][0].clone();
                folder["name"] = format!("f{number}").into();
                folder
            };
            spec["folders"] = (0..9).map(folder).collect();
        });
        let both = one_folder(|spec| spec["files"] = json!([file("frames", "texts", "a.txt")]));
        let more_than_most = one_folder(|spec| {
            spec["folders"][0]["minFiles"] = 4.into();
            spec["folders"][0]["maxFiles"] = 3.into();
        });
        let globs: Vec<_> = (0..17).map(|number| format!("{number}")).collect();
        refused(
            world,
            &[
                ("no output", one_folder(|spec| drop(spec["output"].take())), &["folders need output"]),
                ("nine folders", nine, &["spec.folders", "at most 8"]),
                ("a name twice", both, &["must not have the same name"]),
                ("an upper-case name", named("Frames"), &["spec.folders[0].name"]),
                ("the operator's name", named("frames-part"), &["name must not end in -part"]),
                ("64 characters", named(&"a".repeat(64)), &["spec.folders[0].name", "63"]),
                (
                    "a long output",
                    one_folder(|spec| spec["output"]["configMap"]["name"] = "a".repeat(181).into()),
                    &["180"],
                ),
                ("an absolute path", at("/out"), &["leave out the leading '/'"]),
                ("a way out", at("a/../b"), &["must not contain '..'"]),
                ("no claim", of("source", json!({})), &["persistentVolumeClaim", "Required"]),
                ("17 globs", of("include", json!(globs)), &["spec.folders[0].include", "at most 16"]),
                ("a long glob", of("exclude", json!(["a".repeat(257)])), &["spec.folders[0].exclude[0]", "256"]),
                ("too many files", of("maxFiles", json!(2001)), &["spec.folders[0].maxFiles", "2000"]),
                ("no files", of("maxFiles", json!(0)), &["spec.folders[0].maxFiles", "1"]),
                ("fewer than none", of("minFiles", json!(-1)), &["spec.folders[0].minFiles", "0"]),
                ("more than the most", more_than_most, &["minFiles must not be larger"]),
                (
                    "OnChange",
                    one_folder(|spec| spec["updatePolicy"] = "OnChange".into()),
                    &["updatePolicy OnChange needs"],
                ),
            ],
        );
        apply(world, "accepted", &one_folder(|spec| spec["suspend"] = true.into()))?;
        let mixed = one_folder(|spec| {
            spec["files"] = json!([file("a", "texts", "a.txt")]);
            spec["suspend"] = true.into();
        });
        apply(world, "accepted-too", &mixed)?;
        Ok(())
    });
}

#[test]
fn incomplete_sources_and_references_are_refused() {
    scenario(OPERATOR, async |world| {
        let source = |source: Value| one(|file| file["source"] = source);
        let mut secret = one(|_| ());
        secret["credentials"] = json!({"secretRef": {"name": "../other"}});
        let mut output = one(|_| ());
        output["output"] = json!({"configMap": {"name": ""}});
        refused(
            world,
            &[
                ("no place", source(json!({})), &["spec.files[0].source", "configMapKeyRef"]),
                ("no source", one(|file| drop(file["source"].take())), &["spec.files[0].source"]),
                ("no key", source(json!({"configMapKeyRef": {"name": "x"}})), &["configMapKeyRef.key", "Required"]),
                (
                    "a path as a name",
                    source(json!({"configMapKeyRef": {"name": "a/b", "key": "c"}})),
                    &["configMapKeyRef.name"],
                ),
                (
                    "a path as a key",
                    source(json!({"configMapKeyRef": {"name": "a", "key": "b/c"}})),
                    &["configMapKeyRef.key"],
                ),
                ("a bad Secret", secret, &["spec.credentials.secretRef.name"]),
                ("an empty output", output, &["spec.output.configMap.name"]),
            ],
        );
        Ok(())
    });
}

/// What Kubernetes takes for no key of a label or annotation.
const NO_KEYS: [&str; 6] = ["", "te am", "-team", "Example.com/team", "a/b/c", "/team"];

#[test]
fn labels_and_annotations_of_an_output_are_bounded_and_none_of_the_operators() {
    scenario(OPERATOR, async |world| {
        let with = |field: &str, given: Value| {
            let mut spec = one(|_| ());
            spec["output"] = json!({"configMap": {"name": "keys", field: given}});
            spec
        };
        let many: serde_json::Map<_, _> = (0..33).map(|number| (format!("k{number}"), json!("v"))).collect();
        let own = ["cyberun.cloud/fileupload", "cyberun.cloud/x", "app.kubernetes.io/managed-by"];
        for field in ["labels", "annotations"] {
            let at = format!("spec.output.configMap.{field}");
            for key in own {
                refused(world, &[(key, with(field, json!({key: "x"})), &[&at, "must not hold", "the operator's"])]);
            }
            for key in NO_KEYS {
                refused(world, &[(key, with(field, json!({key: "x"})), &[&at, "each key must be a name"])]);
            }
            refused(world, &[("33 of them", with(field, many.clone().into()), &[&at, "at most 32"])]);
        }
        let words: &[&str] = &["spec.output.configMap.labels.a"];
        refused(
            world,
            &[
                ("a value that no label has", with("labels", json!({"a": "x y"})), words),
                ("a long value", with("labels", json!({"a": "x".repeat(64)})), words),
                (
                    "a long annotation",
                    with("annotations", json!({"a": "x".repeat(4097)})),
                    &["spec.output.configMap.annotations.a"],
                ),
            ],
        );
        for given in [json!({"app": "", "example.com/team": "a-b_c.D", "cyberun.example/x": "y"}), json!({})] {
            apply(world, "accepted", &with("labels", given.clone()))?;
            apply(world, "accepted", &with("annotations", given))?;
        }
        apply(world, "accepted", &with("annotations", json!({"note": "any text: ü\nof 4096 characters at most"})))?;
        Ok(())
    });
}

#[test]
fn file_names_that_are_paths_or_break_lines_are_refused() {
    scenario(OPERATOR, async |world| {
        let named = |name: String| one(|file| file["fileName"] = name.into());
        let rule: &[&str] = &["spec.files[0]", "fileName must not hold slashes, backslashes or control characters"];
        refused(
            world,
            &[
                ("a slash", named("a/b.txt".into()), rule),
                ("a backslash", named("a\\b.txt".into()), rule),
                ("a newline", named("a\nb.txt".into()), rule),
                ("a trailing newline", named("a.txt\n".into()), rule),
                ("a tab", named("a\tb.txt".into()), rule),
                ("DEL", named("a\u{7f}.txt".into()), rule),
                ("256 characters", named("a".repeat(256)), &["spec.files[0].fileName", "255"]),
                ("an empty name", named(String::new()), &["spec.files[0].fileName"]),
                ("a bad MIME type", one(|file| file["contentType"] = "text".into()), &["spec.files[0].contentType"]),
            ],
        );
        Ok(())
    });
}

#[test]
fn a_name_that_cannot_be_a_label_is_refused() {
    scenario(OPERATOR, async |world| {
        let Err(complaint) = apply(world, &"a".repeat(64), &one(|_| ())) else {
            unreachable!("64 characters were accepted")
        };
        assert!(format!("{complaint:#}").contains("metadata.name must be at most 63 characters"), "{complaint:#}");
        apply(world, &"a".repeat(63), &one(|_| ()))?;
        Ok(())
    });
}

#[test]
fn unusual_but_sound_specs_are_accepted_and_work() {
    scenario(OPERATOR, async |world| {
        world.with_texts(&[("a.txt", "first")]).await?;
        apply(world, "spaces", &one(|file| file["fileName"] = " ein schönes Bild – 写真 (1).png".into()))?;
        apply(world, "long", &one(|file| file["name"] = "a".repeat(63).into()))?;
        apply(world, "digits", &one(|file| file["name"] = "0".into()))?;
        apply(world, "variable", &one(|file| file["name"] = "PHOTO_KEY".into()))?;
        apply(world, "signs", &one(|file| file["name"] = "-_.a.JSON".into()))?;
        apply(world, "type", &one(|file| file["contentType"] = "text/plain; charset=utf-8".into()))?;
        apply(world, "hundred", &many(100))?;
        for name in ["spaces", "long", "digits", "variable", "signs", "type", "hundred"] {
            let upload = world.available(name).await?;
            world.stored_keys(&upload)?;
        }
        assert_eq!(world.stub.objects().len(), 106);
        Ok(())
    });
}

#[test]
fn a_fresh_file_upload_is_not_taken_for_a_finished_one() {
    scenario(OPERATOR, async |world| {
        apply(world, "fresh", &one(|_| ()))?;
        let fresh = world.read("FileUpload", "fresh").await?;
        assert_eq!(fresh["status"]["observedGeneration"], -1, "nobody has looked at it");
        assert_eq!(fresh["spec"], one(|_| ()), "no default is written into the spec");
        Ok(())
    });
}

/// An entry of `spec.files` from a claim.
fn on_volume(path: &str) -> Value {
    let source = json!({"persistentVolumeClaim": {"claimName": "datasets", "path": path}});
    json!({"files": [{"name": "a", "source": source}]})
}

#[test]
fn a_path_that_is_not_beneath_the_volume_is_refused_and_every_name_of_a_file_is_not() {
    scenario(OPERATOR, async |world| {
        let mut both = on_volume("a.txt");
        both["files"][0]["source"]["configMapKeyRef"] = json!({"name": "texts", "key": "a.txt"});
        let none = json!({"files": [{"name": "a", "source": {}}]});
        let cases: [(_, _, &[&str]); 8] = [
            ("an absolute path", on_volume("/etc/passwd"), &["path is relative to the volume's root"]),
            ("a climbing path", on_volume("../passwd"), &["must not hold '..'"]),
            ("a path that climbs later", on_volume("a/../b"), &["must not hold '..'"]),
            ("a path that ends in a climb", on_volume("a/.."), &["must not hold '..'"]),
            ("a folder", on_volume("raw/"), &["path must name a file"]),
            ("a name with a control character", on_volume("raw/a\tb"), &["set fileName"]),
            ("two sources", both, &["exactly one place"]),
            ("no source", none, &["exactly one place"]),
        ];
        refused(world, &cases);
        let long = format!("{}/{}", "d".repeat(255), "ü".repeat(127));
        for path in ["a", "-n $(HOME) ü.png", "..a/b..", "./a//b", "a\\b/c", &long] {
            apply(world, "accepted", &on_volume(path))?;
        }
        let mut named = on_volume("raw/a\tb");
        named["files"][0]["fileName"] = "a-b".into();
        apply(world, "accepted", &named)?;
        Ok(())
    });
}

#[test]
fn every_example_is_admitted() {
    scenario(OPERATOR, async |world| {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
        let namespace = &world.namespace;
        // What is for other engines is decoded into their types by `tests/manifests`, and kustomize's is built by a test.
        let engines = ["argo-cd", "argo-workflows", "flux", "github-actions", "gitlab-ci", "kustomize", "tekton"];
        let others = engines.into_iter().chain(["external-secret", "kube-state-metrics"]).collect::<Vec<_>>();
        let mut said = String::new();
        for folder in std::fs::read_dir(examples)? {
            let folder = folder?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if folder.is_dir() && !others.contains(&&*name) {
                let path = folder.to_string_lossy();
                let arguments = ["apply", "--dry-run=server", "--namespace", namespace, "--filename", &*path];
                said += &kubectl(world.cluster, arguments, "")?;
            }
        }
        let made = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).count();
        assert!(made("fileupload.cyberun.cloud/") >= 2 && made("job.batch/") >= 3, "{said}");
        Ok(())
    });
}
