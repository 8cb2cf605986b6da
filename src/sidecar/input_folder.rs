//! A folder whose files nobody has named: all that match are uploaded once its marker is there.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Bounds, Found, Globs, Parcel, Source, aside, search};
use crate::outcome::Trouble;
use crate::reason::Reason;

/// As much as a FileUpload takes of a folder.
const BOUNDS: Bounds = Bounds { files: 2000, path: 1024 };
/// A disk or mount that has not answered by then is asked again.
const LIMIT: Duration = Duration::from_mins(5);

/// A folder, and where its keys go.
pub(crate) struct InputFolder {
    /// The file of its keys in the keys folder.
    pub keys_file: String,
    /// The folder.
    pub path: PathBuf,
    /// It is complete while something is here.
    pub marker: PathBuf,
    /// Which of its files are uploaded.
    pub globs: Arc<Globs>,
}

impl InputFolder {
    /// Whether its marker is there.
    pub(super) async fn is_complete(&self) -> Result<bool, Trouble> {
        let marker = self.marker.clone();
        let found = on_disk(&self.marker, move || marker.metadata()).await?;
        match found.map_err(|error| (error.kind(), error)) {
            Ok(_) => Ok(true),
            Err((ErrorKind::NotFound | ErrorKind::NotADirectory, _)) => Ok(false),
            Err((kind, error)) => {
                let is_denied = kind == ErrorKind::PermissionDenied;
                let reason = if is_denied { Reason::PermissionDenied } else { Reason::SourceChanged };
                Err(Trouble::new(reason, format!("{}: cannot look for the marker: {error}", self.marker.display())))
            }
        }
    }

    /// Its files, in the order of their paths.
    pub(super) async fn files(&self) -> Result<Vec<Found>, Trouble> {
        let (path, globs, marker) = (self.path.clone(), Arc::clone(&self.globs), self.marker.clone());
        on_disk(&self.path, move || search(&path, &globs, BOUNDS, Some(&marker))).await?
    }

    /// A file of it. What leads out of the folder by then is not sent.
    pub(super) fn parcel(&self, found: &Found) -> Parcel {
        let file_name = Path::new(&found.path).file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let source = Source::within(&self.path, &found.path);
        Parcel { source, file_name, content_type: None, sent: Arc::default() }
    }
}

/// What `act` returns of what is at `path`.
async fn on_disk<T: Send + 'static>(path: &Path, act: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    aside(LIMIT, act).await.ok_or_else(|| {
        let what = format!("{}: the disk or mount did not answer for {} s", path.display(), LIMIT.as_secs());
        Trouble::new(Reason::SourceChanged, what)
    })
}
