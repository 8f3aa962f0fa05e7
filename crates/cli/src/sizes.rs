//! Numbers of bytes in words.

/// In the largest unit that leaves a number of at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"B");
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = next;
    }
    if *unit == "B" { format!("{bytes}B") } else { format!("{value:.1}{unit}") }
}

/// What was freed.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}

#[cfg(test)]
mod tests {
    use super::bytes;

    /// A size is one word, short enough for a line.
    #[test]
    fn sizes_are_words() {
        let words: Vec<String> = [0, 1023, 1024, 1536, 5 << 20, 3 << 30, u64::MAX].map(bytes).into();
        assert_eq!(words, ["0B", "1023B", "1.0KiB", "1.5KiB", "5.0MiB", "3.0GiB", "16777216.0TiB"]);
    }
}
