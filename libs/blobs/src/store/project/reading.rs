//! Reading chunks back, alone or by the run.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use fs_err::File;
use runyard_types::Digest;

use super::Project;
use super::opening::read_footer;
use crate::pack::{Entry, PackError, PackId, open_stored};
use crate::store::StoreError;
use crate::store::index::Home;
use crate::store::journal::journal_path;

/// Files of packs that are kept open for reading.
const OPEN_FILES_MAX: usize = 32;
/// Chunks that lie side by side are read together, up to this much.
pub(super) const RUN_BYTES: u32 = 1 << 20;

impl Project {
    /// A chunk's verified bytes. A damaged copy is forgotten, and other packs are searched for one; when the
    /// operating system fails (no file can be opened any more, say), the copy may well be good.
    pub(in crate::store) fn read(&self, id: &Digest) -> Result<Bytes, StoreError> {
        let (home, entry) = self.locate(id).ok_or(StoreError::NotFound(*id))?;
        if let Ok(data) = self.read_at(home, &entry) {
            return Ok(data);
        }
        // A journal may have become a pack since the look-up, or a damaged pack have been sent anew.
        self.close(home);
        let (home, entry) = self.locate(id).ok_or(StoreError::NotFound(*id))?;
        match self.read_at(home, &entry) {
            Ok(data) => return Ok(data),
            Err(PackError::Io(source)) if !is_damage(&source) => {
                self.close(home);
                return Err(StoreError::io("read", self.path(home))(source));
            }
            Err(error) => {
                let path = self.path(home);
                tracing::error!(chunk = %id, path = %path.display(), %error, "a chunk is damaged on disk");
            }
        }
        self.index.write().unwrap_or_else(PoisonError::into_inner).forget(id, home);
        self.another_copy(id, home).ok_or(StoreError::Corrupt(*id))
    }

    /// The first of `ids`, and those behind it that lie behind it in the same pack, verified: of one reading
    /// of at most [`RUN_BYTES`]. At least one answer, if there are ids.
    pub(in crate::store) fn read_run(&self, ids: &[Digest]) -> Vec<Result<Bytes, StoreError>> {
        let run = self.run(ids);
        let stored = match run.as_slice() {
            [(home, first), .., (_, last)] => {
                self.stored(*home, first.offset, last.offset + last.stored).ok()
            }
            _ => None,
        };
        let Some(stored) = stored else {
            return ids.first().map(|id| self.read(id)).into_iter().collect();
        };
        let base = run[0].1.offset;
        let open = |(_, entry): &(Home, Entry)| {
            let at = (entry.offset - base) as usize;
            let data = stored.slice(at..at + entry.stored as usize);
            // What is damaged is told, and searched for elsewhere, as for a chunk by itself.
            open_stored(entry, data).or_else(|_| self.read(&entry.id))
        };
        run.iter().map(open).collect()
    }

    /// Where the first of `ids` lies, and those of the next ones that lie right behind.
    fn run(&self, ids: &[Digest]) -> Vec<(Home, Entry)> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut run: Vec<(Home, Entry)> = Vec::new();
        for id in ids {
            let Some((home, entry)) = index.find(id) else { break };
            if let (Some((first_home, first)), Some((_, last))) = (run.first(), run.last()) {
                let follows = home == *first_home && entry.offset == last.offset + last.stored;
                if !follows || entry.offset + entry.stored - first.offset > RUN_BYTES {
                    break;
                }
            }
            run.push((home, entry));
        }
        run
    }

    fn stored(&self, home: Home, from: u32, to: u32) -> std::io::Result<Bytes> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = self.runs.take(RUN_BYTES as usize);
        bytes.resize((to - from) as usize, 0);
        self.file(home)?.file().read_exact_at(&mut bytes, u64::from(from))?;
        Ok(self.runs.share(bytes))
    }

    fn read_at(&self, home: Home, entry: &Entry) -> Result<Bytes, PackError> {
        use std::os::unix::fs::FileExt as _;
        let file = self.file(home)?;
        let mut stored = vec![0; entry.stored as usize];
        file.file().read_exact_at(&mut stored, u64::from(entry.offset))?;
        open_stored(entry, stored.into())
    }

    /// Searches the footers of all packs: slow, and only after damage.
    fn another_copy(&self, id: &Digest, bad: Home) -> Option<Bytes> {
        let packs: Vec<PackId> =
            self.index.read().unwrap_or_else(PoisonError::into_inner).packs().collect();
        for pack in packs.into_iter().filter(|pack| Home::Pack(*pack) != bad) {
            let Ok(entries) = read_footer(&self.pack_path(pack)) else { continue };
            let Some(entry) = entries.iter().find(|entry| entry.id == *id) else { continue };
            if let Ok(data) = self.read_at(Home::Pack(pack), entry) {
                self.add_pack(pack, std::slice::from_ref(entry));
                return Some(data);
            }
        }
        None
    }

    fn file(&self, home: Home) -> std::io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(known, _)| *known == home) {
            let found = files.remove(at).expect("its position was just found");
            files.push_back(found.clone());
            return Ok(found.1);
        }
        let file = Arc::new(File::open(self.path(home))?);
        if files.len() >= OPEN_FILES_MAX {
            files.pop_front();
        }
        files.push_back((home, file.clone()));
        Ok(file)
    }

    /// Has the file opened anew when it is read next.
    pub(super) fn close(&self, home: Home) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|(known, _)| *known != home);
    }

    fn path(&self, home: Home) -> PathBuf {
        match home {
            Home::Pack(pack) => self.pack_path(pack),
            Home::Journal(number) => journal_path(&self.packs, number),
        }
    }
}

/// Whether it is the file itself that is gone or cut short, and not the reading of it that failed.
pub(super) fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
}
