//! The end of a worker's folder, and durability for many at once.

use std::io;
use std::path::Path;

use fs_err as fs;

use super::{State, WorkerDir, WorkerError};

impl WorkerDir {
    /// Removes the folder, once no process of the worker is left.
    pub fn remove(&self) -> Result<(), WorkerError> {
        let state = self.state()?;
        if matches!(state, State::Running | State::Finished) {
            return Err(WorkerError::Alive { uid: self.uid().to_string(), state });
        }
        // Out of the way first, so that a crash half-way leaves nothing that looks like a worker.
        let going = self.path().with_file_name(format!(".{}.old", self.uid()));
        fs::rename(self.path(), &going)?;
        fs::remove_dir_all(&going)?;
        Ok(())
    }
}

/// Makes everything written so far to the file system of `path` durable: one call for any number
/// of statuses and spools.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    nix::unistd::syncfs(file.file()).map_err(|e| {
        io::Error::other(format!("syncfs of the file system of {}: {e}", path.display()))
    })
}
