//! How many descriptors this process may open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than this serves nobody, and some systems have no bound at all.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// What is assumed where the system does not say.
const DESCRIPTORS_ASSUMED: u64 = 1_024;

/// The number of descriptors that this process may open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTORS_ASSUMED, |(soft, _)| soft)
}

/// Raises the limit to what the system allows without asking, and says what it is then. For servers,
/// at their start: the usual limit of 1,024 is meant for programs that call `select`.
pub fn raise_descriptor_limit() -> u64 {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(DESCRIPTORS_MAX);
        if wanted > soft
            && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        {
            tracing::warn!(%error, soft, wanted, "the limit of descriptors cannot be raised");
        }
    }
    descriptor_limit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed_and_never_lowered() {
        let before = descriptor_limit();
        let raised = raise_descriptor_limit();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every system has it");
        assert!(raised >= before && raised >= hard.min(DESCRIPTORS_MAX).min(1_024), "{raised}");
        assert_eq!(raise_descriptor_limit(), raised, "a second time changes nothing");
    }
}
