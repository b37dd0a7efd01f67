//! Sizes of memory in words.

/// What sizes are written in: the units of 1024 before those of 1000, which end alike.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
];

/// The bytes that `text` says: `6GiB`, `1.5 GB`, `500MiB`, or a plain number of them. Units may be in small letters.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(unit, size)| {
        let number = text.len().checked_sub(unit.len()).and_then(|at| text.split_at_checked(at));
        number.filter(|(_, end)| end.eq_ignore_ascii_case(unit)).map(|(number, _)| (number, *size))
    });
    let Some((number, size)) = unit else { return text.parse().ok() };
    let number = number.trim_end();
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * size as f64;
    // Every whole number up to here is one of an f64; no memory is larger.
    (bytes < (1u64 << 53) as f64).then_some(bytes as u64)
}

/// `bytes` in the largest unit of 1024 that they reach, to one digit: `5.8 GiB`.
pub fn show_bytes(bytes: u64) -> String {
    shown(bytes, f64::round)
}

/// The same rounded up: as much as that is enough.
pub(super) fn show_bytes_needed(bytes: u64) -> String {
    shown(bytes, f64::ceil)
}

fn shown(bytes: u64, round: fn(f64) -> f64) -> String {
    match UNITS[..4].iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", round(bytes as f64 / *size as f64 * 10.0) / 10.0),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What `accelerate.utils.convert_file_size_to_int` (Accelerate 1.15) makes of them, and decimals.
    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("1234", 1234),
            ("6GiB", 6_442_450_944),
            ("6 gib", 6_442_450_944),
            ("30GB", 30_000_000_000),
            ("500MiB", 524_288_000),
            ("500MB", 500_000_000),
            ("3KiB", 3072),
            ("3kb", 3000),
            (" 1.5KiB ", 1536),
            ("0.5 GB", 500_000_000),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "6", "-1GB", "1e3MB", "6G", "six GiB", "1.2.3MB", "infGB", "9999999TiB", "1.5", "ü"] {
            assert_eq!(parse_bytes(text), (text == "6").then_some(6), "{text}");
        }
    }

    #[test]
    fn what_is_shown_as_needed_is_enough() {
        assert_eq!(show_bytes(6_442_450_944), "6.0 GiB");
        assert_eq!((show_bytes(1023), show_bytes(1024)), ("1023 bytes".into(), "1.0 KiB".into()));
        assert_eq!((show_bytes(1_100_000), show_bytes_needed(1_100_000)), ("1.0 MiB".into(), "1.1 MiB".into()));
        for bytes in [1025, 109_675, 1_100_000, 6_442_450_945] {
            assert!(parse_bytes(&show_bytes_needed(bytes)).unwrap() >= bytes, "{bytes}");
        }
    }
}
