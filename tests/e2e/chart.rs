//! The chart itself: what it gives rights to, what it refuses, and that the API server takes all it can write.

use serde_json::Value;
use test_support::{World, helm, kubectl, scenario};

use crate::OPERATOR;

/// Every value that changes what is written, and a word of what it writes.
const VALUES: [(&str, &str); 37] = [
    ("retention=\"12h\"", "--retention=12h"),
    ("minimumLife=\"30m\"", "--minimum-life=30m"),
    ("watchNamespaces=[\"team-a\",\"team-b\"]", "--namespace=team-b"),
    ("image={\"repository\":\"registry.example/fileupload\",\"tag\":\"1.2.3\"}", "registry.example/fileupload:1.2.3"),
    ("imagePullSecrets=[{\"name\":\"registry\"}]", "- name: registry"),
    ("global={\"imagePullSecrets\":[\"shared\"],\"of\":\"others\"}", "- name: shared"),
    ("apiUrl=\"http://cyberun.example/api/v1\"", "--api-url=http://cyberun.example/api/v1"),
    ("allowHttp=true", "--allow-http"),
    ("directUploads=false", "--direct-uploads=false"),
    ("workers.max=9", "--max-workers=9"),
    ("workers.maxPerNamespace=2", "--max-workers-per-namespace=2"),
    ("maxSends=3", "--max-sends=3"),
    ("workers.deadlineSeconds=600", "--worker-deadline=600"),
    ("workers.imagePullSecrets=[{\"name\":\"pull\"}]", "--worker-pull-secret=pull"),
    ("workers.defaults={\"labels\":{\"team\":\"data\"}}", "--worker-defaults=/etc/fileupload-workers/defaults.yaml"),
    ("proxy={\"https\":\"http://proxy:3128\",\"http\":\"http://other:3128\",\"noProxy\":\"store\"}", "name: NO_PROXY"),
    ("caBundle=\"-----BEGIN CERTIFICATE-----\"", "--ca-file=/etc/fileupload/ca.crt"),
    ("logFormat=\"text\"", "--log-format=text"),
    ("logLevel=\"debug\"", "--log-level=debug"),
    ("extraArgs=[\"--more\"]", "- --more"),
    ("extraEnv=[{\"name\":\"SSL_CERT_DIR\",\"value\":\"/more\"}]", "name: SSL_CERT_DIR"),
    ("extraVolumes=[{\"name\":\"more\",\"emptyDir\":{}}]", "emptyDir: {}"),
    ("extraVolumeMounts=[{\"name\":\"more\",\"mountPath\":\"/more\"}]", "mountPath: /more"),
    ("podSecurityContext.runAsUser=1234", "runAsUser: 1234"),
    ("securityContext.privileged=false", "privileged: false"),
    (
        "topologySpreadConstraints=[{\"maxSkew\":1,\"topologyKey\":\"zone\",\"whenUnsatisfiable\":\"ScheduleAnyway\"}]",
        "topologyKey: zone",
    ),
    ("tolerations=[{\"key\":\"gpu\",\"operator\":\"Exists\"}]", "key: gpu"),
    ("podLabels={\"team\":\"platform\"}", "team: platform"),
    ("replicas=0", "replicas: 0"),
    ("leaderElection.enabled=false", "type: Recreate"),
    ("metrics.service={\"enabled\":true,\"annotations\":{\"of\":\"service\"}}", "of: service"),
    ("metrics.dashboard={\"enabled\":true,\"annotations\":{\"of\":\"dashboard\"}}", "of: dashboard"),
    ("networkPolicy={\"enabled\":true,\"metricsFrom\":[{\"podSelector\":{}}]}", "kind: NetworkPolicy"),
    ("networkPolicy.dns={\"ports\":[5353]}", "port: 5353"),
    ("networkPolicy.apiServer={\"ports\":[16443]}", "port: 16443"),
    ("image.pullPolicy=\"Always\"", "--worker-image-pull-policy=Always"),
    ("podAnnotations={\"scrape\":\"true\"}", "scrape: \"true\""),
];

/// In place of `apiUrl`, `retention` and `minimumLife`.
const DEPLOYMENTS: &str =
    "deployments=[{\"name\":\"lab\",\"apiUrl\":\"https://lab.example/api/v1\",\"caBundle\":\"LAB\"}]";

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn complaint(world: &World, value: &str) -> String {
    let Err(complaint) = world.cluster.chart(&world.namespace, &[value]) else { unreachable!("{value} is accepted") };
    format!("{complaint:#}")
}

