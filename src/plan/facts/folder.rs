//! A folder's ConfigMaps as they were observed: the keys so far, and the complete ones.

use jiff::Timestamp;

use crate::report::folder::Meta;

/// What is known of a folder's ConfigMaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FolderFacts {
    /// The keys so far; none if it holds nothing that can be believed.
    pub part: Kept<Option<Progress>>,
    /// The complete keys: the digest of the keys so far from which they were made, which is empty if they cannot be
    /// believed; none if it holds nothing.
    pub keys: Kept<Option<String>>,
}

/// A ConfigMap that is to be ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Kept<T> {
    /// It could not be read.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It belongs to a FileUpload of the same name that is gone.
    Orphaned,
    /// It belongs to somebody else.
    Foreign,
    /// It is ours, and holds this.
    Ours(T),
}

/// How far the upload of a folder is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Identifies the keys so far.
    pub digest: String,
    /// What is known of the folder as a whole.
    pub meta: Meta,
    /// How many files have a key.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The earliest upload.
    pub first: Option<Timestamp>,
}

impl FolderFacts {
    /// How far its upload is.
    pub(crate) fn progress(&self) -> Option<&Progress> {
        match &self.part {
            Kept::Ours(progress) => progress.as_ref(),
            _ => None,
        }
    }
}

impl<T> Kept<T> {
    /// Whether nothing is known of it.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}
