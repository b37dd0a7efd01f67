//! Rows of different lengths made into one rectangle.

use crate::tokens::Encoded;

/// A batch's rows, one after the other, each `width` wide. The numbers are `i64` because that is what a tensor of
/// token ids holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Padded {
    /// The number of rows.
    pub rows: usize,
    /// The length of the longest row.
    pub width: usize,
    /// Token ids, filled up with the padding id.
    pub ids: Vec<i64>,
    /// Type ids, filled up with 0.
    pub type_ids: Vec<i64>,
    /// 1 at a token, 0 at padding.
    pub mask: Vec<i64>,
}

/// Pads rows on the right to the longest of them.
pub fn pad(rows: &[&Encoded], pad_id: u32) -> Padded {
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let filled = |values: &[u32], filler: i64| {
        let missing = width - values.len();
        values.iter().map(|&v| i64::from(v)).chain(std::iter::repeat_n(filler, missing)).collect()
    };
    let stacked = |each: &dyn Fn(&Encoded) -> Vec<i64>| rows.iter().flat_map(|r| each(r)).collect();
    Padded {
        rows: rows.len(),
        width,
        ids: stacked(&|row| filled(&row.ids, i64::from(pad_id))),
        type_ids: stacked(&|row| filled(&row.type_ids, 0)),
        mask: stacked(&|row| filled(&vec![1; row.len()], 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_row_sets_the_width() {
        let short = Encoded { ids: vec![101, 102], type_ids: vec![0, 0] };
        let long = Encoded { ids: vec![101, 7, 102, 8], type_ids: vec![0, 0, 0, 1] };
        let padded = pad(&[&short, &long], 9);
        assert_eq!((padded.rows, padded.width), (2, 4));
        assert_eq!(padded.ids, [101, 102, 9, 9, 101, 7, 102, 8]);
        assert_eq!(padded.type_ids, [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(padded.mask, [1, 1, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn no_row_is_no_batch() {
        assert_eq!(pad(&[], 0).width, 0);
        assert!(pad(&[], 0).ids.is_empty());
    }
}