#[test]
fn each_value_does_what_it_says_and_the_api_server_takes_it() {
    scenario(OPERATOR, async |world| {
        let default = world.cluster.chart(&world.namespace, &[])?;
        let values = VALUES.map(|(value, _)| value);
        let all = world.cluster.chart(&world.namespace, &values)?;
        for (value, word) in VALUES {
            assert!(all.contains(word) && !default.contains(word), "{value}: {word} is not in\n{all}");
        }
        let deployments = world.cluster.chart(&world.namespace, &[DEPLOYMENTS])?;
        assert!(deployments.contains("--deployments=/etc/fileupload-deployments/deployments.yaml"), "{deployments}");
        assert!(["--api-url=", "--retention=", "--minimum-life="].iter().all(|other| !deployments.contains(other)));
        for value in [
            "directUploads=true",
            "rbac.create=false",
            "logLevel=\"info\"",
            "admissionPolicy.enabled=true",
            DEPLOYMENTS,
        ] {
            let name = format!("fullnameOverride={:?}", world.namespace);
            let own = [name.as_str(), "crds.install=false", "watchNamespaces=[\"default\"]", value];
            let values: Vec<_> = values.into_iter().chain(own).collect();
            let manifests = world.cluster.chart(&world.namespace, &values)?;
            kubectl(world.cluster, ["apply", "--dry-run=server", "--filename", "-"], &manifests)?;
        }
        Ok(())
    });
}

#[test]
fn a_digest_wins_over_a_tag_for_operator_and_workers() {
    scenario(OPERATOR, async |world| {
        let values = ["image.tag=\"1.2.3\"", &format!("image.digest={DIGEST:?}")];
        let chart = world.cluster.chart(&world.namespace, &values)?;
        assert!(!chart.contains("1.2.3"), "{chart}");
        for word in ["image: \"", "--worker-image="] {
            assert!(chart.contains(&format!("{word}fileupload-operator@{DIGEST}")), "{word} in\n{chart}");
        }
        Ok(())
    });
}

#[test]
fn workers_pull_with_the_operators_secrets_unless_they_have_their_own() {
    scenario(OPERATOR, async |world| {
        let (own, shared) =
            ("imagePullSecrets=[{\"name\":\"own\"}]", "global.imagePullSecrets=[{\"name\":\"shared\"}]");
        let chart = world.cluster.chart(&world.namespace, &[own, shared])?;
        assert!(chart.contains("--worker-pull-secret=own") && chart.contains("--worker-pull-secret=shared"), "{chart}");
        let chart = world.cluster.chart(&world.namespace, &[own, "workers.imagePullSecrets=[{\"name\":\"other\"}]"])?;
        assert!(chart.contains("--worker-pull-secret=other") && !chart.contains("--worker-pull-secret=own"), "{chart}");
        Ok(())
    });
}

#[test]
fn names_are_looked_up_without_the_search_domains_of_the_cluster() {
    scenario(OPERATOR, async |world| {
        let chart = world.cluster.chart(&world.namespace, &[])?;
        let words: Vec<&str> = chart.split_whitespace().collect();
        let options = "dnsConfig: options: - name: ndots value: \"1\"";
        assert!(words.join(" ").contains(options), "{options} is not in\n{chart}");
        Ok(())
    });
}

/// influxdata/helm-charts#255: Helm writes a large number as 2e+06.
#[test]
fn a_large_number_is_written_out() {
    scenario(OPERATOR, async |world| {
        let chart = world.cluster.chart(&world.namespace, &["workers.deadlineSeconds=2000000"])?;
        assert!(chart.contains("--worker-deadline=2000000"), "{chart}");
        Ok(())
    });
}

/// `.ci/dist` writes a kustomization that moves the image: it names these places by their numbers.
#[test]
fn the_image_stands_where_the_kustomization_of_a_release_replaces_it() {
    scenario(OPERATOR, async |world| {
        let image = format!("registry.example/team/fileupload@{DIGEST}");
        let value = format!("image={{\"repository\":\"registry.example/team/fileupload\",\"digest\":\"{DIGEST}\"}}");
        for deployments in [&[][..], &[DEPLOYMENTS]] {
            let chart = world.cluster.chart(&world.namespace, &[&[value.as_str()], deployments].concat())?;
            let all: Vec<Value> = chart.split("\n---\n").map(serde_yaml::from_str).collect::<Result<_, _>>()?;
            let of_kind = |kind: &str, name: &str| {
                let is_it =
                    |it: &&Value| it["kind"] == kind && it["metadata"]["name"].as_str().unwrap_or("").ends_with(name);
                all.iter().find(is_it).cloned().unwrap_or_default()
            };
            let container = of_kind("Deployment", "")["spec"]["template"]["spec"]["containers"][0].take();
            let rule = of_kind("ValidatingAdmissionPolicy", ".jobs")["spec"]["validations"][1].take();
            let part = |text: &Value, by: char, at: usize| text.as_str()?.split(by).nth(at).map(str::to_owned);
            let places = [
                container["image"].as_str().map(str::to_owned),
                part(&container["args"][1], '=', 1),
                part(&rule["expression"], '"', 1),
                part(&rule["message"], ' ', 8),
            ];
            assert_eq!(places.map(Option::unwrap_or_default), [0; 4].map(|_| image.clone()), "{rule:#}");
        }
        Ok(())
    });
}

