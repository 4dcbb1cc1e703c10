//! Hexadecimal text of bytes, in small letters.

use std::fmt::Write as _;

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

/// Exactly `N` bytes, in letters of either case.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in digits {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_text() {
        assert_eq!(encode(&[0x00, 0x7f, 0xff]), "007fff");
        assert_eq!(decode::<3>("007fFF"), Some([0x00, 0x7f, 0xff]));
    }

    #[test]
    fn anything_but_the_exact_digits_is_refused() {
        for text in ["", "007f", "007fff00", "007fg0", "+07fff", "é7fff"] {
            assert_eq!(decode::<3>(text), None, "{text}");
        }
    }
}
