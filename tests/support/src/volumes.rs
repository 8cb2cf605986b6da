//! Volumes whose files a test writes on this host: a folder, a `PersistentVolume` of it, and a claim.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::world::World;

/// An entry of `spec.files` from a claim.
pub fn on_claim(name: &str, claim: &str, path: &str) -> Value {
    json!({"name": name, "source": {"persistentVolumeClaim": {"claimName": claim, "path": path}}})
}

impl World {
    /// A folder with these files, which every user may read and nobody touched of late, and a bound claim of it.
    pub async fn volume(
        &mut self,
        name: &str,
        access_modes: &[&str],
        files: &[(&str, &[u8])],
    ) -> anyhow::Result<PathBuf> {
        let folder = self.folder.path().join("volumes").join(name);
        fs::create_dir_all(&folder)?;
        for (path, content) in files {
            write(&folder, path, content)?;
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        self.persistent_volume(name, access_modes, &folder).await?;
        self.claim(name, access_modes).await?;
        let bound = |claim: &Value| claim["status"]["phase"] == "Bound";
        self.wait("PersistentVolumeClaim", name, &format!("claim {name} to be bound"), bound).await?;
        Ok(folder)
    }

    /// A `PersistentVolume` of a folder of this host, kept for the claim of this name; it goes with the test.
    pub async fn persistent_volume(&mut self, name: &str, access_modes: &[&str], folder: &Path) -> anyhow::Result<()> {
        let spec = json!({
            "accessModes": access_modes, "storageClassName": "", "hostPath": {"path": folder, "type": "Directory"},
            "claimRef": {"namespace": self.namespace, "name": name},
        });
        self.persistent_volume_with(name, json!({}), spec).await
    }

    /// A `PersistentVolume` with this metadata and spec; it goes with the test.
    pub async fn persistent_volume_with(&mut self, name: &str, metadata: Value, mut spec: Value) -> anyhow::Result<()> {
        let volume = format!("{}-{name}", self.namespace);
        spec["capacity"] = json!({"storage": "1Gi"});
        spec["persistentVolumeReclaimPolicy"] = "Retain".into();
        self.create("PersistentVolume", &volume, json!({"metadata": metadata, "spec": spec})).await?;
        self.volumes.push(volume);
        Ok(())
    }

    /// A claim, which is bound once a [`World::persistent_volume`] of its name and modes is there.
    pub async fn claim(&self, name: &str, access_modes: &[&str]) -> anyhow::Result<()> {
        let spec = json!({
            "accessModes": access_modes, "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}},
        });
        self.create("PersistentVolumeClaim", name, json!({"spec": spec})).await
    }
}

/// Writes a file beneath a folder, with the folders on its way, for every user to read. It is an hour old: a worker
/// does not wait for it to settle.
pub fn write(folder: &Path, path: &str, content: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(path);
    let mut parent = folder.to_owned();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        fs::create_dir_all(&parent)?;
        fs::set_permissions(&parent, Permissions::from_mode(0o755))?;
    }
    fs::write(&file, content)?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    age(&file)
}

/// Makes a file look untouched for an hour.
pub fn age(file: &Path) -> anyhow::Result<()> {
    let then = SystemTime::now() - Duration::from_hours(1);
    fs::File::open(file)?.set_modified(then)?;
    Ok(())
}
