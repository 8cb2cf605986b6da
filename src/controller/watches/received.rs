//! Objects as the API server sends them, with only what is asked of them parsed.
//!
//! At scale most CPU of the watches goes into `metadata.managedFields` and into parsing twice what may turn out to be
//! unreadable, as `kube::core::DeserializeGuard` does: here the first is left out, and the second read once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::resource::FileUpload;

/// A FileUpload, or why this version cannot understand it: one odd object must not end the watch of all.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Received(pub(super) Result<Box<FileUpload>, Box<Odd>>);

/// An object that this version cannot understand.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Odd {
    pub(super) metadata: ObjectMeta,
    pub(super) why: String,
}

/// Only the metadata of an object, which is also all that is asked for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata<K> {
    #[serde(default, deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(skip, default)]
    kind: PhantomData<K>,
}

impl Received {
    pub(in crate::controller) fn understood(self) -> Option<FileUpload> {
        self.0.ok().map(|upload| *upload)
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(default, deserialize_with = "metadata")]
            metadata: ObjectMeta,
            spec: Option<Box<RawValue>>,
            status: Option<Box<RawValue>>,
        }
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let spec = part("spec", spec.as_deref()).and_then(|spec| spec.ok_or_else(|| "spec is missing".to_owned()));
        Ok(Self(match spec.and_then(|spec| Ok((spec, part("status", status.as_deref())?))) {
            Ok((spec, status)) => Ok(Box::new(FileUpload { metadata, spec, status })),
            Err(why) => Err(Box::new(Odd { metadata, why })),
        }))
    }
}

fn part<T: DeserializeOwned>(field: &str, json: Option<&RawValue>) -> Result<Option<T>, String> {
    json.map(|json| serde_json::from_str(json.get())).transpose().map_err(|error| format!("{field}: {error}"))
}

/// What anything here asks of metadata.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Asked {
        annotations: Option<BTreeMap<String, String>>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        generation: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        owner_references: Option<Vec<OwnerReference>>,
        resource_version: Option<String>,
        uid: Option<String>,
    }
    let asked = Option::<Asked>::deserialize(deserializer)?.ok_or_else(|| D::Error::custom("metadata is null"))?;
    Ok(ObjectMeta {
        annotations: asked.annotations,
        creation_timestamp: asked.creation_timestamp,
        deletion_timestamp: asked.deletion_timestamp,
        generation: asked.generation,
        labels: asked.labels,
        name: asked.name,
        namespace: asked.namespace,
        owner_references: asked.owner_references,
        resource_version: asked.resource_version,
        uid: asked.uid,
        ..ObjectMeta::default()
    })
}

impl Resource for Received {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        FileUpload::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        FileUpload::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        FileUpload::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        FileUpload::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|odd| &odd.metadata, |upload| &upload.metadata)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(upload) => &mut upload.metadata,
            Err(odd) => &mut odd.metadata,
        }
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Metadata<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        true
    }

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    fn object(spec: &Value) -> Value {
        let managed = json!([{"manager": "x", "operation": "Update", "fieldsV1": {"f:spec": {}}}]);
        json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "spec": spec,
            "metadata": {"name": "x", "namespace": "team", "uid": "u", "managedFields": managed},
        })
    }

    fn good() -> Value {
        object(&json!({"files": [{"name": "a", "source": {"configMapKeyRef": {"name": "b", "key": "c"}}}]}))
    }

    #[test]
    fn one_that_cannot_be_understood_is_named_and_the_others_are_read() {
        let odd = object(&json!({"files": 1}));
        let bare = json!({"metadata": {"name": "y"}});
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [odd, good(), bare]});
        let list: ObjectList<Received> = serde_json::from_str(&list.to_string()).unwrap();
        let [odd, good, bare] = list.items.try_into().unwrap();
        let odd = odd.0.unwrap_err();
        assert_eq!(odd.metadata.name.as_deref(), Some("x"));
        assert!(odd.why.starts_with("spec: invalid type: integer `1`"), "{}", odd.why);
        assert_eq!(good.understood().unwrap().spec.files.len(), 1);
        let bare = bare.0.unwrap_err();
        assert_eq!((bare.metadata.name.as_deref(), &*bare.why), (Some("y"), "spec is missing"));
    }

    #[test]
    fn an_event_of_a_watch_is_read_without_its_managed_fields() {
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, good());
        let Ok(WatchEvent::Added(received)) = serde_json::from_str::<WatchEvent<Received>>(&event) else {
            panic!("{event}")
        };
        let upload = received.understood().unwrap();
        assert_eq!(upload.metadata.managed_fields, None);
        let mut expected: FileUpload = serde_json::from_value(good()).unwrap();
        expected.metadata.managed_fields = None;
        assert_eq!(serde_json::to_value(upload).unwrap(), serde_json::to_value(expected).unwrap());
    }
}
