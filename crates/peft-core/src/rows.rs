//! What hooks are told of the rows of a batch.

use std::sync::Arc;

/// The rows of a batch: how many there are and, in multi-task training, whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchRows {
    count: usize,
    tasks: Option<Arc<[usize]>>,
}

impl BatchRows {
    /// `count` rows of no task in particular.
    pub fn new(count: usize) -> Self {
        Self { count, tasks: None }
    }

    /// A row for each of `tasks`, by the task's index.
    pub fn of_tasks(tasks: impl Into<Arc<[usize]>>) -> Self {
        let tasks = tasks.into();
        Self { count: tasks.len(), tasks: Some(tasks) }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The task of a row; 0 where none was named.
    pub fn task(&self, row: usize) -> usize {
        self.tasks.as_ref().map_or(0, |tasks| tasks[row])
    }

    /// The rows at `indices`, in that order; one may be named several times.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, indices: &[usize]) -> Self {
        assert!(indices.iter().all(|&row| row < self.count), "rows {indices:?} of {}", self.count);
        let tasks = self.tasks.as_ref().map(|tasks| indices.iter().map(|&row| tasks[row]).collect());
        Self { count: indices.len(), tasks }
    }
}
