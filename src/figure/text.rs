//! Text on the canvas: its sizes and widths, and how long text is shortened or broken.

use plotters::prelude::*;

use super::theme;
use crate::error::visible;

/// Size of titles in layout pixels.
pub const TITLE: f64 = 36.0;
/// Size of axis names and legends.
pub const TEXT: f64 = 33.0;
/// Size of numbers.
pub const SMALL: f64 = 30.0;

/// Maximum number of characters of a text; drawing time grows with the length.
const MOST_LETTERS: usize = 160;

/// The text that is drawn: without characters that an SVG cannot hold, and shortened if it is too
/// long.
pub fn shown(text: &str) -> String {
    ends(&visible(text), MOST_LETTERS)
}

/// A name of ordinary length unchanged; a longer one shortened to its two ends.
pub fn short(name: &str) -> String {
    ends(name, 28)
}

/// A name of at most `most` characters unchanged; a longer one shortened to its two ends.
pub fn ends(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= most {
        return name.to_string();
    }
    let (head, tail) = (
        &letters[..most / 2],
        &letters[letters.len() - most / 2 + 2..],
    );
    format!(
        "{}…{}",
        head.iter().collect::<String>(),
        tail.iter().collect::<String>()
    )
}

/// Splits a text at its first subscript: the text before it, the digit, and the text after it.
pub fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = text.split_once('_')?;
    let digit = rest.chars().next().filter(char::is_ascii_digit)?;
    let (digit, tail) = rest.split_at(digit.len_utf8());
    Some((head, digit, tail))
}

/// The width of the leading spaces of a text, which SVG viewers leave out.
pub fn spaces(text: &str, size: f64) -> f64 {
    (text.len() - text.trim_start().len()) as f64 * 0.26 * size
}

/// The width of a text in layout pixels, with subscripts.
pub fn width(text: &str, size: f64) -> f64 {
    if let Some((head, digit, tail)) = split(text) {
        return width(head, size)
            + width(digit, 0.7 * size)
            + spaces(tail, size)
            + width(tail.trim_start(), size);
    }
    word_width(text, size)
}

/// The width in layout pixels of a text that is written unchanged.
pub fn word_width(text: &str, size: f64) -> f64 {
    let text = shown(text);
    let measured = (theme::FONT, size).into_font().box_size(&text);
    measured.map_or(0.5 * size * text.chars().count() as f64, |(width, _)| {
        f64::from(width)
    })
}

/// Breaks a text between words into lines of at most this width, none so long that it would be
/// shortened.
pub fn wrapped(text: &str, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            let longer = format!("{line} {word}");
            if longer.chars().count() <= MOST_LETTERS && width(&longer, SMALL) <= most {
                *line = longer;
                continue;
            }
        }
        lines.push(word.to_string());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_captions_are_broken_between_words() {
        let text = "a caption of several words that are not long";
        let lines = wrapped(text, 200.0);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        assert!(lines.iter().all(|line| width(line, SMALL) <= 200.0));
        let words = "word ".repeat(200);
        let lines = wrapped(words.trim_end(), 1e9);
        assert!(lines.iter().all(|line| shown(line) == *line));
        assert_eq!(lines.join(" "), words.trim_end());
    }
}
