//! Relative positions: a number for each head and class of distances, added to the scores.

use burn::prelude::*;
use peft_core::Spans;

use super::config::T5Config;
use super::kept::indices;

/// Which distances are one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    count: usize,
    max_distance: usize,
    /// Whether positions behind one have classes of their own; in a decoder nothing sees them.
    both_ways: bool,
}

impl Buckets {
    pub(super) fn new(config: &T5Config, both_ways: bool) -> Self {
        Self {
            count: config.relative_attention_num_buckets,
            max_distance: config.relative_attention_max_distance,
            both_ways,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The class of a key `distance` positions behind the query. Rounded as the reference does, in f32.
    fn of(&self, distance: i32) -> i32 {
        let count = if self.both_ways { self.count / 2 } else { self.count };
        let (first, far) = match self.both_ways {
            true if distance > 0 => (count as i32, distance),
            true => (0, -distance),
            false => (0, (-distance).max(0)),
        };
        let exact = (count / 2) as i32;
        if far < exact {
            return first + far;
        }
        let scale = (self.max_distance as f64 / exact as f64).ln() as f32;
        let log = (far as f32 / exact as f32).ln() / scale * (count as i32 - exact) as f32;
        first + (exact + log as i32).min(count as i32 - 1)
    }
}

/// What a stack's positions are told by.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    pub(super) buckets: Buckets,
    /// `[1 or batch, classes, heads]`.
    pub(super) table: Tensor<3>,
    pub(super) rows: usize,
    /// Virtual tokens in front of the text.
    pub(super) prompt: Spans,
}

impl Positions {
    /// Those of the rows at `rows`, in that order.
    pub(super) fn select(self, rows: &[usize]) -> Self {
        let device = self.table.device();
        let table = match self.table.dims()[0] {
            1 => self.table,
            _ => self.table.select(0, indices(rows.iter().copied(), &device)),
        };
        Self { table, rows: rows.len(), prompt: self.prompt.select(rows), ..self }
    }
}

/// The bias of a stack's self-attentions, made once for a forward pass and again where a layer has another prefix.
pub(super) struct RelativeBias {
    positions: Positions,
    text: usize,
    /// Whether the text's last position is the only one that reads.
    last: bool,
    made: Option<(Spans, Tensor<4>)>,
}

impl RelativeBias {
    /// Of a stack that reads `text` positions behind its prompt.
    pub(super) fn new(positions: Positions, text: usize) -> Self {
        Self { positions, text, last: false, made: None }
    }

    /// The same for the last of the `text` positions alone.
    pub(super) fn of_last(self) -> Self {
        Self { last: true, ..self }
    }

    /// Goes to `device`, where the layer that comes next is.
    pub(super) fn go_to(&mut self, device: &Device) {
        if self.positions.table.device() != *device {
            self.positions.table = self.positions.table.clone().to_device(device);
            self.made = self.made.take().map(|(spans, bias)| (spans, bias.to_device(device)));
        }
    }

    /// That of an attention with such a prefix, `[1 or batch, heads, seq, prefix + seq]`, with one query where the last
    /// position alone reads.
    pub(super) fn of(&mut self, prefix: &Spans) -> Tensor<4> {
        match &self.made {
            Some((spans, bias)) if spans == prefix => bias.clone(),
            _ => {
                let bias = self.make(prefix);
                self.made = Some((prefix.clone(), bias.clone()));
                bias
            }
        }
    }

    /// `[1 or batch, heads, seq, prefix + seq]`, or `[1 or batch, heads, 1, prefix + seq]` for the last position.
    fn make(&self, prefix: &Spans) -> Tensor<4> {
        let Positions { buckets, table, rows: count, prompt } = &self.positions;
        let queries = match self.last {
            true => vec![vec![self.text as i32 - 1]],
            false => self.positions(prompt),
        };
        let keys = self.positions(&prefix.clone().then(prompt.clone()));
        let [_, classes, heads] = table.dims();
        let of_row = |row: usize| {
            let (queries, keys) = (&queries[row.min(queries.len() - 1)], &keys[row.min(keys.len() - 1)]);
            let classes: Vec<i32> =
                queries.iter().flat_map(|query| keys.iter().map(move |key| buckets.of(key - query))).collect();
            let classes = Tensor::<1, Int>::from_data(TensorData::from(classes.as_slice()), &table.device());
            (classes, [queries.len(), keys.len()])
        };
        let look_up = |table: Tensor<3>, row: usize| {
            let (classes, [queries, keys]) = of_row(row);
            let rows = table.dims()[0];
            table.select(1, classes).reshape([rows, queries, keys, heads]).permute([0, 3, 1, 2])
        };
        if queries.len() == 1 && keys.len() == 1 {
            return look_up(table.clone(), 0);
        }
        let table = table.clone().expand([*count, classes, heads]);
        Tensor::cat((0..*count).map(|row| look_up(table.clone().narrow(0, row, 1), row)).collect(), 0)
    }

    /// The position of each virtual token and of the text, which begins at 0, on each row; of one row where all are the
    /// same. A token that a row does not use takes no position.
    fn positions(&self, spans: &Spans) -> Vec<Vec<i32>> {
        let (width, count) = (spans.width(), self.positions.rows);
        let of_row = |row: usize| {
            let used: Vec<bool> = spans.used(row).collect();
            let mut positions: Vec<i32> = (0..width as i32).map(|i| i - width as i32).collect();
            let mut next = 0;
            for i in (0..width).rev().filter(|&i| used[i]) {
                next -= 1;
                positions[i] = next;
            }
            positions.extend(0..self.text as i32);
            positions
        };
        if spans.is_empty() {
            return vec![of_row(0)];
        }
        let mut rows: Vec<Vec<i32>> = (0..count).map(of_row).collect();
        rows.dedup();
        if rows.len() > 1 {
            rows = (0..count).map(of_row).collect();
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Hugging Face Transformers 5.23.0, T5Attention._relative_position_bucket, 32 classes, maximal distance 128.
    #[test]
    fn distances_fall_into_the_references_classes() {
        let of = |both_ways: bool| {
            let buckets = Buckets { count: 32, max_distance: 128, both_ways };
            [-200, -127, -64, -17, -16, -15, -8, -7, -1, 0, 1, 7, 8, 9, 31, 91, 128].map(|d| buckets.of(d))
        };
        assert_eq!(of(true), [15, 15, 14, 10, 10, 9, 8, 7, 1, 0, 17, 23, 24, 24, 27, 31, 31]);
        assert_eq!(of(false), [31, 31, 26, 16, 16, 15, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_token_that_is_not_used_takes_no_position() {
        let buckets = Buckets { count: 4, max_distance: 8, both_ways: true };
        let table = Tensor::zeros([1, 4, 1], &Device::flex());
        let of = |spans: Spans| {
            let positions = Positions { buckets, table: table.clone(), rows: 2, prompt: spans.clone() };
            RelativeBias::new(positions, 2).positions(&spans)
        };
        assert_eq!(of(Spans::none()), [[0, 1]]);
        assert_eq!(of(Spans::ragged(vec![1, 2])), [[-2, -1, 0, 1]]);
        let gap = of(Spans::uniform(1, 2).then(Spans::ragged(vec![0, 1])));
        assert_eq!(gap, [[-1, -1, 0, 1], [-2, -1, 0, 1]]);
    }
}
