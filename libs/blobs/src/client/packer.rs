//! From missing chunks to packs, on a blocking thread.

use tokio::sync::mpsc;

use super::TransferError;
use crate::chunk::Chunk;
use crate::pack::{Bundle, BundleBuilder, PACK_BYTES_TARGET};

/// Less than this in all is sent as loose chunks, which the server packs with those of others.
const LOOSE_BYTES: usize = 1 << 20;

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Parcel {
    Pack(Bundle),
    Loose(Vec<Chunk>),
}

/// Packs what comes until nothing more does.
pub(super) fn pack(
    mut chunks: mpsc::Receiver<Vec<Chunk>>,
    out: &mpsc::Sender<Parcel>,
) -> Result<(), TransferError> {
    let io = |source| TransferError::Io { what: "make a pack", source };
    let send = |parcel| out.blocking_send(parcel).map_err(|_| TransferError::Stopped);
    let mut builder = BundleBuilder::new().map_err(io)?;
    let (mut loose, mut loose_bytes) = (Vec::new(), 0);
    while let Some(batch) = chunks.blocking_recv() {
        for chunk in batch {
            if !builder.push(&chunk) {
                send(Parcel::Pack(builder.finish()))?;
                builder.push(&chunk);
            }
            loose_bytes += chunk.data.len();
            if loose_bytes <= LOOSE_BYTES {
                loose.push(chunk);
            } else {
                loose = Vec::new();
            }
            if builder.stored_bytes() >= PACK_BYTES_TARGET {
                send(Parcel::Pack(builder.finish()))?;
            }
        }
    }
    match () {
        () if builder.is_empty() => Ok(()),
        () if loose_bytes <= LOOSE_BYTES => send(Parcel::Loose(loose)),
        () => send(Parcel::Pack(builder.finish())),
    }
}
