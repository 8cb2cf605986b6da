//! The output under another name: keys are at one place at a time, whatever the cluster refuses.

use super::*;

/// Uploaded, with an output that the spec then gives another name.
fn renamed() -> Story {
    let mut story = Story::of(json!({"output": {"configMap": {"name": "keys"}}}), &[of_config_map("a")]);
    story.step();
    story.written.exists = true;
    story.uploads(&["k"]);
    let spec = json!({"configMap": {"name": "others"}});
    story.upload.spec.output = serde_json::from_value(spec).unwrap();
    story.upload.metadata.generation = Some(2);
    story
}

#[test]
fn an_output_has_no_keys_under_its_new_name_while_the_former_one_remains() {
    let story = renamed();
    let case = Case::new(&story.upload, story.now, Deployment::default(), Senders::Operator);
    let plan = plan(&case, &story.facts);
    let done = |former_remains| Done { unfinished: former_remains, former_remains, ..Done::default() };
    assert!(matches!(settle(&plan, done(false)).output, OutputAct::Create(_)), "once that is gone");

    let settled = settle(&plan, done(true));
    let OutputAct::Held(trouble) = settled.output.clone() else { panic!("{:?}", settled.output) };
    assert!(trouble.message().contains("ConfigMap keys "), "{trouble:?}");
    let ending = settled.finish(&Written { trouble: Some(trouble), exists: false });
    assert!(ending.look <= Duration::from_secs(30), "the deletion is tried again");
    let status = ending.status.unwrap();
    assert_eq!(status.output.map(|output| output.name).as_deref(), Some("keys"), "so that it is not forgotten");
    assert_eq!(status.phase, Some(Phase::Pending));
    assert_eq!(status.files[0].file_key.as_deref(), Some("k"));
}
