//! What a volume may hold: every name, size, kind and owner of a file, and what is said of those that cannot be sent.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use cyberun_stub::Step;
use serde_json::{Value, json};
use test_support::{World, age, key_of, on_claim, state, tells, with_pods, write};

use crate::OPERATOR;

fn make(command: &str, path: &Path, kind: &[&str]) -> anyhow::Result<()> {
    ensure!(Command::new(command).arg(path).args(kind).status()?.success(), "{command} {}", path.display());
    Ok(())
}

/// Tells a new generation from the last without asking for anything else.
async fn touch_spec(world: &World, upload: &str) -> anyhow::Result<()> {
    world.patch("FileUpload", upload, json!({"spec": {"suspend": false}})).await
}

#[test]
fn names_are_taken_as_they_are() -> anyhow::Result<()> {
    with_pods(OPERATOR, "names of files", async |world| {
        world.credential().await?;
        let (long, wide) = ("n".repeat(255), "ü".repeat(127));
        let deep = format!("{}leaf.txt", "deep/".repeat(40));
        let names = [
            "with a space.txt",
            " ",
            "ein schönes Bild – 日本.png",
            "e\u{301}.txt",
            "-rf",
            "--help/--api-url=x",
            "$(HOME)",
            "$$(HOME)/$HOME",
            "`id`;\"quo'te\"&|<>*?.txt",
            "%2e%2e/%00.txt",
            ".hidden",
            "...",
            "#{x}{{y}}.yaml",
            &long,
            &wide,
            &deep,
        ];
        let content: Vec<_> = names.iter().map(|name| format!("content of {name}")).collect();
        let on_disk: Vec<_> = names.iter().zip(&content).map(|(name, text)| (*name, text.as_bytes())).collect();
        world.volume("data", &["ReadWriteOnce"], &on_disk).await?;
        world.operator().await?;
        let ids: Vec<_> = (0..names.len()).map(|number| format!("f{number}")).collect();
        let list: Vec<_> = ids.iter().zip(names).map(|(id, name)| on_claim(id, "data", name)).collect();
        world.file_upload("names", json!({"files": list})).await?;
        let expected: Vec<_> = ids.iter().zip(&content).map(|(id, text)| (id.as_str(), text.as_bytes())).collect();
        let upload = world.stored("names", &expected).await?;
        let objects = world.stub.objects();
        for (id, name) in ids.iter().zip(names) {
            let object = &objects[key_of(&upload, id).unwrap_or_default()];
            assert_eq!(Some(object.file_name.as_str()), name.rsplit('/').next(), "the last part of the path");
        }
        Ok(())
    })
}

#[test]
fn a_file_may_be_empty_or_large_but_not_beyond_one_put() -> anyhow::Result<()> {
    with_pods(OPERATOR, "sizes of files", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("empty", b""), ("large", b""), ("huge", b"")]).await?;
        // Without blocks on the disk. The worker may use 64 MiB of memory.
        let large = 3 * 1000 * 1000 * 1000;
        for (name, size) in [("large", large), ("huge", 5 * (1 << 30) + 1)] {
            File::options().write(true).open(folder.join(name))?.set_len(size)?;
            age(&folder.join(name))?;
        }
        world.operator().await?;
        let list = ["empty", "large", "huge"].map(|name| on_claim(name, "data", name));
        let worker = json!({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "100m"}}});
        world.file_upload("sizes", json!({"files": list, "worker": worker})).await?;
        let done = |upload: &Value| key_of(upload, "empty").is_some() && key_of(upload, "large").is_some();
        let look = async || world.read("FileUpload", "sizes").await.map(|upload| (done(&upload), upload));
        let upload = world.wait_for(test_support::DEADLINE * 3, "both keys", look).await?;
        let objects = world.stub.objects();
        for (name, size) in [("empty", 0), ("large", large)] {
            assert_eq!(objects[key_of(&upload, name).unwrap_or_default()].size, size);
        }
        let huge = world.told("sizes", "huge", "TooLarge").await?;
        tells(&huge, "Failed", &["huge", "larger than 5 GiB"]);
        assert_eq!(world.calls(Step::Presign).len(), 2, "no call is made for what is too large");

        world.jobs(0).await?;
        File::options().write(true).open(folder.join("huge"))?.set_len(3)?;
        age(&folder.join("huge"))?;
        touch_spec(world, "sizes").await?;
        world.available("sizes").await?;
        assert_eq!(world.calls(Step::Put).len(), 3, "what has its key is not sent again");
        Ok(())
    })
}

