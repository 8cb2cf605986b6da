//! A page of a list, cut into its objects while it comes.
//!
//! How many objects are in a page is ours to say, but not how large each is: anybody may write many of more than a
//! megabyte beside each other. So only one object is in memory at a time, and what is around them is small.

use kube::core::ListMeta;
use serde::Deserialize;

/// The largest object that is read: etcd takes 1.5 MB, and in JSON a character may be six.
const MAX_OBJECT: usize = 16 << 20;
/// The most bytes of a page beside its objects.
const MAX_REST: usize = 64 << 10;
/// A buffer that is larger than this is not kept for the next object.
const KEPT: usize = 256 << 10;

/// What is no page of a list.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPage {
    #[error("a list holds more than {MAX_REST} bytes beside its objects")]
    Rest,
    #[error("what is beside the objects of a list cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// An object as it stands in a page; none if it is larger than any can be.
pub(super) type Text<'a> = Option<&'a [u8]>;

/// Cuts one page.
#[derive(Default)]
pub(super) struct Cutter {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The last string of the outermost object: a key, where an array follows.
    key: Vec<u8>,
    place: Place,
    object: Vec<u8>,
    /// What is beside the objects.
    rest: Vec<u8>,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Elsewhere,
    /// Between objects.
    Items,
    Object,
}

impl Cutter {
    /// Takes the next bytes of a page, and gives each object whose end is among them to `each`.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Text<'_>)) -> Result<(), NoPage> {
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.in_string {
                self.within_string(*byte);
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.key.clear();
                }
                b'{' if self.place == Place::Items && self.depth == 2 => {
                    self.keep(&bytes[from..at])?;
                    (self.depth, self.place, from) = (3, Place::Object, at);
                }
                b'{' | b'[' => {
                    if *byte == b'[' && self.depth == 1 && self.key == b"items" {
                        self.place = Place::Items;
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.place == Place::Object && self.depth == 2 {
                        self.keep(&bytes[from..=at])?;
                        from = at + 1;
                        self.end_object(&mut each);
                    } else if self.depth < 2 {
                        self.place = Place::Elsewhere;
                    }
                }
                b',' if self.place == Place::Items && self.depth == 2 => {
                    self.keep(&bytes[from..at])?;
                    from = at + 1;
                }
                _ => {}
            }
        }
        self.keep(&bytes[from..])
    }

    fn within_string(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.in_string = false,
            _ if self.depth == 1 && self.key.len() < MAX_REST => self.key.push(byte),
            _ => {}
        }
    }

    /// Keeps bytes that all are of the same object, or all beside objects.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), NoPage> {
        if self.place != Place::Object {
            self.rest.extend_from_slice(bytes);
            return if self.rest.len() > MAX_REST { Err(NoPage::Rest) } else { Ok(()) };
        }
        // Of one that is too large only its size is known: one byte more than is read.
        let room = (MAX_OBJECT + 1).saturating_sub(self.object.len());
        self.object.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    }

    fn end_object(&mut self, each: &mut impl FnMut(Text<'_>)) {
        each(Some(self.object.as_slice()).filter(|object| object.len() <= MAX_OBJECT));
        self.place = Place::Items;
        self.object.clear();
        self.object.shrink_to(KEPT);
    }

    /// The page has ended: what it says of the list.
    pub(super) fn end(self) -> Result<ListMeta, NoPage> {
        #[derive(Deserialize)]
        struct Page {
            metadata: ListMeta,
        }
        Ok(serde_json::from_slice::<Page>(&self.rest)?.metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The objects of a page that comes in pieces of this size, and its resourceVersion.
    fn cut(page: &str, size: usize) -> Result<(Vec<Option<String>>, Option<String>), NoPage> {
        let (mut cutter, mut objects) = (Cutter::default(), Vec::new());
        for piece in page.as_bytes().chunks(size) {
            cutter.take(piece, |text| objects.push(text.map(|text| String::from_utf8(text.to_vec()).unwrap())))?;
        }
        Ok((objects, cutter.end()?.resource_version))
    }

    #[test]
    fn a_page_is_cut_into_its_objects_however_it_comes() {
        let objects = [
            json!({"metadata": {"name": "a"}, "items": [{"items": [1, {}]}, "]}"]}),
            json!({}),
            json!({"text": "\\\"}{][,\u{1}<", "items": "\\"}),
        ];
        for (before, after) in [
            ("", r#","metadata":{"resourceVersion":"7","continue":"items"}"#),
            (r#""metadata":{"resourceVersion":"7"},"#, ""),
        ] {
            for glue in [",", " ,\n "] {
                let inside = objects.each_ref().map(Value::to_string).join(glue);
                let page = format!(r#"{{"kind":"items", {before} "items": [ {inside} ] {after}}}"#);
                for size in [1, 2, 7, 10_000] {
                    let (cut, version) = cut(&page, size).unwrap();
                    let cut: Vec<Value> =
                        cut.iter().map(|text| serde_json::from_str(text.as_ref().unwrap()).unwrap()).collect();
                    assert_eq!((cut.as_slice(), version.as_deref()), (objects.as_slice(), Some("7")), "{page}");
                }
            }
        }
        for empty in [
            r#"{"items":[],"metadata":{"resourceVersion":"7"}}"#,
            r#"{"items":null,"metadata":{"resourceVersion":"7"}}"#,
        ] {
            assert_eq!(cut(empty, 1).unwrap(), (Vec::new(), Some("7".to_owned())));
        }
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        for odd in
            ["", "{", r#"{"items":[{"a":1}"#, r#"{"items":[1,{}],"metadata":{}}x"#, "<html>", r#"{"items":[{}]}"#]
        {
            assert!(cut(odd, 3).is_err(), "{odd}");
        }
        let endless = format!(r#"{{"metadata":{{"continue":"{}"}}}}"#, "x".repeat(MAX_REST));
        assert!(matches!(cut(&endless, 1000), Err(NoPage::Rest)));
    }

    #[test]
    fn an_object_that_is_larger_than_any_can_be_is_left_out_and_the_next_is_read() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_OBJECT));
        let page = format!(r#"{{"items":[{large},{{}}],"metadata":{{}}}}"#);
        assert_eq!(cut(&page, 1 << 16).unwrap().0, [None, Some("{}".to_owned())]);
    }
}
