//! The list of a log's sealed segments.

use runyard_types::{DecodeError, Digest};
use serde::{Deserialize, Serialize};

/// A sealed part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The first offset.
    pub from: u64,
    /// The offset behind the last.
    pub to: u64,
    pub digest: Digest,
    /// Line ends in it.
    pub lines: u64,
    /// The time of its last record, in milliseconds since 1970 UTC; 0 where unknown.
    #[serde(default)]
    pub last_at_ms: u64,
}

/// A log's segments without gap, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub segments: Vec<SegmentRef>,
    /// Nothing follows: the worker's log is complete.
    #[serde(default)]
    pub last: bool,
}

/// Why a segment does not continue a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the log is sealed to {sealed_to}; a segment from {from} to {to} does not follow")]
    Gap { sealed_to: u64, from: u64, to: u64 },
    #[error("the log is complete at {0}; nothing can follow")]
    Complete(u64),
}

impl Manifest {
    /// The offset up to which the log is sealed.
    pub fn sealed_to(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.to)
    }
    /// Line ends in all segments.
    pub fn lines(&self) -> u64 {
        self.segments.iter().map(|segment| segment.lines).sum()
    }

    /// Appends a segment. The same one again changes nothing, so that a seal can be repeated.
    pub fn push(&mut self, segment: SegmentRef, last: bool) -> Result<(), ManifestError> {
        let repeated = self.segments.last() == Some(&segment);
        if !repeated {
            if self.last {
                return Err(ManifestError::Complete(self.sealed_to()));
            }
            if segment.from != self.sealed_to() || segment.to < segment.from {
                let (from, to) = (segment.from, segment.to);
                return Err(ManifestError::Gap { sealed_to: self.sealed_to(), from, to });
            }
            self.segments.push(segment);
        }
        self.last |= last;
        Ok(())
    }

    /// The segments that hold `offset` and what follows it.
    pub fn from_offset(&self, offset: u64) -> &[SegmentRef] {
        &self.segments[self.segments.partition_point(|segment| segment.to <= offset)..]
    }

    /// Its bytes, to be stored as a blob.
    pub fn encode(&self) -> Vec<u8> {
        runyard_types::encode(self)
    }
    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        runyard_types::decode("a log manifest", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other() {
        let part = |from, to| {
            let digest = Digest::of(&[from as u8]);
            SegmentRef { from, to, digest, lines: 1, last_at_ms: 0 }
        };
        let mut manifest = Manifest::default();
        manifest.push(part(0, 10), false).expect("the first");
        manifest.push(part(0, 10), false).expect("the same again");
        assert!(matches!(manifest.push(part(11, 12), false), Err(ManifestError::Gap { .. })));
        assert!(matches!(manifest.push(part(0, 12), false), Err(ManifestError::Gap { .. })));
        manifest.push(part(10, 30), true).expect("the last");
        manifest.push(part(10, 30), true).expect("the last again");
        assert_eq!(manifest.push(part(30, 31), false), Err(ManifestError::Complete(30)));
        assert_eq!((manifest.sealed_to(), manifest.lines()), (30, 2));
        assert_eq!(manifest.from_offset(9).len(), 2);
        assert_eq!(manifest.from_offset(10), &[part(10, 30)]);
        assert!(manifest.from_offset(30).is_empty());
        assert_eq!(Manifest::decode(&manifest.encode()).expect("decodes"), manifest);
    }
}
