//! The order of the rows. Padding is work thrown away, so rows of like length go together; training wants chance,
//! so only within a stretch of fifty batches, and the batches are shuffled again.

use crate::error::DataError;
use crate::random::Random;

/// Batches of like length that are sorted together.
const STRETCH: usize = 50;

/// How rows are put into batches.
///
/// ```
/// use peft_data::BatchPlan;
///
/// let plan = BatchPlan::new(&[3, 9, 4, 8, 5], 2)?;
/// assert_eq!(plan.in_order(), [vec![1, 3], vec![4, 2], vec![0]]);
/// assert_eq!(plan.epoch(42, 0), plan.epoch(42, 0));
/// # Ok::<(), peft_data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BatchPlan {
    lengths: Vec<usize>,
    batch_size: usize,
    max_tokens: Option<usize>,
}

impl BatchPlan {
    /// A plan for rows of these lengths, with at most `batch_size` rows in a batch.
    pub fn new(lengths: &[usize], batch_size: usize) -> Result<Self, DataError> {
        if batch_size == 0 {
            return Err(DataError::ZeroBatch { what: "the batch size" });
        }
        Ok(Self { lengths: lengths.to_vec(), batch_size, max_tokens: None })
    }

    /// Bounds a batch's tokens, padding included (rows × longest), as well as its rows. A row that is longer than
    /// this alone becomes a batch of its own.
    pub fn max_tokens(mut self, max_tokens: Option<usize>) -> Result<Self, DataError> {
        if max_tokens == Some(0) {
            return Err(DataError::ZeroBatch { what: "the bound on a batch's tokens" });
        }
        self.max_tokens = max_tokens;
        Ok(self)
    }

    /// The batches of one pass over the data: every row once, in an order that `(seed, epoch)` alone decides.
    /// Without a bound on tokens at most one batch is smaller than the others.
    pub fn epoch(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut random = Random::new(seed, epoch);
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        random.shuffle(&mut order);
        let mut batches = Vec::new();
        for stretch in order.chunks_mut(self.batch_size.saturating_mul(STRETCH)) {
            self.cut(stretch, &mut batches);
        }
        random.shuffle(&mut batches);
        batches
    }

    /// The batches for evaluation: every row once, the longest first, so that a batch too large for the memory
    /// fails at once. The indices put the predictions back into the data's order.
    pub fn in_order(&self) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        let mut batches = Vec::new();
        self.cut(&mut order, &mut batches);
        batches
    }

    /// The number of batches in `epochs` passes, which a schedule needs before the first. With a bound on tokens
    /// it depends on the seed.
    pub fn steps(&self, seed: u64, epochs: u64) -> usize {
        match self.max_tokens {
            None => self.lengths.len().div_ceil(self.batch_size) * epochs as usize,
            Some(_) => (0..epochs).map(|epoch| self.epoch(seed, epoch).len()).sum(),
        }
    }

    /// Sorts rows by length, longest first (equal ones stay as they are), and cuts them into batches.
    fn cut(&self, rows: &mut [usize], batches: &mut Vec<Vec<usize>>) {
        rows.sort_by_key(|&row| std::cmp::Reverse(self.lengths[row]));
        let mut rest = &*rows;
        while let Some(&longest) = rest.first() {
            let room = match self.max_tokens {
                Some(tokens) => (tokens / self.lengths[longest].max(1)).clamp(1, self.batch_size),
                None => self.batch_size,
            };
            let (batch, after) = rest.split_at(room.min(rest.len()));
            batches.push(batch.to_vec());
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn lengths(rows: usize) -> Vec<usize> {
        (0..rows).map(|row| 5 + (row * 7919) % 97).collect()
    }

    fn padding(batches: &[Vec<usize>], lengths: &[usize]) -> usize {
        let wasted = |batch: &Vec<usize>| {
            let longest = batch.iter().map(|&row| lengths[row]).max().unwrap_or(0);
            batch.iter().map(|&row| longest - lengths[row]).sum::<usize>()
        };
        batches.iter().map(wasted).sum()
    }

    #[rstest]
    #[case(0, 8, None)]
    #[case(1, 8, None)]
    #[case(64, 8, None)]
    #[case(1003, 8, None)]
    #[case(1003, 1, None)]
    #[case(10, 1000, None)]
    #[case(10, usize::MAX, None)]
    #[case(1003, 8, Some(128))]
    #[case(100, 8, Some(1))]
    fn laws(#[case] rows: usize, #[case] size: usize, #[case] tokens: Option<usize>) {
        let lengths = lengths(rows);
        let plan = BatchPlan::new(&lengths, size).unwrap().max_tokens(tokens).unwrap();
        let mut total = 0;
        for epoch in 0..3 {
            let batches = plan.epoch(7, epoch);
            total += batches.len();
            assert_eq!(batches, plan.epoch(7, epoch));
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>(), "each row once");
            assert!(batches.iter().all(|batch| (1..=size).contains(&batch.len())));
            match tokens {
                None => assert!(batches.iter().filter(|batch| batch.len() < size).count() <= 1),
                Some(tokens) => assert!(batches.iter().all(|batch| {
                    let longest = batch.iter().map(|&row| lengths[row]).max().unwrap_or(0);
                    batch.len() == 1 || batch.len() * longest <= tokens
                })),
            }
        }
        assert_eq!(plan.steps(7, 3), total);
        let mut all = plan.in_order().concat();
        assert!(all.is_sorted_by_key(|&row| std::cmp::Reverse(lengths[row])));
        all.sort_unstable();
        assert_eq!(all, (0..rows).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let plan = BatchPlan::new(&lengths(200), 8).unwrap();
        assert_ne!(plan.epoch(7, 0), plan.epoch(7, 1));
        assert_ne!(plan.epoch(7, 0), plan.epoch(8, 0));
    }

    #[test]
    fn sorting_saves_padding() {
        let lengths = lengths(4000);
        let plan = BatchPlan::new(&lengths, 16).unwrap();
        let unsorted: Vec<Vec<usize>> = (0..4000).collect::<Vec<_>>().chunks(16).map(<[usize]>::to_vec).collect();
        let (sorted, unsorted) = (padding(&plan.epoch(0, 0), &lengths), padding(&unsorted, &lengths));
        assert!(sorted * 10 < unsorted, "{sorted} against {unsorted}");
    }

    #[test]
    fn zero_is_refused() {
        let error = BatchPlan::new(&[1], 0).unwrap_err().to_string();
        assert!(error.starts_with("the batch size is 0"), "{error}");
        assert!(BatchPlan::new(&[1], 1).unwrap().max_tokens(Some(0)).is_err());
    }
}