#[test]
fn what_is_no_regular_file_is_named_and_holds_no_other_file_back() -> anyhow::Result<()> {
    with_pods(OPERATOR, "kinds of files", async |world| {
        world.credential().await?;
        let folder = world.volume("data", &["ReadWriteOnce"], &[("d/real.txt", b"real")]).await?;
        let kinds = [
            ("directory", "is a directory"),
            ("socket", "is a socket"),
            ("fifo", "is a named pipe"),
            ("device", "is a device"),
            ("loop", "is a loop of symbolic links"),
        ];
        fs::create_dir(folder.join("directory"))?;
        drop(UnixListener::bind(folder.join("socket"))?);
        make("mkfifo", &folder.join("fifo"), &[])?;
        make("mknod", &folder.join("device"), &["c", "1", "5"])?;
        symlink("loop", folder.join("loop"))?;
        // Links that stay in the volume are followed, up and down.
        symlink("d/../d/real.txt", folder.join("link"))?;
        for name in ["socket", "fifo", "device"] {
            fs::set_permissions(folder.join(name), Permissions::from_mode(0o666))?;
        }
        world.operator().await?;
        let list: Vec<_> = kinds.iter().map(|(name, _)| on_claim(name, "data", name)).collect();
        let list = [list, vec![on_claim("link", "data", "link")]].concat();
        world.file_upload("kinds", json!({"files": list})).await?;
        for (name, words) in kinds {
            let entry = world.told("kinds", name, "NotAFile").await?;
            tells(&entry, "Failed", &[name, words, "not a regular file"]);
        }
        let upload = world.says("kinds", ("NotAFile", "Stalled"), &["directory"]).await?;
        assert_eq!(upload["status"]["summary"], "1/6");
        world.jobs(0).await?;
        assert_eq!(world.calls(Step::Presign).len(), 1, "the link's");

        for (name, _) in kinds {
            let path = folder.join(name);
            if path.is_dir() {
                fs::remove_dir(path)?;
            } else {
                fs::remove_file(path)?;
            }
            write(&folder, name, b"real")?;
        }
        touch_spec(world, "kinds").await?;
        let names = kinds.map(|(name, _)| (name, b"real".as_slice()));
        world.stored("kinds", &[names.as_slice(), &[("link", b"real")]].concat()).await?;
        Ok(())
    })
}

#[test]
fn a_file_of_another_user_is_told_with_owner_mode_and_the_fix_that_heals_it() -> anyhow::Result<()> {
    with_pods(OPERATOR, "a file of another user", async |world| {
        world.credential().await?;
        let files: [(&str, &[u8]); 2] = [("own.txt", b"only mine"), ("closed/deep.txt", b"mine too")];
        let folder = world.volume("data", &["ReadWriteOnce"], &files).await?;
        for (name, mode) in [("own.txt", 0o600), ("closed", 0o700)] {
            chown(folder.join(name), Some(1234), Some(1234))?;
            fs::set_permissions(folder.join(name), Permissions::from_mode(mode))?;
        }
        world.operator().await?;
        let list = json!([on_claim("own", "data", "own.txt"), on_claim("deep", "data", "closed/deep.txt")]);
        world.file_upload("private", json!({"files": list})).await?;
        let words =
            ["own.txt", "uid 1234", "mode 0600", "we run as uid 65532", "spec.worker.securityContext.runAsUser"];
        world.says("private", ("PermissionDenied", "Stalled"), &words).await?;
        let deep = world.told("private", "deep", "PermissionDenied").await?;
        tells(
            &deep,
            "Failed",
            &["its folder closed", "uid 1234", "mode 0700", "spec.worker.securityContext.runAsUser"],
        );
        world.jobs(0).await?;
        assert_eq!(world.stub.calls().len(), 0, "a file that cannot be read costs no call");

        world
            .patch("FileUpload", "private", json!({"spec": {"worker": {"securityContext": {"runAsUser": 1234}}}}))
            .await?;
        let upload = world.stored("private", &[("own", b"only mine"), ("deep", b"mine too")]).await?;
        assert_eq!(state(&upload, "Stalled"), "");
        Ok(())
    })
}
