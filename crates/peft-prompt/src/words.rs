//! How a table of prompts starts: at random, or as rows of the model's own word embeddings.

use burn::prelude::*;
use burn::tensor::{DType, Distribution};
use peft_core::{Backbone, Error, Result, draw};

/// Word embeddings drawn with replacement, `[rows, d_model]`.
pub(crate) fn sampled<M: Backbone>(backbone: &M, rows: usize) -> Result<Tensor<2>> {
    let words = Words::of(backbone)?;
    let shares = draw::numbers(rows, Distribution::Uniform(0.0, 1.0), &backbone.device());
    // A share next to one may round up to one.
    let count = words.count;
    let id = |share: f32| ((f64::from(share) * count as f64) as usize).min(count - 1) as i64;
    Ok(words.rows(shares.into_iter().map(id).collect()))
}

/// The word embeddings of the tokens `ids`, repeated or cut to `rows`: `[rows, d_model]`.
pub(crate) fn of_text<M: Backbone>(backbone: &M, ids: &[u32], rows: usize) -> Result<Tensor<2>> {
    let words = Words::of(backbone)?;
    if ids.is_empty() {
        return Err(Error::config("prompt_tuning_init_text", "the text has no tokens; give a longer one"));
    }
    if let Some(id) = ids.iter().find(|&&id| id as usize >= words.count) {
        let reason =
            format!("the token {id} is none of the model's {} tokens; use the model's own tokenizer", words.count);
        return Err(Error::config("tokenizer_name_or_path", reason));
    }
    Ok(words.rows(ids.iter().cycle().take(rows).map(|&id| i64::from(id)).collect()))
}

/// The table of word embeddings.
struct Words {
    table: Tensor<2>,
    count: usize,
}

impl Words {
    fn of<M: Backbone>(backbone: &M) -> Result<Self> {
        let table = backbone.sites().vocabulary().and_then(|entry| backbone.matrix(&entry.site));
        let table = table.filter(|table| table.dims()[0] > 0).ok_or_else(|| {
            Error::config("prompt_tuning_init", "the model has no word embeddings to start from; use RANDOM")
        })?;
        let [count, _] = table.dims();
        Ok(Self { table, count })
    }

    /// A copy in f32, whatever the base is held in.
    fn rows(self, ids: Vec<i64>) -> Tensor<2> {
        let device = self.table.device();
        let len = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [len]), &device);
        Tensor::from_data(self.table.select(0, ids).into_data().convert_dtype(DType::F32), &device)
    }
}
