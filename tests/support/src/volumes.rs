//! Volumes whose files a test writes on this host: a folder, a `PersistentVolume` of it, and a claim.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// A folder with these files, which every user may read, and a bound claim of it.
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
        let volume = format!("{}-{name}", self.namespace);
        let spec = json!({
            "capacity": {"storage": "1Gi"}, "accessModes": access_modes, "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder, "type": "Directory"},
            "claimRef": {"namespace": self.namespace, "name": name},
        });
        self.create("PersistentVolume", &volume, json!({"spec": spec})).await?;
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

/// Writes a file beneath a folder, with the folders on its way, for every user to read.
fn write(folder: &Path, path: &str, content: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(path);
    let mut parent = folder.to_owned();
    for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
        parent.push(part);
        fs::create_dir_all(&parent)?;
        fs::set_permissions(&parent, Permissions::from_mode(0o755))?;
    }
    fs::write(&file, content)?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    Ok(())
}
