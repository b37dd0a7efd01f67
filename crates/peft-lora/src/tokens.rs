//! Rows of a table that are trained by themselves: new or rare tokens.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::module::embedding;
use peft_core::EmbeddingOp;

/// Trained rows of a table. They replace those of the base, they are not added to them.
#[derive(Module, Debug)]
pub struct TokenRows {
    /// `[n, d_model]`, in the order of the configuration's indices.
    pub rows: Param<Tensor<2>>,
    /// For each row of the table which of `rows` takes its place; `n` for none. `[rows of the table]`.
    slots: Tensor<1, Int>,
}

impl TokenRows {
    /// The rows of `table` at `indices`, to be trained. Every index is that of a row.
    pub(crate) fn new(table: Tensor<2>, indices: &[usize]) -> Self {
        let (device, rows) = (table.device(), table.dims()[0]);
        let mut slots = vec![indices.len() as i32; rows];
        indices.iter().enumerate().for_each(|(slot, &index)| slots[index] = slot as i32);
        let at: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let chosen = table.detach().select(0, Tensor::from_data(TensorData::from(at.as_slice()), &device));
        Self {
            rows: Param::from_tensor(chosen.detach()),
            slots: Tensor::from_data(TensorData::from(slots.as_slice()), &device),
        }
    }

    /// The look-up with the trained rows in the place of the table's.
    pub(crate) fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = ids.dims();
        let slots = self.slots.clone().select(0, ids.clone().flatten(0, 1)).reshape([batch, seq]);
        self.placed(slots, op.run(ids))
    }

    /// The table with the trained rows in it.
    pub(crate) fn folded(&self, table: Tensor<2>) -> Tensor<2> {
        self.placed(self.slots.clone().unsqueeze(), table.unsqueeze::<3>()).squeeze_dim(0)
    }

    /// `vectors` `[batch, seq, d_model]` with trained rows where `slots` `[batch, seq]` names one.
    fn placed(&self, slots: Tensor<2, Int>, vectors: Tensor<3>) -> Tensor<3> {
        let rows = self.rows.val();
        let [n, d_model] = rows.dims();
        // A row that stands for none, so that every slot can be looked up.
        let rows = Tensor::cat(vec![rows.clone(), Tensor::zeros([1, d_model], &rows.device())], 0);
        let untouched = slots.clone().equal_elem(n as i32).unsqueeze_dim::<3>(2).expand(vectors.dims());
        embedding(rows, slots).mask_where(untouched, vectors)
    }
}
