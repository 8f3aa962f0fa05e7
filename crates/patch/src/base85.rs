//! Git's base 85: four bytes as five printable ones, in lines that begin with their length.

use crate::limits::BASE85_LINE_BYTES_MAX;

/// The digits, zero first.
const ALPHABET: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Appends `data` in lines.
pub(crate) fn encode(data: &[u8], text: &mut Vec<u8>) {
    for line in data.chunks(BASE85_LINE_BYTES_MAX) {
        text.push(length_letter(line.len()));
        for group in line.chunks(4) {
            let mut word = [0; 4];
            for (slot, byte) in word.iter_mut().zip(group) {
                *slot = *byte;
            }
            let mut value = u32::from_be_bytes(word);
            let mut digits = [b'0'; 5];
            for digit in digits.iter_mut().rev() {
                *digit = ALPHABET.get(value as usize % 85).copied().unwrap_or(b'0');
                value /= 85;
            }
            text.extend_from_slice(&digits);
        }
        text.push(b'\n');
    }
}

/// Appends what one line (without its line feed) stands for; `None` when it is no such line.
pub(crate) fn decode_line(line: &[u8], data: &mut Vec<u8>) -> Option<()> {
    let (letter, digits) = line.split_first()?;
    let length = match letter {
        b'A'..=b'Z' => letter - b'A' + 1,
        b'a'..=b'z' => letter - b'a' + 27,
        _ => return None,
    } as usize;
    if digits.len() != length.div_ceil(4) * 5 {
        return None;
    }
    let end = data.len() + length;
    for group in digits.chunks_exact(5) {
        let mut value = 0u32;
        for digit in group {
            value = value.checked_mul(85)?.checked_add(value_of(*digit)?)?;
        }
        data.extend_from_slice(&value.to_be_bytes());
    }
    data.truncate(end);
    Some(())
}

fn length_letter(length: usize) -> u8 {
    // At most `BASE85_LINE_BYTES_MAX`, which is why it fits.
    let length = u8::try_from(length).unwrap_or(0);
    if length <= 26 { b'A' + length - 1 } else { b'a' + length - 27 }
}

fn value_of(digit: u8) -> Option<u32> {
    VALUES.get(usize::from(digit)).copied().filter(|value| *value < 85).map(u32::from)
}

/// Value of each byte as a digit; 85 where it is none.
const VALUES: [u8; 256] = {
    let mut values = [85; 256];
    let mut value = 0;
    while value < 85 {
        #[allow(clippy::indexing_slicing, reason = "checked when it is compiled")]
        {
            values[ALPHABET[value as usize] as usize] = value;
        }
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// All bytes come back from their lines.
        #[test]
        fn encoding_round_trips(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut text = Vec::new();
            encode(&data, &mut text);
            let mut read = Vec::new();
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                prop_assert!(decode_line(line, &mut read).is_some());
            }
            prop_assert_eq!(read, data);
        }

        /// No line makes the reader panic.
        #[test]
        fn decoding_is_total(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_line(&line, &mut Vec::new());
            let _ = decode_line(&[b"A", &line[..]].concat(), &mut Vec::new());
        }
    }
}
