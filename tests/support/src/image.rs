//! Images for the nodes, which can pull nothing: each is made on this host and loaded once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cluster::{Cluster, output};

impl Cluster {
    /// Makes the image under test from the tree as it is, if it is not there yet, loads it and returns its reference.
    pub(crate) fn image_under_test(&self) -> anyhow::Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/image");
        let said = output(Command::new(script).arg("test"), "").context("cannot make the image")?;
        let (reference, archive) = said.trim().split_once(' ').context("the image has no name")?;
        self.load(Path::new(archive))?;
        Ok(reference.to_owned())
    }

    /// The reference of an image that has busybox, also as `sh`; the first caller loads it.
    pub fn busybox(&self) -> anyhow::Result<&'static str> {
        const REFERENCE: &str = "busybox:1.37";
        static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
        let load = || {
            let folder = TempDir::new()?;
            let bin = folder.path().join("image/bin");
            fs::create_dir_all(&bin)?;
            let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
            fs::copy(busybox.context("busybox is missing: run .ci/packages")?, bin.join("busybox"))?;
            symlink("busybox", bin.join("sh"))?;
            let archive = folder.path().join("image.tar");
            let mut pack = Command::new(self.script()?);
            output(pack.args(["image", REFERENCE]).arg(folder.path().join("image")).arg(&archive), "")?;
            self.load(&archive)
        };
        let loaded = LOADED.get_or_init(|| load().map_err(|error| format!("{error:#}")));
        loaded.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(REFERENCE)
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        output(Command::new(self.script()?).arg("load").arg(archive), "")?;
        Ok(())
    }

    fn script(&self) -> anyhow::Result<&Path> {
        self.script.as_deref().context("TEST_CLUSTER is not set: images cannot be loaded into this cluster")
    }
}
