//! Disks that one node has at a time, as in a cloud: the controllers, the scheduler and the kubelets of the cluster
//! treat them as any driver's.
//!
//! The driver `disk.test` of `tests/cluster/disk` mounts them on the nodes. Played here is what a real driver has beside
//! that: the attacher, which says that a disk is attached to a node or has left it. So a test decides when.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::volumes::write;
use crate::world::World;

/// What keeps a `VolumeAttachment` until the disk has left its node; that of the real attacher is named likewise.
const FINALIZER: &str = "external-attacher/disk-test";
const AGAIN: Duration = Duration::from_millis(100);

/// A disk, whose attacher goes with it.
pub struct Disk {
    /// The name of its `PersistentVolume`.
    pub volume: String,
    leaves: watch::Sender<bool>,
    attacher: JoinHandle<()>,
}

impl Disk {
    /// From now on the disk stays attached where it is, although Kubernetes asks for it back.
    pub fn stays(&self) {
        self.leaves.send_replace(false);
    }

    /// Lets the disk leave a node that it is asked back from.
    pub fn leaves(&self) {
        self.leaves.send_replace(true);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.attacher.abort();
    }
}

impl World {
    /// A disk with these files, and a bound `ReadWriteOnce` claim of it.
    pub async fn disk(&mut self, name: &str, files: &[(&str, &[u8])]) -> anyhow::Result<Disk> {
        let folder = self.folder.path().join("disks").join(name);
        fs::create_dir_all(&folder)?;
        for (path, content) in files {
            write(&folder, path, content)?;
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        let volume = format!("{}-{name}", self.namespace);
        let spec = json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": "",
            "csi": {"driver": "disk.test", "volumeHandle": volume, "volumeAttributes": {"folder": folder}},
            "claimRef": {"namespace": self.namespace, "name": name},
        });
        self.persistent_volume_with(name, json!({}), spec).await?;
        self.claim(name, &["ReadWriteOnce"]).await?;
        let bound = |claim: &Value| claim["status"]["phase"] == "Bound";
        self.wait("PersistentVolumeClaim", name, &format!("claim {name} to be bound"), bound).await?;
        let (leaves, may_leave) = watch::channel(true);
        let attacher = tokio::spawn(attach(self.api("VolumeAttachment"), volume.clone(), may_leave));
        Ok(Disk { volume, leaves, attacher })
    }
}

/// Attaches the volume wherever Kubernetes asks for it, and detaches it as it may.
async fn attach(attachments: Api<DynamicObject>, volume: String, may_leave: watch::Receiver<bool>) {
    loop {
        let list = attachments.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
        for attachment in list.iter().filter(|one| one.data["spec"]["source"]["persistentVolumeName"] == *volume) {
            let name = attachment.metadata.name.as_deref().unwrap_or_default();
            let is_asked_back = attachment.metadata.deletion_timestamp.is_some();
            // What does not succeed is tried again.
            if !is_asked_back && attachment.data["status"]["attached"] != true {
                let held = Patch::Merge(json!({"metadata": {"finalizers": [FINALIZER]}}));
                let attached = Patch::Merge(json!({"status": {"attached": true}}));
                if attachments.patch(name, &PatchParams::default(), &held).await.is_ok() {
                    drop(attachments.patch_status(name, &PatchParams::default(), &attached).await);
                }
            } else if is_asked_back && *may_leave.borrow() {
                let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                drop(attachments.patch(name, &PatchParams::default(), &free).await);
            }
        }
        // As long as the disk is there.
        sleep(AGAIN).await;
    }
}
