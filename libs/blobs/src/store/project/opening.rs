//! Opening a project: the index of all packs, and packs of what journals hold.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use fs_err::{self as fs, File};

use super::Project;
use super::reading::is_damage;
use crate::pack::{Entry, PackError, PackId, read_index};
use crate::store::StoreError;
use crate::store::durable::TEMP_PREFIX;
use crate::store::journal::{Recovered, recover, refuse_newer};

impl Project {
    pub(super) fn load(&self, threads: usize) -> Result<(), StoreError> {
        let (mut packs, mut journals) = (Vec::new(), Vec::new());
        let list = || StoreError::io("list", &self.packs);
        for file in fs::read_dir(&self.packs).map_err(list())? {
            let path = file.map_err(list())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(TEMP_PREFIX) {
                let _ = fs::remove_file(&path);
            } else if let Some(id) = name.strip_suffix(".pack").and_then(PackId::parse) {
                packs.push((id, path));
            } else if let Some(number) = name.strip_suffix(".journal") {
                journals.extend(number.parse::<u64>().ok().map(|number| (number, path)));
            }
        }
        // The same order at every opening, so that a chunk in two packs is read from the same one.
        packs.sort();
        journals.sort();
        // Before anything is moved: a store that cannot be opened stays as it is.
        for (_, path) in &journals {
            refuse_newer(path)?;
        }
        let mut indexes = Vec::with_capacity(packs.len());
        for ((_, path), entries) in packs.iter().zip(read_footers(&packs, threads)) {
            indexes.push(damage_or_refusal(path, entries)?);
        }
        for ((id, path), entries) in packs.iter().zip(indexes) {
            match entries {
                Ok(entries) => self.add_pack(*id, &entries),
                Err(damage) => set_aside(path, &damage),
            }
        }
        let next = journals.last().map_or(0, |(number, _)| number + 1);
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).next = next;
        for (_, path) in journals {
            self.take_up(&path)?;
        }
        Ok(())
    }

    /// Makes packs of what an earlier process put into a journal.
    fn take_up(&self, path: &Path) -> Result<(), StoreError> {
        let recovered = recover(path)?;
        self.write_packs(&recovered.chunks)?;
        if recovered.is_hurt() {
            let Recovered { torn_bytes, damaged_bytes, .. } = recovered;
            let (aside, shown) = (path.with_extension("damaged"), path.display());
            if damaged_bytes > 0 {
                tracing::error!(
                    path = %shown, damaged_bytes, torn_bytes,
                    "a journal is damaged: what was put there may be missing and must be published again; \
                     all that could be read is kept, the file is set aside"
                );
            } else {
                tracing::warn!(path = %shown, torn_bytes, "the end of a journal is torn; kept aside");
            }
            return fs::rename(path, aside).map_err(StoreError::io("rename", path));
        }
        fs::remove_file(path).map_err(StoreError::io("remove", path))
    }
}

pub(super) fn read_footer(path: &Path) -> Result<Vec<Entry>, PackError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    read_index(file.file(), len)
}

type Footers = Vec<Result<Vec<Entry>, PackError>>;

fn read_footers(packs: &[(PackId, PathBuf)], threads: usize) -> Footers {
    let share = packs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = packs
            .chunks(share)
            .map(|part| {
                scope.spawn(|| part.iter().map(|(_, path)| read_footer(path)).collect::<Footers>())
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().expect("reading a footer does not panic"))
            .collect()
    })
}

/// Tells a pack that is damaged from one that cannot be judged now or by this version: then nothing opens, for
/// a pack that is out of sight counts as lost, and what it holds is soon refused as missing.
fn damage_or_refusal<T>(
    path: &Path,
    read: Result<T, PackError>,
) -> Result<Result<T, PackError>, StoreError> {
    match read {
        Err(PackError::Io(source)) if !is_damage(&source) => {
            Err(StoreError::Unreadable { path: path.to_owned(), source })
        }
        Err(PackError::Version(version)) => {
            Err(StoreError::Newer { path: path.to_owned(), version })
        }
        known => Ok(known),
    }
}

/// A pack that cannot be understood is moved out of the way, so that its chunks count as missing.
fn set_aside(path: &Path, error: &PackError) {
    tracing::error!(path = %path.display(), %error, "a pack is damaged; set aside");
    if let Err(error) = fs::rename(path, path.with_extension("damaged")) {
        tracing::error!(%error, "the damaged pack could not be set aside");
    }
}
