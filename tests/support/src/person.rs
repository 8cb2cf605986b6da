//! A person with a kubeconfig who runs the program, or kubectl with it as a plugin; their rights are their account's.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::cluster::kubectl;
use crate::world::World;

/// Longer than any answer takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// Who runs it.
pub struct Person {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

/// What was printed, and the exit code.
#[derive(Debug)]
pub struct Said {
    /// None if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it logged and complained of.
    pub stderr: String,
}

impl Person {
    /// The cluster's admin.
    pub fn admin(world: &World) -> Self {
        Self { binary: world.binary.clone(), kubeconfig: world.cluster.kubeconfig.clone() }
    }

    /// One with these rules in the namespace.
    pub async fn with_rules(world: &mut World, name: &str, rules: serde_json::Value) -> anyhow::Result<Self> {
        let first = rules[0].clone();
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules});
        apply(world, &role)?;
        Self::bound(world, name, "Role", name, &first).await
    }

    /// One with a cluster role, which lets them read `FileUploads`, in the namespace.
    pub async fn with_cluster_role(world: &mut World, name: &str, role: &str) -> anyhow::Result<Self> {
        let reads = json!({"apiGroups": ["cyberun.cloud"], "resources": ["fileuploads"], "verbs": ["get"]});
        Self::bound(world, name, "ClusterRole", role, &reads).await
    }

    async fn bound(
        world: &mut World,
        name: &str,
        kind: &str,
        role: &str,
        right: &serde_json::Value,
    ) -> anyhow::Result<Self> {
        world.create("ServiceAccount", name, json!({})).await?;
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": world.namespace}],
        });
        apply(world, &binding)?;
        let namespace = world.namespace.clone();
        world.granted(&format!("system:serviceaccount:{namespace}:{name}"), &namespace, right).await?;
        let token = world.service_account_token(&namespace, name).await?;
        let kubeconfig = world.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, world.cluster.kubeconfig_for(&token)?)?;
        Ok(Self { binary: world.binary.clone(), kubeconfig })
    }

    /// Runs the program to its end.
    pub async fn runs(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        ended(self.starts(arguments)?).await
    }

    /// Starts the program.
    pub fn starts(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        self.spawn(&self.binary, "", arguments)
    }

    /// Runs kubectl with the program as its plugin.
    pub async fn runs_kubectl(&self, world: &World, arguments: &[&str]) -> anyhow::Result<Said> {
        let folder = world.folder.path().join("plugins");
        std::fs::create_dir_all(&folder)?;
        std::os::unix::fs::symlink(&self.binary, folder.join("kubectl-fileupload"))?;
        let path = folder.to_str().context("a folder with a readable name")?;
        ended(self.spawn(&world.cluster.kubectl, path, arguments)?).await
    }

    fn spawn(&self, program: &Path, path: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("KUBECONFIG", &self.kubeconfig).env("PATH", path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().with_context(|| format!("cannot start {}", program.display()))
    }
}

/// Waits for the end.
pub async fn ended(child: Child) -> anyhow::Result<Said> {
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.context("it does not end")??;
    let text = |bytes| String::from_utf8(bytes).context("it prints text");
    Ok(Said { code: output.status.code(), stdout: text(output.stdout)?, stderr: text(output.stderr)? })
}

fn apply(world: &World, object: &serde_json::Value) -> anyhow::Result<()> {
    let namespace = format!("--namespace={}", world.namespace);
    kubectl(world.cluster, ["apply", &namespace, "--filename", "-"], &object.to_string())?;
    Ok(())
}

impl Said {
    /// Asserts that it went well and begins these lines, in this order; returns the text.
    ///
    /// # Panics
    /// If not.
    pub fn explains(&self, lines: &[&str]) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        for (line, begin) in self.stdout.lines().zip(lines) {
            assert!(line.starts_with(begin), "{begin:?} is not how this begins: {line:?}\n{}", self.stdout);
        }
        assert!(self.stdout.lines().count() >= lines.len(), "{}", self.stdout);
        &self.stdout
    }

    /// Asserts the exit code and that stderr holds these words; nothing is on stdout.
    ///
    /// # Panics
    /// If not.
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
    }
}
