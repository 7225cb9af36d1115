//! Writing what lies in several places.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;

/// Slices of one call; the kernel takes 1,024.
const SLICES_MAX: usize = 512;

/// Writes all of `data`, in order, in as few calls as may be.
pub(crate) fn write_slices(out: &mut impl Write, data: &[Bytes]) -> io::Result<()> {
    for data in data.chunks(SLICES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = data.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match out.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    /// Takes a few bytes at a time, and is interrupted now and then.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(5) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = data.len().min(self.1 % 37 + 1);
            self.0.extend_from_slice(&data[..len]);
            Ok(len)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_of_it_is_written_however_little_is_taken_at_a_time() {
        for sizes in [vec![], vec![0], vec![0, 1, 0, 300, 7], vec![3; 1_200]] {
            let data: Vec<Bytes> =
                sizes.iter().enumerate().map(|(n, &len)| noise(n as u64, len).into()).collect();
            let mut out = Slow(Vec::new(), 0);
            write_slices(&mut out, &data).expect("it is written");
            assert_eq!(out.0, data.concat());
        }
        let full = write_slices(&mut [0; 2].as_mut_slice(), &[Bytes::from_static(b"abc")]);
        assert_eq!(full.expect_err("no room").kind(), io::ErrorKind::WriteZero);
    }
}
