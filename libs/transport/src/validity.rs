//! From when to when a certificate holds.

use rustls::pki_types::CertificateDer;

use crate::RoleError;

/// From when to when a certificate holds, in milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before_ms: u64,
    /// Its last instant.
    pub not_after_ms: u64,
}

impl Validity {
    /// The dates in `certificate`.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, RoleError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| RoleError::Unreadable)?;
        let validity = parsed.validity();
        // Dates before 1970 are long over.
        let ms = |at_s: i64| u64::try_from(at_s).unwrap_or(0).saturating_mul(1_000);
        Ok(Self {
            not_before_ms: ms(validity.not_before.timestamp()),
            not_after_ms: ms(validity.not_after.timestamp()),
        })
    }

    /// How long it holds in all, in milliseconds.
    pub fn lifetime_ms(self) -> u64 {
        self.not_after_ms.saturating_sub(self.not_before_ms)
    }

    /// From when on it should be renewed: two thirds of its life.
    pub fn renew_at_ms(self) -> u64 {
        self.not_before_ms.saturating_add(self.lifetime_ms() / 3 * 2)
    }

    /// Whether it is over at `now_ms`.
    pub fn is_over(self, now_ms: u64) -> bool {
        now_ms > self.not_after_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_its_life_is_left_for_the_renewal() {
        let life = Validity { not_before_ms: 1_000, not_after_ms: 10_000 };
        assert_eq!((life.lifetime_ms(), life.renew_at_ms()), (9_000, 7_000));
        assert!(!life.is_over(10_000) && life.is_over(10_001));
        let odd = Validity { not_before_ms: 5, not_after_ms: 1 };
        assert_eq!((odd.lifetime_ms(), odd.renew_at_ms()), (0, 5), "due at once, no underflow");
        assert!(Validity::of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
