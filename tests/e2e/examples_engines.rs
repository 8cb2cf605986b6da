//! How workflow engines use keys: what the examples for Argo and Tekton give them.
//!
//! Engines do not run here: what their pods would do is done with the same account, the same requests and the same
//! container. Their manifests as such are judged by `tests/manifests`.

use anyhow::Context as _;
use serde_json::{Value, json};
use test_support::{DEADLINE, World, kubectl, scenario, state, with_pods};

use crate::OPERATOR;
use crate::examples::{apply, create, example, of_the_api_server};

#[test]
fn the_account_of_the_argo_example_can_ask_for_an_upload_and_read_its_key_and_no_more() {
    scenario(OPERATOR, async |world| {
        world.credential().await?;
        world.operator().await?;
        let rights = example("argo-workflows/rbac.yaml")?;
        apply(world, &rights)?;
        let rights: Vec<_> = rights.iter().map(Value::to_string).collect();
        world.granted_by(&rights.join("\n---\n")).await?;
        world.config_map("prompts", &[("prompt.txt", "soft morning light")]).await?;
        let workflow = &example("argo-workflows/workflow.yaml")?[0];
        let mut manifest = of_the_api_server(workflow).pop().context("it makes no FileUpload")?;
        // No node may run here, so that the file of the claim becomes one of a ConfigMap.
        manifest["spec"]["files"] = json!([test_support::file("photo", "prompts", "prompt.txt")]);
        let account = format!("--as=system:serviceaccount:{}:portrait-workflow", world.namespace);
        let made = create(world, &account, &manifest)?;
        let name = made["metadata"]["name"].as_str().context("no name")?;
        let upload = world.available(name).await?;
        assert_eq!(upload["status"]["phase"], "Ready", "the successCondition");
        assert_eq!(state(&upload, "Available"), "True");

        let namespace = format!("--namespace={}", world.namespace);
        let of_it = format!("fileupload.cyberun.cloud/{name}");
        let get = ["get", &of_it, &account, &namespace, "--output=jsonpath={.status.fileKey}"];
        let key = kubectl(world.cluster, get, "")?;
        assert_eq!(Some(key.as_str()), test_support::key_of(&upload, "photo"));
        for (verb, what) in [("delete", of_it.as_str()), ("get", "secrets/cyberun"), ("get", "configmaps/prompts")] {
            let refused = kubectl(world.cluster, [verb, what, &account, &namespace], "").err().context("it may")?;
            assert!(refused.to_string().contains("forbidden"), "{verb} {what}: {refused}");
        }
        Ok(())
    });
}

/// A step of an engine as a pod: its container with what the engine fills in, the double as its API, a file `prompt.txt`
/// where it reads, and beside it who tells what it wrote.
async fn step(
    world: &mut World,
    mut container: Value,
    filled: &[(&str, &str)],
    (input, keys): (&str, &str),
) -> anyhow::Result<String> {
    world.credential().await?;
    world.config_map("files", &[("prompt.txt", "soft morning light")]).await?;
    container["name"] = "step".into();
    container["image"] = world.cluster.image()?.into();
    container["args"].as_array_mut().context("no args")?.push("--allow-http".into());
    let mounts = json!([{"name": "keys", "mountPath": keys}, {"name": "files", "mountPath": input}]);
    container["volumeMounts"] = mounts.clone();
    let url = world.stub.api_url().to_string();
    let api = [("{{inputs.parameters.api-url}}", url.as_str()), ("$(params.api-url)", url.as_str())];
    let text = filled.iter().chain(&api).fold(container.to_string(), |text, (from, to)| text.replace(from, to));
    let tell = format!("until [ -e {keys}/keys.json ]; do busybox sleep 1; done; busybox cat {keys}/file-key");
    let spec = json!({
        "containers": [
            serde_json::from_str::<Value>(&text)?,
            {"name": "tells", "command": ["sh", "-c", tell], "volumeMounts": mounts},
        ],
        "volumes": [{"name": "keys", "emptyDir": {}}, {"name": "files", "configMap": {"name": "files"}}],
    });
    world.pod("step", spec).await?;
    let ended = async || {
        let pod = world.read("Pod", "step").await?;
        Ok((["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default()), pod))
    };
    world.wait_for(DEADLINE * 3, "the step to end", ended).await?;
    kubectl(world.cluster, ["logs", "--namespace", &world.namespace, "step", "--container=tells"], "")
}

#[test]
fn the_container_of_the_argo_template_writes_the_key_where_argo_reads_it() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a step of Argo", async |world| {
        let template = example("argo-workflows/workflowtemplate.yaml")?[0]["spec"]["templates"][0].clone();
        assert_eq!(template["outputs"]["parameters"][0]["valueFrom"]["path"], "/keys/file-key");
        let filled = [("{{inputs.parameters.file-name}}", "prompt.txt"), ("{{inputs.parameters.secret}}", "cyberun")];
        let key = step(world, template["container"].clone(), &filled, ("/files", "/keys")).await?;
        let object = world.stub.objects().remove(key.trim()).context("the key is of nothing that is stored")?;
        assert_eq!(object.file_name, "prompt.txt");
        Ok(())
    })
}

#[test]
fn the_container_of_the_tekton_task_writes_the_key_where_tekton_reads_a_result() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a step of Tekton", async |world| {
        let container = example("tekton/task.yaml")?[0]["spec"]["steps"][0].clone();
        let filled = [
            ("$(workspaces.files.path)", "/workspace/files"),
            ("$(params.file)", "prompt.txt"),
            ("$(params.more[*])", "mask=prompt.txt"),
            ("$(params.secret)", "cyberun"),
        ];
        let key = step(world, container, &filled, ("/workspace/files", "/tekton/results")).await?;
        assert!(world.stub.objects().contains_key(key.trim()), "the key is of nothing that is stored: {key:?}");
        assert_eq!(world.stub.objects().len(), 2);
        Ok(())
    })
}
