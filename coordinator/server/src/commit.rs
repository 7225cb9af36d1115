//! What this program was built from.

/// The commit, in twelve digits, with `-dirty` where files differed from it. Empty in a build for
/// development, which is no commit's.
pub const COMMIT: &str = env!("RUNYARD_COMMIT");
