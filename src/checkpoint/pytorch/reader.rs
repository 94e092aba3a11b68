//! Reads numbers, texts and lines of a pickle's bytes, which are never copied.

use bytes::Bytes;

use super::outcome::Outcome;

/// A position in the bytes of a file.
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// A reader that begins at `at`.
    pub fn new(bytes: Bytes, at: usize) -> Self {
        Self { bytes, at }
    }

    /// The position, in bytes from the beginning of the file.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next bytes, as many as asked for.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn take(&mut self, len: usize) -> Outcome<Bytes> {
        let end = self.at.checked_add(len);
        let end = end.filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("it ends within its pickle: was the copy or download cut short?")?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// When the file ends.
    pub fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    /// The next number of `N` bytes, without sign, the lowest byte first.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn number<const N: usize>(&mut self) -> Outcome<u64> {
        let taken = self.take(N)?;
        let digits = taken.iter().rev();
        Ok(digits.fold(0, |sum, &digit| (sum << 8) | u64::from(digit)))
    }

    /// The next `N` bytes as a length.
    ///
    /// # Errors
    /// When the file ends before, or the length cannot be.
    pub fn len<const N: usize>(&mut self) -> Outcome<usize> {
        let len = self.number::<N>()?;
        usize::try_from(len).map_err(|_| format!("it claims to hold {len} bytes at one place"))
    }

    /// Bytes that follow their own length, which takes `N` bytes.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn counted<const N: usize>(&mut self) -> Outcome<Bytes> {
        let len = self.len::<N>()?;
        self.take(len)
    }

    /// The rest of a line, without its end.
    ///
    /// # Errors
    /// When no line ends before the file does.
    pub fn line(&mut self) -> Outcome<Bytes> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n');
        let len = len.ok_or("it ends within its pickle: was the copy or download cut short?")?;
        let line = self.take(len)?;
        self.at += 1;
        Ok(line)
    }
}

/// An integer in two's complement, the lowest byte first; `None` if it exceeds 64 bits.
pub fn long(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|&top| top >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}
