//! Git's deltas: bytes made of copies from other bytes, and of insertions.
//! Source of the format: git's `Documentation/gitformat-pack.txt`, "Deltified representation".

/// What a delta makes of `base`; `None` when it does not fit it, is malformed, or makes more than allowed.
pub(crate) fn apply(delta: &[u8], base: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (base_bytes, rest) = size(delta)?;
    let (result_bytes, mut rest) = size(rest)?;
    if base_bytes != base.len() || result_bytes > bytes_max {
        return None;
    }
    let mut result = Vec::new();
    while let Some((operation, behind)) = rest.split_first() {
        rest = behind;
        let part = if operation & 0x80 != 0 {
            let offset = number(operation & 0x0f, &mut rest)?;
            let length = number(operation >> 4 & 0x07, &mut rest)?;
            let length = if length == 0 { 0x1_0000 } else { length };
            base.get(offset..offset.checked_add(length)?)?
        } else if *operation != 0 {
            let (part, behind) = rest.split_at_checked(usize::from(*operation))?;
            rest = behind;
            part
        } else {
            // Reserved.
            return None;
        };
        if part.len() > result_bytes - result.len() {
            return None;
        }
        result.extend_from_slice(part);
    }
    (result.len() == result_bytes).then_some(result)
}

/// A number of seven bits a byte, lowest first.
fn size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

/// A number of the bytes that the bits of `present` say are there, lowest first.
fn number(present: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for index in 0..4 {
        if present >> index & 1 == 1 {
            let (byte, behind) = rest.split_first()?;
            *rest = behind;
            value |= usize::from(*byte) << (8 * index);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Copies and insertions make the bytes; whatever does not fit is refused.
    #[test]
    fn deltas_are_applied_or_refused() {
        let base = b"0123456789";
        let delta = [10, 7, 0x91, 2, 4, 3, b'a', b'b', b'c'];
        assert_eq!(apply(&delta, base, 100).unwrap(), b"2345abc");
        assert_eq!(apply(&delta, base, 6), None);
        assert_eq!(apply(&delta, b"012345678", 100), None);
        assert_eq!(apply(&[10, 7, 0x91, 8, 4, 3, b'a', b'b', b'c'], base, 100), None);
        assert_eq!(apply(&[10, 0, 0], base, 100), None);
    }

    proptest! {
        /// No delta makes more than was allowed, or a panic.
        #[test]
        fn deltas_are_bounded(delta in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = apply(&delta, b"0123456789", 50);
            let whole = [&[10, 50][..], &delta].concat();
            if let Some(result) = apply(&whole, b"0123456789", 50) {
                prop_assert_eq!(result.len(), 50);
            }
        }
    }
}
