//! Objects as the API server sends them: read as far as they are asked for, or named with why they cannot be.
//!
//! One odd object must not end the watch of all, and that holds for every kind: what is watched is read here alone.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::super::index::Key;
use crate::plan::objects::{self, Job, PersistentVolumeClaim, Pod};
use crate::resource::FileUpload;

/// An object, or why this version cannot understand it.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Received<K>(pub(super) Result<Box<K>, Box<Odd>>);

/// An object that this version cannot understand.
#[derive(Clone, Debug)]
pub(in crate::controller) struct Odd {
    /// Where even its name cannot be read, neither part has a character.
    pub(super) key: Key,
    /// Empty if it cannot be read.
    pub(super) version: String,
    pub(super) why: String,
}

/// A kind that is watched.
pub(in crate::controller) trait Watched: Clone + Send + Sized + 'static {
    /// The kind at the API server.
    type Kind: Resource<DynamicType = ()>;
    /// Whether only metadata is asked for.
    const ONLY_METADATA: bool = false;

    /// Reads what is asked of it.
    fn read(json: &[u8]) -> Result<Self, String>;

    fn metadata(&self) -> &ObjectMeta;
}

/// Of a ConfigMap only the metadata is asked for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConfigMapMetadata {
    #[serde(deserialize_with = "objects::metadata")]
    pub(super) metadata: ObjectMeta,
}

impl<K: Watched> Received<K> {
    pub(super) fn read(json: &[u8]) -> Self {
        Self(K::read(json).map(Box::new).map_err(|why| Box::new(Odd::new(json, why))))
    }

    pub(in crate::controller) fn understood(self) -> Option<K> {
        self.0.ok().map(|object| *object)
    }

    /// Its resourceVersion.
    pub(in crate::controller) fn version(&self) -> Option<&str> {
        match &self.0 {
            Ok(object) => object.metadata().resource_version.as_deref(),
            Err(odd) => Some(odd.version.as_str()),
        }
    }
}

impl<'de, K: Watched> Deserialize<'de> for Received<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(<&RawValue>::deserialize(deserializer)?.get().as_bytes()))
    }
}

impl Odd {
    pub(super) fn new(json: &[u8], why: String) -> Self {
        #[derive(Default, Deserialize)]
        struct Object {
            metadata: Named,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Named {
            name: String,
            namespace: String,
            resource_version: String,
        }
        let Named { name, namespace, resource_version } =
            serde_json::from_slice::<Object>(json).unwrap_or_default().metadata;
        Self { key: Key::new(&namespace, &name), version: resource_version, why }
    }
}

fn parse<K: DeserializeOwned>(json: &[u8]) -> Result<K, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

macro_rules! watched {
    ($($name:ident,)*) => {$(
        impl Watched for $name {
            type Kind = Self;

            fn read(json: &[u8]) -> Result<Self, String> {
                parse(json)
            }

            fn metadata(&self) -> &ObjectMeta {
                self.meta()
            }
        }
    )*};
}

watched! { Job, PersistentVolumeClaim, Pod, }

impl Watched for ConfigMapMetadata {
    type Kind = ConfigMap;

    const ONLY_METADATA: bool = true;

    fn read(json: &[u8]) -> Result<Self, String> {
        parse(json)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Watched for FileUpload {
    type Kind = Self;

    /// By parts, so that the cause names the part.
    fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(deserialize_with = "objects::metadata")]
            metadata: ObjectMeta,
            #[serde(borrow)]
            spec: Option<&'a RawValue>,
            #[serde(borrow)]
            status: Option<&'a RawValue>,
        }
        let Object { metadata, spec, status } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let spec = part("spec", spec)?.ok_or("spec is missing")?;
        Ok(Self { metadata, spec, status: part("status", status)? })
    }

    fn metadata(&self) -> &ObjectMeta {
        self.meta()
    }
}

fn part<T: DeserializeOwned>(field: &str, json: Option<&RawValue>) -> Result<Option<T>, String> {
    json.map(|json| serde_json::from_str(json.get())).transpose().map_err(|error| format!("{field}: {error}"))
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;
    use serde_json::{Value, json};

    use super::*;

    fn object(spec: &Value) -> Value {
        let managed = json!([{"manager": "x", "operation": "Update", "fieldsV1": {"f:spec": {}}}]);
        json!({
            "apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload", "spec": spec,
            "metadata": {"name": "x", "namespace": "team", "uid": "u", "managedFields": managed, "resourceVersion": "7"},
        })
    }

    fn good() -> Value {
        object(&json!({"files": [{"name": "a", "source": {"configMapKeyRef": {"name": "b", "key": "c"}}}]}))
    }

    fn read<K: Watched>(object: &Value) -> Result<Box<K>, Box<Odd>> {
        Received::read(object.to_string().as_bytes()).0
    }

    #[test]
    fn one_that_cannot_be_understood_is_named_with_its_cause() {
        let odd = read::<FileUpload>(&object(&json!({"files": 1}))).unwrap_err();
        assert_eq!((odd.key, odd.version.as_str()), (Key::new("team", "x"), "7"));
        assert!(odd.why.starts_with("spec: invalid type: integer `1`"), "{}", odd.why);
        let bare = read::<FileUpload>(&json!({"metadata": {"name": "y"}})).unwrap_err();
        assert_eq!((bare.key, bare.why.as_str()), (Key::new("", "y"), "spec is missing"));
        let nameless = read::<Pod>(&json!({"metadata": {"name": 1, "namespace": "team"}})).unwrap_err();
        assert_eq!((nameless.key, nameless.version.as_str()), (Key::new("", ""), ""));
        let pod = read::<Pod>(&json!({"metadata": {"name": "z"}, "spec": {"nodeName": {}}})).unwrap_err();
        assert_eq!(pod.key, Key::new("", "z"));
    }

    #[test]
    fn an_event_of_a_watch_is_read_without_its_managed_fields() {
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, good());
        let Ok(WatchEvent::Added(received)) = serde_json::from_str::<WatchEvent<Received<FileUpload>>>(&event) else {
            panic!("{event}")
        };
        let upload = received.understood().unwrap();
        assert_eq!(upload.metadata.managed_fields, None);
        let mut expected: FileUpload = serde_json::from_value(good()).unwrap();
        expected.metadata.managed_fields = None;
        assert_eq!(serde_json::to_value(upload).unwrap(), serde_json::to_value(expected).unwrap());
    }
}
