//! The durable log: what it promises, and how it recovers.
//!
//! * A log is a chain of zero-filled, preallocated segment files. A segment begins with a header
//!   (format, group, peer, sequence, previous checksum); each later record's CRC32C rolls on from
//!   the one before, so no record and no segment can be dropped, swapped or taken from elsewhere
//!   unnoticed.
//! * A record starts on a sector of its own, and every sector ends in a marker byte that is never
//!   zero once written. A synced sector is never written again.
//! * One record is one write and one fdatasync, and nothing is written before the sync of the
//!   record before has returned. So a power cut can tear only the last record. It was torn if a
//!   sector of it still has the marker zero: it was never acknowledged, and is cut. Any other
//!   damage is rot, and refused.
//! * One preallocated segment is kept in reserve, see [`Reserve`].

pub(crate) mod codec;
pub(crate) mod open;
pub(crate) mod record;
pub(crate) mod recovered;
pub(crate) mod scan;
pub(crate) mod sector;
pub(crate) mod segment;
pub(crate) mod writer;

pub(crate) use open::{OpenedLog, create, open};
pub(crate) use record::Item;
pub(crate) use recovered::{Head, Recovered};
pub(crate) use segment::make_reserve;
pub(crate) use writer::{AppendError, Reserve, Room, Writer};
