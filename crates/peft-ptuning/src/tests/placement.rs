//! In front of the text, and inside it.

use burn::prelude::*;
use peft_core::nn::Embedding;
use peft_core::tensors::import;
use peft_core::{Adapters, BASE, Backbone, BatchRows, Hooks, Identity, Method, Pooling, Site, SiteKind};
use peft_testing::{HIDDEN, Mini, close, far};

use super::{SLOT, batch, config, mini};
use crate::{PTuning, PTuningConfig};

const S: i64 = SLOT as i64;

/// A prompt whose number at `[token, column]` is `10·token + column`, plus 1,000.
fn numbered(config: &PTuningConfig, mini: &Mini) -> PTuning {
    let values: Vec<f32> = (0..3 * HIDDEN).map(|i| (1000 + 10 * (i / HIDDEN) + i % HIDDEN) as f32).collect();
    let file = [("prompt_embeddings".to_string(), TensorData::new(values, [3, HIDDEN]))].into();
    import(config.init_for_loading(mini).unwrap(), file).unwrap()
}

/// The embedded text of a batch, `[rows, seq, HIDDEN]`, by the model's own word embeddings.
fn embedded(mini: &Mini, ids: Tensor<2, Int>, hooks: &dyn Hooks) -> Tensor<3> {
    let entry = mini.sites().vocabulary().unwrap();
    let SiteKind::Embedding { rows, d_model, .. } = entry.kind else { unreachable!("a table") };
    let mut words = Embedding::new(entry.site.clone(), rows, d_model, &mini.device());
    words.weight = burn::module::Param::from_tensor(mini.matrix(&entry.site).unwrap());
    words.forward(ids, hooks)
}

/// Which virtual token stands at each position, if one does.
fn tokens(x: Tensor<3>) -> Vec<Option<usize>> {
    let values: Vec<f32> = x.into_data().iter().collect();
    values.chunks(HIDDEN).map(|row| (row[0] >= 1000.0).then(|| (row[0] as usize - 1000) / 10)).collect()
}

#[test]
fn slots_take_the_virtual_tokens_in_order() {
    let (device, mini) = mini();
    let prompt = numbered(&config().with_slots(SLOT), &mini);
    let ids = batch(&[[S, 3, S, S, 4], [1, 2, 3, 4, 5], [7, S, 8, 9, 7]], &device);
    let got = embedded(&mini, ids.clone(), &prompt);
    let none = None;
    let row = |row: usize| tokens(got.clone().narrow(0, row, 1));
    assert_eq!(row(0), [Some(0), none, Some(1), Some(2), none]);
    assert_eq!(row(1), [none; 5]);
    assert_eq!(row(2), [none, Some(0), none, none, none]);
    // Elsewhere the words are the model's.
    let base = embedded(&mini, ids, &Identity);
    close(got.clone().narrow(0, 1, 1), base.clone().narrow(0, 1, 1));
    close(got.narrow(0, 2, 1).narrow(1, 2, 3), base.narrow(0, 2, 1).narrow(1, 2, 3));
}

#[test]
fn slots_beyond_the_last_virtual_token_keep_the_models_embedding() {
    let (device, mini) = mini();
    let prompt = numbered(&config().with_slots(SLOT), &mini);
    let ids = batch(&[[S, S, S, S, S]], &device);
    let got = embedded(&mini, ids.clone(), &prompt);
    assert_eq!(tokens(got.clone()), [Some(0), Some(1), Some(2), None, None]);
    close(got.narrow(1, 3, 2), embedded(&mini, ids, &Identity).narrow(1, 3, 2));
}

#[test]
fn inside_the_text_nothing_is_put_in_front() {
    let (device, mini) = mini();
    let input = mini.sites().inputs().next().unwrap().0.site.clone();
    let words = mini.sites().vocabulary().unwrap().site.clone();
    let (inside, front) = (config().with_slots(SLOT).init(&mini).unwrap(), config().init(&mini).unwrap());
    assert!(inside.prompt(&input, &BatchRows::new(1)).is_none());
    assert_eq!((inside.sites(), front.sites()), (vec![words], vec![input.clone()]));
    assert_eq!(front.prompt(&input, &BatchRows::new(2)).unwrap().embeddings.dims(), [2, 3, HIDDEN]);
    assert!(front.prompt(&Site::new("elsewhere", "elsewhere"), &BatchRows::new(2)).is_none());
    // A text without slots is the base's.
    let text = batch(&[[1, 2, 3, 4, 5]], &device);
    close(mini.forward(text.clone(), &inside), mini.forward(text, &Identity));
}

/// Both placements of one prompt in one batch, and the base.
#[test]
fn rows_of_both_placements_share_a_batch() {
    let (device, mini) = mini();
    let mut adapters = Adapters::default();
    adapters.add("front", numbered(&config(), &mini)).unwrap();
    adapters.add("inside", numbered(&config().with_slots(SLOT), &mini)).unwrap();
    let names = ["inside", BASE, "front", "inside"];
    let ids = batch(&[[S, 3, S, S, 4], [1, S, 3, 4, 5], [S, 2, 3, 4, 5], [1, 2, 3, 4, S]], &device);
    let mixed = mini.forward(ids.clone(), &adapters.route(&names).unwrap());
    for (row, name) in names.into_iter().enumerate() {
        let alone = mini.forward(ids.clone().narrow(0, row, 1), &adapters.route(&[name]).unwrap());
        close(mixed.clone().narrow(0, row, 1), alone);
    }
}

#[test]
fn the_model_pools_where_the_prompt_says() {
    let (device, mini) = mini();
    let input = mini.sites().inputs().next().unwrap().0.site.clone();
    let ids = batch(&[[1, 2, 3, 4, 5]], &device);
    let under = |pooling| {
        let prompt = numbered(&config().with_pooling(pooling), &mini);
        (prompt.prompt(&input, &BatchRows::new(1)).unwrap().pooled_at(0), mini.forward(ids.clone(), &prompt))
    };
    let ((first, at_first), (text, at_text)) = (under(Pooling::First), under(Pooling::Text));
    assert_eq!((first, text), (0, 3));
    far(at_first, at_text);
}

#[test]
fn a_slot_that_is_no_token_is_named() {
    let (_, mini) = mini();
    let error = config().with_slots(20).init(&mini).unwrap_err().to_string();
    assert!(error.contains("slot_token_id: 20 is none of the model's 20 tokens"), "{error}");
}

/// An encoder with a decoder has the tokens twice, and the encoder reads the first half of what one network makes.
#[test]
fn an_encoder_with_a_decoder_uses_the_first_half() {
    let (_, mini) = mini();
    let input = mini.sites().inputs().next().unwrap().0.site.clone();
    let config = PTuningConfig { num_transformer_submodules: Some(2), ..config().with_lstm(1) };
    let prompt = config.init(&mini).unwrap();
    assert_eq!(prompt.table().dims(), [6, HIDDEN]);
    let given = prompt.prompt(&input, &BatchRows::new(1)).unwrap().embeddings;
    close(given.squeeze_dim::<2>(0), prompt.table().narrow(0, 0, 3));
}
