//! The FileUploads that are soaked, and what each of their files should be by now.

use std::path::PathBuf;

use serde_json::{Value, json};
use test_support::{World, file, key_of, on_claim, reason, sha256, state, write};

const OF_CONFIG_MAPS: usize = 8;
const OF_VOLUME: usize = 4;
const CLAIM: &str = "data";
/// The names of the files of each.
pub(crate) const FILES: [&str; 2] = ["a", "b"];

/// One FileUpload of two files.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    /// The folder of its files on the volume; `None` if they are in a ConfigMap.
    folder: Option<PathBuf>,
    /// Whether its `updatePolicy` is `OnChange`.
    on_change: bool,
    version: usize,
    /// The one by which its files are called; another one is another revision.
    naming: usize,
    requested: usize,
    suspended: bool,
}

/// All of them, once they are Available.
pub(crate) async fn set(world: &mut World) -> anyhow::Result<Vec<Subject>> {
    world.credential().await?;
    let volume = world.volume(CLAIM, &["ReadWriteMany"], &[]).await?;
    world.operator().await?;
    let mut subjects = Vec::new();
    for number in 0..OF_CONFIG_MAPS + OF_VOLUME {
        let folder = (number >= OF_CONFIG_MAPS).then(|| volume.clone());
        let name = format!("{}-{number}", if folder.is_some() { "volume" } else { "text" });
        let on_change = folder.is_none() && number % 2 == 0;
        let subject = Subject { name, folder, on_change, version: 0, naming: 0, requested: 0, suspended: false };
        if subject.folder.is_none() {
            world.create("ConfigMap", &subject.name, json!({"data": subject.data()})).await?;
        }
        subject.write()?;
        subject.create(world).await?;
        subjects.push(subject);
    }
    Ok(subjects)
}

impl Subject {
    fn content(&self, name: &str) -> String {
        format!("version {} of {name} of {}", self.version, self.name)
    }

    fn data(&self) -> Value {
        FILES
            .iter()
            .map(|name| ((*name).to_owned(), Value::from(self.content(name))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// The content of its files, where they are on a volume.
    fn write(&self) -> anyhow::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        FILES.iter().try_for_each(|name| write(folder, &format!("{}/{name}", self.name), self.content(name).as_bytes()))
    }

    fn spec(&self) -> Value {
        let files = FILES.map(|name| {
            let mut entry = match &self.folder {
                Some(_) => on_claim(name, CLAIM, &format!("{}/{name}", self.name)),
                None => file(name, &self.name, name),
            };
            entry["fileName"] = format!("{}-{name}-{}.txt", self.name, self.naming % 2).into();
            entry
        });
        let update = if self.on_change { "OnChange" } else { "Once" };
        let output = json!({"configMap": {"name": format!("{}-keys", self.name)}});
        json!({"files": files, "output": output, "updatePolicy": update, "suspend": self.suspended})
    }

    async fn create(&self, world: &World) -> anyhow::Result<()> {
        let asked = json!({"cyberun.cloud/requested-at": self.requested.to_string()});
        let metadata = json!({"annotations": asked});
        world.create("FileUpload", &self.name, json!({"metadata": metadata, "spec": self.spec()})).await
    }

    pub(crate) async fn recreate(&mut self, world: &World) -> anyhow::Result<()> {
        world.delete("FileUpload", &self.name).await?;
        self.suspended = false;
        self.create(world).await
    }

    pub(crate) async fn request(&mut self, world: &World) -> anyhow::Result<()> {
        self.requested += 1;
        world.request(&self.name, self.requested.to_string().into()).await
    }

    /// Other content, and a request where that is what it takes.
    pub(crate) async fn change_content(&mut self, world: &World) -> anyhow::Result<()> {
        self.version += 1;
        self.write()?;
        if self.folder.is_none() {
            world.patch("ConfigMap", &self.name, json!({"data": self.data()})).await?;
        }
        if self.on_change { Ok(()) } else { self.request(world).await }
    }

    /// Other file names. The content that this reads is the newest.
    pub(crate) async fn change_spec(&mut self, world: &World) -> anyhow::Result<()> {
        self.naming += 1;
        world.patch("FileUpload", &self.name, json!({"spec": self.spec()})).await
    }

    pub(crate) async fn suspend(&mut self, world: &World, suspended: bool) -> anyhow::Result<()> {
        self.suspended = suspended;
        world.patch("FileUpload", &self.name, json!({"spec": {"suspend": suspended}})).await
    }

    /// What is not yet as it should be; `None` if the FileUpload has a key of the newest content for each file.
    pub(crate) async fn lacks(&self, world: &World) -> anyhow::Result<Option<String>> {
        let upload = world.read("FileUpload", &self.name).await?;
        let output = world.read("ConfigMap", &format!("{}-keys", self.name)).await?;
        let objects = world.stub.objects();
        let told = [state(&upload, "Ready"), state(&upload, "Available"), reason(&upload)];
        if told != ["True", "True", "Uploaded"] {
            return Ok(Some(format!("{}: {told:?} {}", self.name, upload["status"]["files"])));
        }
        let handled = upload["status"]["lastHandledRequestedAt"].as_str();
        if handled.and_then(|handled| handled.parse().ok()) != Some(self.requested) {
            return Ok(Some(format!("{}: its request is not handled", self.name)));
        }
        for name in FILES {
            let key = key_of(&upload, name).unwrap_or_default();
            let Some(object) = objects.get(key) else { return Ok(Some(format!("{}: no object of {name}", self.name))) };
            let wanted =
                (sha256(self.content(name).as_bytes()), format!("{}-{name}-{}.txt", self.name, self.naming % 2));
            if (object.sha256.clone(), object.file_name.clone()) != wanted {
                return Ok(Some(format!("{}: {name} stands for other content than the newest", self.name)));
            }
            if output["data"][name] != key {
                return Ok(Some(format!("{}: its output has another key of {name}", self.name)));
            }
        }
        Ok(None)
    }
}
