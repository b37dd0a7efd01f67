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

impl Padded {
    /// The same rows filled up to `width`, if they are not as wide.
    pub fn widened(self, width: usize, pad_id: u32) -> Self {
        if width <= self.width {
            return self;
        }
        let wider = |values: Vec<i64>, filler: i64| {
            let missing = width - self.width;
            let row = |row: usize| values[row * self.width..][..self.width].iter().copied();
            (0..self.rows).flat_map(|at| row(at).chain(std::iter::repeat_n(filler, missing))).collect()
        };
        Self {
            rows: self.rows,
            width,
            ids: wider(self.ids, i64::from(pad_id)),
            type_ids: wider(self.type_ids, 0),
            mask: wider(self.mask, 0),
        }
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
    fn more_padding_is_what_a_longer_row_would_have_brought() {
        let row = |n: u32| Encoded { ids: (1..=n).collect(), type_ids: vec![1; n as usize] };
        let (short, middle, long) = (row(1), row(2), row(4));
        let want = pad(&[&short, &middle, &long], 9);
        let got = pad(&[&short, &middle], 9).widened(4, 9);
        assert_eq!((got.rows, got.width), (2, 4));
        assert_eq!([&got.ids, &got.type_ids, &got.mask], [&want.ids[..8], &want.type_ids[..8], &want.mask[..8]]);
        assert_eq!(want.clone().widened(3, 9), want);
    }

    #[test]
    fn no_row_is_no_batch() {
        assert_eq!(pad(&[], 0).width, 0);
        assert!(pad(&[], 0).ids.is_empty());
    }
}