#[test]
fn without_direct_uploads_there_is_no_right_on_secrets_and_no_way_to_cyberun() {
    scenario(OPERATOR, async |world| {
        let rights = |values: &[&str]| world.cluster.chart(&world.namespace, values);
        assert!(rights(&[])?.contains("resources: [secrets]"));
        assert!(!rights(&["directUploads=false"])?.contains("[secrets]"));
        let policy = r#"networkPolicy={"enabled": true, "cyberun": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}}"#;
        assert!(rights(&[policy])?.contains("192.0.2.0/24"));
        assert!(!rights(&[policy, "directUploads=false"])?.contains("192.0.2.0/24"), "it calls nobody");
        Ok(())
    });
}

#[test]
fn with_watch_namespaces_nothing_of_the_whole_cluster_is_written_unless_a_value_says_so() {
    scenario(OPERATOR, async |world| {
        let chart = |values: &[&str]| world.cluster.chart(&world.namespace, values);
        let namespaces = "watchNamespaces=[\"team-a\"]";
        let cases: [(&[&str], bool, bool, bool); 6] = [
            (&[], true, true, true),
            (&["admissionPolicy.enabled=false"], true, true, false),
            (&[namespaces], false, false, false),
            (&[namespaces, "crds.install=true"], true, false, false),
            (&[namespaces, "rbac.aggregateToUserRoles=true"], false, true, false),
            (&[namespaces, "admissionPolicy.enabled=true"], false, false, true),
        ];
        for (values, has_crd, has_cluster_roles, has_policies) in cases {
            let manifests = chart(values)?;
            let has = manifests.contains("kind: ValidatingAdmissionPolicy\n");
            assert_eq!(has, has_policies, "{values:?}\n{manifests}");
            assert_eq!(manifests.contains("kind: CustomResourceDefinition\n"), has_crd, "{values:?}\n{manifests}");
            assert_eq!(manifests.contains("kind: ClusterRole\n"), has_cluster_roles, "{values:?}\n{manifests}");
        }
        Ok(())
    });
}

#[test]
fn a_monitor_selects_the_metrics_and_the_rules_name_this_release() {
    scenario(OPERATOR, async |world| {
        let rules = "metrics.prometheusRule={\"enabled\":true,\"docsUrl\":\"https://docs.example/uploads/\"}";
        for (monitor, kind, endpoints) in
            [("serviceMonitor", "ServiceMonitor", "endpoints:"), ("podMonitor", "PodMonitor", "podMetricsEndpoints:")]
        {
            let monitor = format!("metrics.{monitor}={{\"enabled\":true,\"labels\":{{\"release\":\"prometheus\"}}}}");
            let chart = world.cluster.chart(&world.namespace, &[&monitor, rules, "fullnameOverride=\"uploads\""])?;
            let pods = format!("{{namespace={:?},pod=~\"uploads-[a-z0-9]+-[a-z0-9]{{5}}\"", world.namespace);
            let runbook = "runbook_url: https://docs.example/uploads/runbook.md#fileuploadresultsowed";
            let own_kind = format!("kind: {kind}\n");
            for word in [endpoints, "release: prometheus", runbook, own_kind.as_str(), pods.as_str()] {
                assert!(chart.contains(word), "{word} is not in\n{chart}");
            }
            assert_eq!(chart.contains("kind: Service\n"), kind == "ServiceMonitor", "{chart}");
        }
        let both = ["metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true"];
        let complaint = world.cluster.chart(&world.namespace, &both).err();
        assert!(complaint.is_some_and(|complaint| format!("{complaint:#}").contains("set only one")));
        // Kubernetes cuts a Pod's name at 58 characters, and adds five more.
        for (length, pods) in [(46, "-[a-z0-9]+-[a-z0-9]{5}"), (47, "-.+"), (58, ".+"), (63, ".+")] {
            let name = "n".repeat(length);
            let chart = world.cluster.chart(&world.namespace, &[rules, &format!("fullnameOverride={name:?}")])?;
            let pods = format!("pod=~\"{}{pods}\"", &name[..length.min(58)]);
            assert!(chart.contains(&pods), "{pods} is not in\n{chart}");
        }
        Ok(())
    });
}

