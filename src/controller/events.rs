//! Tells of a `FileUpload` in its events: one write each, and nothing is remembered.
//!
//! kube-runtime's `Recorder` keeps every event for six minutes, looks through all of them at each write, and merges those
//! of one reason, so that the later message is lost. Whoever calls this tells of changes only, so there is nothing to
//! merge. An event is a courtesy: its failure must not change what the caller does.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};

use crate::clock;
use crate::resource::{FIELD_MANAGER, FileUpload};

/// The most bytes of a note that the API server accepts.
const NOTE_BYTES: usize = 1024;
const ACTION: &str = "Upload";

/// Whether an event calls for attention.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    /// All goes as it should.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement<'a> {
    pub(super) tone: Tone,
    /// A `CamelCase` word: the reason of the condition.
    pub(super) reason: &'a str,
    /// The text for people.
    pub(super) note: &'a str,
}

/// Writes one event of `upload`.
pub(super) async fn publish(client: &Client, upload: &FileUpload, news: Announcement<'_>) -> kube::Result<()> {
    let api = Api::<Event>::namespaced(client.clone(), &upload.namespace().unwrap_or_default());
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api.create(&params, &event(upload, news)).await.map(drop)
}

fn event(upload: &FileUpload, news: Announcement<'_>) -> Event {
    let Announcement { tone, reason, note } = news;
    Event {
        metadata: ObjectMeta {
            namespace: upload.namespace(),
            // With a dot at its end it would be refused.
            generate_name: Some(format!("{}-", upload.name_any())),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference { resource_version: upload.resource_version(), ..upload.object_ref(&()) }),
        type_: Some(format!("{tone:?}")),
        action: Some(ACTION.to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(beginning(note, NOTE_BYTES).to_owned()),
        event_time: Some(MicroTime(clock::exact())),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        // It must not be empty, and which of our instances it was tells nobody anything.
        reporting_instance: Some(FIELD_MANAGER.to_owned()),
        ..Event::default()
    }
}

/// As much of the beginning as fits, in whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload() -> FileUpload {
        let object = serde_json::json!({
            "apiVersion": "cyberun.cloud/v1alpha1",
            "kind": "FileUpload",
            "metadata": { "name": "portrait", "namespace": "team-a", "uid": "u-1", "resourceVersion": "7" },
            "spec": { "files": [] },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_event_has_all_that_the_api_server_demands_and_names_its_object() {
        let event = event(
            &upload(),
            Announcement { tone: Tone::Warning, reason: "SecretNotFound", note: "Secret cyberun does not exist" },
        );
        let mut event = serde_json::to_value(event).unwrap();
        let time = event["eventTime"].take();
        assert_eq!(time.as_str().unwrap().len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
        let expected = serde_json::json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "generateName": "portrait-", "namespace": "team-a" },
            "regarding": {
                "apiVersion": "cyberun.cloud/v1alpha1",
                "kind": "FileUpload",
                "name": "portrait",
                "namespace": "team-a",
                "uid": "u-1",
                "resourceVersion": "7",
            },
            "type": "Warning",
            "action": "Upload",
            "reason": "SecretNotFound",
            "note": "Secret cyberun does not exist",
            "eventTime": null,
            "reportingController": "fileupload-operator",
            "reportingInstance": "fileupload-operator",
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn a_note_is_cut_to_what_is_accepted_in_whole_characters() {
        let note_of = |note: &str| event(&upload(), Announcement { tone: Tone::Normal, reason: "Uploaded", note }).note;
        for (character, number) in [("a", 1024), ("é", 512), ("あ", 341), ("🦀", 256)] {
            assert_eq!(note_of(&character.repeat(2000)), Some(character.repeat(number)));
        }
        assert_eq!(note_of("short").as_deref(), Some("short"));
    }
}
