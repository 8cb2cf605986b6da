//! What a sidecar takes over from its predecessor: keys that live, of files as they are now. All others leave.

use tracing::info;

use super::folders::Lines;
use super::{InputFolder, Keeper, input};
use crate::keys::{self, Keys, Record};

impl Keeper<'_> {
    /// Takes over what a predecessor uploaded. It writes in any case, so that a folder that cannot be written costs no
    /// call.
    pub(super) async fn recall(&self) {
        let Record { owner, keys: recorded, folders } = self.folder.recorded();
        let asked = |name: &str| self.names().any(|known| known == name);
        let (mut recorded, unasked): (Keys, Keys) = recorded.into_iter().partition(|(name, _)| asked(name));
        recorded.retain(|_, entry| owner == self.owner && self.is_live(entry));
        // What can be no key goes before others are looked at, as large files take their time.
        let forgotten = folders.iter().filter(|file| !self.keys_files().any(|asked| asked == *file));
        let forgotten = forgotten.map(|file| self.folder.forget_folder(file)).fold(Ok(()), Result::and);
        let hidden = self.folder.forget(&unasked).and(self.folder.hide(&recorded, self.names()));
        let withdrawn = self.folders.iter().map(|input| self.withdraw_dead_folder(input)).fold(Ok(()), Result::and);
        if let Err(error) = forgotten.and(hidden).and(withdrawn) {
            return self.end(error.into());
        }
        let mut keys = Keys::new();
        for input in &self.inputs {
            let Some(entry) = recorded.remove(&input.name) else { continue };
            // What is there stays as it is if this is cut short.
            let same = input::is_of(&input.parcel, &entry);
            let same = tokio::select! { biased; () = self.batch.ended() => return, same = same => same };
            if same {
                info!(file = input.name, "uploaded before");
                keys.insert(input.name.clone(), entry);
            }
        }
        if !self.change(|none| *none = keys) {
            return;
        }
        for input in &self.folders {
            self.recall_folder(input).await;
        }
    }

    /// Takes the keys that a predecessor left out of sight, unless all of them may still be good.
    fn withdraw_dead_folder(&self, input: &InputFolder) -> Result<(), keys::Error> {
        let mut lines = self.folder.lines(&input.keys_file).peekable();
        let may_be_good = lines.peek().is_some() && lines.all(|line| self.is_live_line(&line));
        if may_be_good { Ok(()) } else { self.folder.hide_folder(&input.keys_file) }
    }

    /// Takes over what a predecessor uploaded of a folder, if it is still that of the files. It writes in any case.
    async fn recall_folder(&self, input: &InputFolder) {
        // What is there stays as it is if this is cut short.
        let known = tokio::select! { biased; () = self.batch.ended() => return, known = self.known(input) => known };
        let (lines, is_complete) = known;
        if !lines.is_empty() {
            info!(folder = input.keys_file, files = lines.len(), "uploaded before");
        }
        if is_complete {
            self.show_folder(input, &lines);
        } else {
            let hidden = self.folder.hide_folder(&input.keys_file);
            let written = hidden.and(self.folder.set_lines(&input.keys_file, lines.values()));
            written.unwrap_or_else(|error| self.end(error.into()));
        }
    }

    /// The keys of an earlier run that are those of files as they are now, and whether these are all.
    async fn known(&self, input: &InputFolder) -> (Lines, bool) {
        // Without its marker, and where it cannot be read, the folder is another one than it was.
        let Ok(true) = input.is_complete().await else { return (Lines::new(), false) };
        let files = input.files().await.unwrap_or_default();
        let mut lines = self.lines(input, &files, |_| true);
        for file in &files {
            if let Some(line) = lines.get(&file.path)
                && !input::is_of(&input.parcel(file), &line.entry).await
            {
                lines.remove(&file.path);
            }
        }
        let is_complete = !files.is_empty() && lines.len() == files.len();
        (lines, is_complete)
    }
}
