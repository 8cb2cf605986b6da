//! How most tests begin: a credential, something to send, and the operator.

use std::path::PathBuf;

use cyberun_stub::{Credential, Step};
use serde_json::{Value, json};

use crate::objects::file;
use crate::space::Space;
use crate::view::{key_of, state};
use crate::world::World;

/// Entries of `spec.files` from the `ConfigMap` of [`World::with_texts`]: file `a` is its key `a.txt`.
pub fn texts(names: &[&str]) -> Value {
    names.iter().map(|name| file(name, "texts", &format!("{name}.txt"))).collect()
}

/// A spec of these files whose keys go to a `ConfigMap` of this name as well.
pub fn with_output(files: &Value, output: &str) -> Value {
    json!({"files": files, "output": {"configMap": {"name": output}}})
}

impl World {
    /// The default Secret, whose credential it returns, a `ConfigMap` `texts`, and the operator.
    pub async fn with_texts(&mut self, data: &[(&str, &str)]) -> anyhow::Result<Credential> {
        let credential = self.credential().await?;
        self.config_map("texts", data).await?;
        self.operator().await?;
        Ok(credential)
    }

    /// The default Secret, a claim `data` of a folder with these files, and the operator; returns the folder.
    pub async fn with_data(&mut self, modes: &[&str], files: &[(&str, &[u8])]) -> anyhow::Result<PathBuf> {
        self.credential().await?;
        let folder = self.volume("data", modes, files).await?;
        self.operator().await?;
        Ok(folder)
    }
}

/// The content of a `ConfigMap` for [`three_files`], and one more.
pub const FOUR_TEXTS: [(&str, &str); 4] = [("a.txt", "1"), ("b.txt", "2"), ("c.txt", "3"), ("d.txt", "4")];

/// A spec of files `a`, `b` and `c` of `ConfigMap` `texts` with an output, where `b` has this key.
pub fn three_files(second: &str) -> Value {
    with_output(&json!([file("a", "texts", "a.txt"), file("b", "texts", second), file("c", "texts", "c.txt")]), "keys")
}

/// The spec of [`World::uploaded_two`]: two files of two `ConfigMaps`, with an output.
pub fn two_files() -> Value {
    with_output(&json!([file("a", "texts", "a.txt"), file("b", "more", "b.txt")]), "keys")
}

impl World {
    /// A `FileUpload` `two` of [`two_files`] with these further fields, once it is Available.
    pub async fn uploaded_two(&mut self, mut fields: Value) -> anyhow::Result<Value> {
        self.config_map("more", &[("b.txt", "two")]).await?;
        self.with_texts(&[("a.txt", "one")]).await?;
        let mut spec = two_files();
        for (name, value) in fields.as_object_mut().into_iter().flatten() {
            spec[name] = value.take();
        }
        self.file_upload("two", spec).await?;
        self.available("two").await
    }

    /// Waits until `two` is Available with so many puts in all; every key is in the store, and in the output.
    ///
    /// # Panics
    /// If what is there then is otherwise.
    pub async fn two_after(&self, puts: usize) -> anyhow::Result<Value> {
        let held = |upload: &Value| {
            let calls = self.calls(Step::Put);
            let last = |name: &str| {
                let file = format!("{name}.txt");
                calls.iter().rev().find(|call| call.file_name.as_ref() == Some(&file))?.file_key.clone()
            };
            // The old keys stay until the new ones are written.
            let shown = ["a", "b"].iter().all(|name| key_of(upload, name).map(str::to_owned) == last(name));
            state(upload, "Available") == "True" && calls.len() == puts && shown
        };
        let upload = self.upload("two", &format!("Available after {puts} puts"), held).await?;
        assert_eq!(self.stored_keys(&upload)?.len(), 2);
        for name in ["a", "b"] {
            assert_eq!(self.entry("keys", name).await?.as_deref(), key_of(&upload, name));
        }
        Ok(upload)
    }

    /// A `ConfigMap` of twenty short texts, and the spec of an upload of them all.
    pub async fn twenty_files(&self) -> anyhow::Result<Value> {
        let names: Vec<_> = (1..=20).map(|number| format!("f{number}")).collect();
        let data: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
        self.config_map("many", &data).await?;
        let list: Vec<_> = names.iter().map(|name| file(name, "many", name)).collect();
        Ok(json!({"files": list}))
    }
}

impl Space {
    /// Asks for a fresh upload by the annotation; null takes the request back.
    pub async fn request(&self, upload: &str, value: Value) -> anyhow::Result<()> {
        let asked = json!({"metadata": {"annotations": {"cyberun.cloud/requested-at": value}}});
        self.patch("FileUpload", upload, asked).await
    }
}
