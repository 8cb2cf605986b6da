//! A file that a sidecar keeps the key of, and whether a key of an earlier run is that of the file as it is now.

use data_encoding::HEXLOWER;

use crate::delivery::Parcel;
use crate::keys::Entry;

/// A file, and the name of its key.
pub(crate) struct Input {
    /// The name of the key.
    pub name: String,
    /// The file.
    pub parcel: Parcel,
}

/// Whether an entry is of a file as it is now: of its name, size and content.
pub(super) async fn is_of(parcel: &Parcel, entry: &Entry) -> bool {
    let Parcel { source, file_name, .. } = parcel;
    let Ok(opened) = source.clone().settled().open().await else { return false };
    *file_name == entry.file_name
        && opened.size() == entry.size
        && opened.sha256().await.is_ok_and(|digest| HEXLOWER.encode(&digest) == entry.sha256)
}
