//! That nobody who reads the keys of `two` ever finds one missing.

use anyhow::ensure;

use crate::history::History;
use crate::view::{key_of, state};
use crate::world::World;

/// Every state of `two` and of its output since it was Available.
pub struct Kept {
    uploads: History,
    outputs: History,
}

impl World {
    /// Watches `two` of [`World::uploaded_two`] from now on.
    pub async fn watch_two(&self) -> anyhow::Result<Kept> {
        Ok(Kept { uploads: self.history("FileUpload").await?, outputs: self.history("ConfigMap").await? })
    }
}

impl Kept {
    /// It was Available in every state, and status and output had both keys.
    pub fn all_along(&self) -> anyhow::Result<()> {
        for upload in self.uploads.states().iter().filter(|upload| upload["metadata"]["name"] == "two") {
            let has_both = ["a", "b"].iter().all(|name| key_of(upload, name).is_some());
            ensure!(has_both && state(upload, "Available") == "True", "without a key: {:#}", upload["status"]);
        }
        for output in self.outputs.states().iter().filter(|output| output["metadata"]["name"] == "keys") {
            let has_all = ["a", "b", "keys.json"].iter().all(|name| output["data"][name].is_string());
            ensure!(has_all, "without a key: {:#}", output["data"]);
        }
        Ok(())
    }
}
