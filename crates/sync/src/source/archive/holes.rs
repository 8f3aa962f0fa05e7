//! Zeros that need not be sent: whole blocks of the guest's file system become holes.

use super::super::SourceError;
use super::super::outlet::Outlet;
use crate::limits::HOLE_BYTES;

static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Sends bytes of a file, but for blocks of zeros.
pub(super) fn send(outlet: &mut Outlet<'_>, offset: u64, bytes: &[u8]) -> Result<(), SourceError> {
    for (start, run) in runs(offset, bytes) {
        outlet.piece(start, run)?;
    }
    Ok(())
}

/// What is left of bytes without their blocks of zeros, and where in the file it is.
fn runs(offset: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let into = usize::try_from((offset + at as u64) % HOLE_BYTES as u64).unwrap_or(0);
        let end = (at + HOLE_BYTES - into).min(bytes.len());
        if bytes.get(at..end) == Some(&ZEROS) {
            runs.push((start, at));
            start = end;
        }
        at = end;
    }
    runs.push((start, at));
    let run = |(start, end)| (offset + start as u64, bytes.get(start..end).unwrap_or_default());
    runs.into_iter().map(run).filter(|(_, run)| !run.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only whole blocks of zeros are left out, wherever the bytes begin.
    #[test]
    fn zeros_become_holes() {
        let mut bytes = vec![1; 100];
        bytes.extend([0; 3 * HOLE_BYTES]);
        bytes.extend([2; 10]);
        let lengths =
            |offset| runs(offset, &bytes).iter().map(|(at, run)| (*at, run.len())).collect::<Vec<_>>();
        assert_eq!(lengths(0), [(0, HOLE_BYTES), (3 * HOLE_BYTES as u64, 110)]);
        let aligned = HOLE_BYTES as u64 - 100;
        assert_eq!(lengths(aligned), [(aligned, 100), (4 * HOLE_BYTES as u64, 10)]);
        assert!(runs(0, &[0; HOLE_BYTES]).is_empty());
        assert_eq!(runs(1, &[0; HOLE_BYTES]).iter().map(|(_, run)| run.len()).sum::<usize>(), HOLE_BYTES);
    }
}
