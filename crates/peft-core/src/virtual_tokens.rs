//! Positions that no input token stands for: prefixes in keys and values, prompts in the embeddings.
//!
//! Rows of one batch may run under adapters of different lengths. Their virtual positions share one width,
//! and a row that has fewer leaves the first ones unused; [`Spans`] says how many each row really has, so that
//! the model can mask the rest and number the positions as if they were not there.

use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// The virtual positions of a batch: stretches of fixed width, each used by every row up to its own length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    width: usize,
    /// Positions in use on each row; they are the last ones of the span.
    lengths: Vec<usize>,
}

impl Spans {
    /// No virtual positions.
    pub fn none() -> Self {
        Self::default()
    }

    /// `n` positions on each of `rows` rows.
    pub fn uniform(n: usize, rows: usize) -> Self {
        Self::ragged(vec![n; rows])
    }

    /// `lengths[i]` positions on row `i`, as wide as the longest.
    pub fn ragged(lengths: Vec<usize>) -> Self {
        let width = lengths.iter().copied().max().unwrap_or(0);
        if width == 0 { Self::none() } else { Self(vec![Span { width, lengths }]) }
    }

    /// These, and `next` behind them.
    pub fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    /// Those of the rows at `rows`, in that order, as wide as before.
    pub fn select(&self, rows: &[usize]) -> Self {
        let of = |span: &Span| Span { lengths: rows.iter().map(|&row| span.lengths[row]).collect(), ..span.clone() };
        Self(self.0.iter().map(of).collect())
    }

    /// Total number of positions, used or not.
    pub fn width(&self) -> usize {
        self.0.iter().map(|span| span.width).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many positions `row` really has.
    pub fn len(&self, row: usize) -> usize {
        self.0.iter().map(|span| span.lengths[row]).sum()
    }

    /// Which of the [`width`](Self::width) positions `row` uses.
    pub fn used(&self, row: usize) -> impl Iterator<Item = bool> {
        self.0.iter().flat_map(move |span| {
            let unused = span.width - span.lengths[row];
            (0..span.width).map(move |i| i >= unused)
        })
    }

    /// The first position that `row` uses, virtual or, after all of them, its text's first.
    pub fn first(&self, row: usize) -> usize {
        self.used(row).position(|used| used).unwrap_or(self.width())
    }

    /// `[rows, width]`: one where a position is in use.
    pub fn mask(&self, rows: usize, device: &Device) -> Tensor<2, Int> {
        let used: Vec<i32> = (0..rows).flat_map(|row| self.used(row)).map(i32::from).collect();
        Tensor::from_data(TensorData::new(used, [rows, self.width()]), device)
    }
}

/// Key and value positions, each `[rows, n_heads, width, d_head]`.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// Keys.
    pub key: Tensor<4>,
    /// Values.
    pub value: Tensor<4>,
}

impl KeyValue {
    /// These positions, and `next` behind them.
    pub fn then(self, next: Self) -> Self {
        Self { key: Tensor::cat(vec![self.key, next.key], 2), value: Tensor::cat(vec![self.value, next.value], 2) }
    }
}

/// Where a model with a prompt in front of its text takes the state of the whole sequence from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// At the first position, which is the first virtual token: what the reference does.
    #[default]
    First,
    /// At the text's first position (`[CLS]`).
    Text,
}

impl Pooling {
    /// Whether it is the text's first position.
    pub fn at_text(self) -> bool {
        self == Self::Text
    }
}

/// Virtual tokens: embeddings and how many of them each row uses.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// `[rows, width, d_model]`.
    pub embeddings: Tensor<3>,
    /// Which positions are in use.
    pub spans: Spans,
    /// Which rows are pooled at their text's first position (`[CLS]`) instead of at their first virtual token.
    pub pooled_at_text: Vec<bool>,
}

impl Prompt {
    /// The same virtual tokens, `[n, d_model]`, on each of `rows` rows.
    pub fn shared(tokens: Tensor<2>, rows: usize, pooled_at_text: bool) -> Self {
        Self::new(tokens.unsqueeze_dim::<3>(0).repeat_dim(0, rows), pooled_at_text)
    }

    /// As many virtual tokens on each row, `[rows, n, d_model]`.
    pub fn new(embeddings: Tensor<3>, pooled_at_text: bool) -> Self {
        let [rows, n, _] = embeddings.dims();
        Self { embeddings, spans: Spans::uniform(n, rows), pooled_at_text: vec![pooled_at_text; rows] }
    }

    /// This prompt, and `next` behind it. A row is pooled where the last that has positions on it says.
    pub fn then(self, next: Self) -> Self {
        let says =
            |(row, (own, next_says)): (usize, (bool, bool))| if next.spans.len(row) > 0 { next_says } else { own };
        let both = self.pooled_at_text.into_iter().zip(next.pooled_at_text);
        Self {
            embeddings: Tensor::cat(vec![self.embeddings, next.embeddings], 1),
            pooled_at_text: both.enumerate().map(says).collect(),
            spans: self.spans.then(next.spans),
        }
    }

    /// The position at which `row` is pooled.
    pub fn pooled_at(&self, row: usize) -> usize {
        if self.pooled_at_text[row] { self.spans.width() } else { self.spans.first(row) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_rows_leave_the_first_positions_unused() {
        let spans = Spans::ragged(vec![2, 0, 3]);
        assert_eq!(spans.width(), 3);
        assert_eq!((spans.len(0), spans.len(1), spans.len(2)), (2, 0, 3));
        assert_eq!(spans.used(0).collect::<Vec<_>>(), [false, true, true]);
        assert!(spans.used(1).all(|used| !used));
        assert_eq!((spans.first(0), spans.first(1), spans.first(2)), (1, 3, 0));
    }

    #[test]
    fn a_row_is_pooled_where_the_last_with_positions_on_it_says() {
        let embeddings = Tensor::<3>::zeros([2, 1, 4], &Device::flex());
        let prompt = |pooled_at_text, spans| Prompt { spans, ..Prompt::new(embeddings.clone(), pooled_at_text) };
        let both = prompt(true, Spans::uniform(1, 2)).then(prompt(false, Spans::ragged(vec![1, 0])));
        assert_eq!((both.pooled_at(0), both.pooled_at(1)), (0, 2));
        let both = prompt(false, Spans::ragged(vec![1, 0])).then(prompt(true, Spans::uniform(1, 2)));
        assert_eq!((both.pooled_at(0), both.pooled_at(1)), (2, 2));
    }

    #[test]
    fn spans_add_up_in_order() {
        let spans = Spans::uniform(1, 2).then(Spans::ragged(vec![0, 2]));
        assert_eq!(spans.width(), 3);
        assert_eq!(spans.used(0).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(spans.len(1), 3);
        assert!(Spans::ragged(vec![0, 0]).is_empty());
        let few = spans.select(&[0, 0]);
        assert_eq!((few.width(), few.len(0), few.len(1)), (3, 1, 1));
    }
}
