// SPDX-License-Identifier: GPL-2.0-only

//! Sizes on the command line.

/// Reads a number of bytes, with K, M or G after it.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size such as 4096, 64K or 16M");
    let (digits, shift) = match text.to_ascii_uppercase().strip_suffix(['K', 'M', 'G']) {
        Some(digits) => {
            let shift = match text.as_bytes().last() {
                Some(b'k' | b'K') => 10,
                Some(b'm' | b'M') => 20,
                _ => 30,
            };
            (digits.to_owned(), shift)
        }
        None => (text.to_owned(), 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Reads the size of a guest's memory.
pub fn memory(text: &str) -> Result<u64, String> {
    let bytes = parse(text)?;
    let most = crate::migrate::memory::GuestMemory::MAX;
    if bytes == 0 || bytes > most || bytes % crate::migrate::dirty::PAGE as u64 != 0 {
        return Err(format!(
            "memory is whole pages of 4 KiB, at most {} MiB",
            most >> 20
        ));
    }
    Ok(bytes)
}

/// Reads the size of a buffer, which is not 0.
pub fn buffer(text: &str) -> Result<u64, String> {
    match parse(text)? {
        0 => Err("a buffer has at least one byte".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64K"), Ok(65536));
        assert_eq!(parse("16m"), Ok(16 << 20));
        assert_eq!(parse("1G"), Ok(1 << 30));
        for wrong in ["", "K", "1T", "-1", "99999999999G"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(memory("224M").is_ok());
        assert!(memory("225M").is_err() && memory("100").is_err() && memory("0").is_err());
    }
}