#[test]
fn a_namespace_that_is_a_number_is_written_as_text() {
    scenario(OPERATOR, async |world| {
        let values = [
            "watchNamespaces=[\"1001\"]",
            "image.repository=\"none\"",
            "admissionPolicy.enabled=true",
            "caBundle=\"CA\"",
            "workers.defaults={\"labels\":{\"team\":\"data\"}}",
            "metrics.serviceMonitor.enabled=true",
            "metrics.prometheusRule.enabled=true",
            "metrics.dashboard.enabled=true",
            "networkPolicy.enabled=true",
            DEPLOYMENTS,
        ];
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/fileupload-operator");
        let flags: Vec<_> = values.iter().flat_map(|value| ["--set-json", value]).collect();
        let arguments = [["template", "uploads", chart, "--namespace=1001"].as_slice(), &flags].concat();
        let manifests = helm(world.cluster, &arguments)?;
        let all: Vec<Value> = manifests.split("\n---\n").map(serde_yaml::from_str).collect::<Result<_, _>>()?;
        let of_namespace = all.iter().filter(|it| it["metadata"].get("namespace").is_some());
        assert!(of_namespace.clone().count() > 15, "{manifests}");
        for object in of_namespace {
            assert_eq!(object["metadata"]["namespace"], "1001", "{object:#}");
        }
        let subjects = all.iter().filter_map(|it| it["subjects"].as_array()).flatten();
        assert!(subjects.clone().count() > 2 && subjects.clone().all(|it| it["namespace"] == "1001"), "{manifests}");
        let places = [
            ("ServiceMonitor", "/spec/namespaceSelector/matchNames/0"),
            ("PrometheusRule", "/spec/groups/0/rules/0/labels/namespace"),
            ("ValidatingAdmissionPolicyBinding", "/spec/matchResources/namespaceSelector/matchExpressions/0/values/0"),
        ];
        for (kind, place) in places {
            let object = all.iter().find(|it| it["kind"] == kind).cloned().unwrap_or_default();
            assert_eq!(object.pointer(place), Some(&Value::from("1001")), "{object:#}");
        }
        Ok(())
    });
}

/// As one of many charts of a platform, which gives values to all of them.
#[test]
fn an_umbrella_chart_switches_it_on_and_off_and_shares_its_values() {
    scenario(OPERATOR, async |world| {
        let umbrella = tempfile::tempdir()?;
        let write = |name: &str, text: &str| std::fs::write(umbrella.path().join(name), text);
        let dependency = "{name: fileupload-operator, version: '*', condition: fileupload-operator.enabled}";
        let chart = format!("apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies: [{dependency}]\n");
        write("Chart.yaml", &chart)?;
        write(
            "values.yaml",
            "global: {imagePullSecrets: [shared], domain: example}\n\
             fileupload-operator: {enabled: true, image: {repository: registry.example/fileupload}}\n",
        )?;
        std::fs::create_dir(umbrella.path().join("charts"))?;
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/fileupload-operator");
        std::os::unix::fs::symlink(ours, umbrella.path().join("charts/fileupload-operator"))?;
        let render = |enabled: bool| {
            let (path, set) =
                (umbrella.path().to_string_lossy(), format!("--set=fileupload-operator.enabled={enabled}"));
            helm(world.cluster, &["template", "platform", &path, &set])
        };
        let on = render(true)?;
        for word in ["kind: Deployment", "registry.example/fileupload:", "- name: shared"] {
            assert!(on.contains(word), "{word} is not in: {on}");
        }
        assert!(!render(false)?.contains("kind: "));
        Ok(())
    });
}

#[test]
fn what_cannot_be_meant_is_refused_in_words() {
    scenario(OPERATOR, async |world| {
        for (value, word) in [
            ("apiUrl=\"\"", "apiUrl is required"),
            ("image.repository=\"\"", "image.repository is required"),
            ("image.digest=\"1.2.3\"", "/image/digest"),
            ("deployments=[{\"name\":\"lab\",\"apiURL\":\"https://lab.example/api/v1\"}]", "apiURL"),
            ("deployments=[{\"name\":\"Lab\",\"apiUrl\":\"https://lab.example/api/v1\"}]", "/deployments/0/name"),
            ("workers.maxx=1", "maxx"),
            ("workers.max=0", "/workers/max"),
            ("retention=\"a day\"", "/retention"),
            ("logFormat=\"xml\"", "/logFormat"),
            ("proxy.no=\"a\"", "'no'"),
            ("proxy.https=\"http://me:secret@proxy:3128\"", "/proxy/https"),
            ("image.repository=\"fileupload-operator:0.1.0\"", "/image/repository"),
            ("imagePullSecrets=[\"registry\"]", "/imagePullSecrets/0"),
            ("replicas=11", "/replicas"),
            ("leaderElection.enabled=false", "replicas: more than one need leaderElection.enabled"),
        ] {
            let complaint = complaint(world, value);
            assert!(complaint.contains(word), "{value}: {word} is not in: {complaint}");
        }
        Ok(())
    });
}
