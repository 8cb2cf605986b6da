//! Images for the nodes, which can pull nothing: each is made on this host and loaded once.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::cluster::{Cluster, output};

/// One name is given at a time: of two that give the same one at once containerd refuses one.
static TURN: Mutex<()> = Mutex::new(());

impl Cluster {
    /// Makes the image under test from the tree as it is, if it is not there yet, loads it and returns its reference.
    pub(crate) fn image_under_test(&self) -> anyhow::Result<String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/image");
        let said = output(Command::new(script).arg("test"), "").context("cannot make the image")?;
        let (reference, archive) = said.trim().split_once(' ').context("the image has no name")?;
        self.load(Path::new(archive))?;
        Ok(reference.to_owned())
    }

    /// The reference of an image that has busybox, also as `sh` and `cat`; the first caller loads it.
    pub fn busybox(&self) -> anyhow::Result<&'static str> {
        const REFERENCE: &str = "busybox:1.37";
        static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
        let load = || {
            let folder = TempDir::new()?;
            let bin = folder.path().join("image/bin");
            fs::create_dir_all(&bin)?;
            fs::copy(busybox()?, bin.join("busybox"))?;
            for applet in ["sh", "cat"] {
                symlink("busybox", bin.join(applet))?;
            }
            let archive = folder.path().join("image.tar");
            let mut pack = Command::new(self.script()?);
            output(pack.args(["image", REFERENCE]).arg(folder.path().join("image")).arg(&archive), "")?;
            self.load(&archive)
        };
        let loaded = LOADED.get_or_init(|| load().map_err(|error| format!("{error:#}")));
        loaded.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(REFERENCE)
    }

    /// The reference of an image that has this host's curl, and busybox as `sh`; the first caller loads it.
    pub fn curl(&self) -> anyhow::Result<&'static str> {
        const REFERENCE: &str = "curlimages/curl:8.16.0";
        static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
        let load = || {
            let folder = TempDir::new()?;
            let (root, archive) = (folder.path().join("image"), folder.path().join("image.tar"));
            fs::create_dir_all(root.join("bin"))?;
            fs::copy(busybox()?, root.join("bin/busybox"))?;
            symlink("busybox", root.join("bin/sh"))?;
            let curl = ["/usr/bin/curl", "/bin/curl"].into_iter().find(|path| Path::new(path).exists());
            let curl = curl.context("curl is missing: run .ci/packages")?;
            fs::copy(curl, root.join("bin/curl"))?;
            // The libraries that it loads, each where it looks for it.
            let said = output(Command::new("ldd").arg(curl), "")?;
            for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
                let place = root.join(library.trim_start_matches('/'));
                fs::create_dir_all(place.parent().context("a library without a folder")?)?;
                fs::copy(library, place)?;
            }
            let mut pack = Command::new(self.script()?);
            output(pack.args(["image", REFERENCE]).arg(&root).arg(&archive), "")?;
            self.load(&archive)
        };
        let loaded = LOADED.get_or_init(|| load().map_err(|error| format!("{error:#}")));
        loaded.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(REFERENCE)
    }

    /// The reference of the image under test.
    pub fn image(&self) -> anyhow::Result<&str> {
        Ok(&self.pods.as_ref().context("no node runs here")?.image)
    }

    /// Loads an image, under this reference, that does nothing but run this script, whatever it is given; without one
    /// it says nowhere what to run.
    pub fn script_image(&self, reference: &str, script: Option<&str>) -> anyhow::Result<()> {
        let folder = TempDir::new()?;
        let (bin, archive) = (folder.path().join("image/bin"), folder.path().join("image.tar"));
        fs::create_dir_all(&bin)?;
        fs::copy(busybox()?, bin.join("busybox"))?;
        symlink("busybox", bin.join("sh"))?;
        let mut pack = Command::new(self.script()?);
        pack.args(["image", reference]).arg(folder.path().join("image")).arg(&archive);
        if let Some(script) = script {
            let entry = folder.path().join("image/script");
            fs::write(&entry, format!("#!/bin/sh\n{script}\n"))?;
            fs::set_permissions(&entry, Permissions::from_mode(0o755))?;
            pack.arg("/script");
        }
        output(&mut pack, "")?;
        self.load(&archive)
    }

    /// Makes a reference, which may be another image's now, that of the image under test, on every node.
    pub fn mend_image(&self, reference: &str) -> anyhow::Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = self.pods.as_ref().context("no node runs here")?;
        let full = |name: &str| if name.contains('.') { name.to_owned() } else { format!("docker.io/library/{name}") };
        for node in fs::read_dir(&pods.logs)?.flatten() {
            let socket = node.path().join("containerd.sock");
            if socket.exists() {
                let mut tag = Command::new("ctr");
                tag.arg("-a").arg(socket).args(["-n", "k8s.io", "images", "tag", "--force"]);
                output(tag.args([full(&pods.image), full(reference)]), "")?;
            }
        }
        Ok(())
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        output(Command::new(self.script()?).arg("load").arg(archive), "")?;
        Ok(())
    }

    fn script(&self) -> anyhow::Result<&Path> {
        self.script.as_deref().context("TEST_CLUSTER is not set: images cannot be loaded into this cluster")
    }
}

fn busybox() -> anyhow::Result<&'static Path> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
    busybox.context("busybox is missing: run .ci/packages")
}
