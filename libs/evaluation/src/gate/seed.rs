//! A random stream per question, so that one more check moves no other's draws.

/// The seed of the stream that `parts` name under `seed`.
pub(crate) fn child(seed: u64, parts: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"runyard gate stream 1\n");
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut reader = hasher.finalize_xof();
    let mut bytes = [0; 8];
    reader.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
