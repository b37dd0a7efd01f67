//! Prompts of one task.

use burn::module::Module;
use burn::prelude::*;
use peft_core::draw;
use peft_core::tensors::{export, parameters};
use peft_core::{Backbone, BatchRows, Hooks, Identity, Method, Pooling, Site};
use peft_testing::{Case, HIDDEN, Mini, VOCABULARY, close, far, ids};
use rstest::rstest;

use super::{counting, loaded, tokens};
use crate::{PromptConfig, SoftPrompt};

fn reference() -> PromptConfig {
    PromptConfig::new(3).with_pooling(Pooling::First)
}

fn text() -> PromptConfig {
    PromptConfig::new(5).with_text("a text", "a tokenizer")
}

fn random() -> Case<SoftPrompt> {
    Case {
        init: |mini| PromptConfig::new(3).init(mini).unwrap(),
        init_for_loading: |mini| PromptConfig::new(3).init_for_loading(mini).unwrap(),
        starts_as_base: false,
    }
}

fn pooled_first() -> Case<SoftPrompt> {
    Case {
        init: |mini| reference().init(mini).unwrap(),
        init_for_loading: |mini| reference().init_for_loading(mini).unwrap(),
        ..random()
    }
}

fn vocabulary() -> Case<SoftPrompt> {
    Case { init: |mini| PromptConfig::new(3).with_vocabulary().init(mini).unwrap(), ..random() }
}

fn from_text() -> Case<SoftPrompt> {
    Case {
        init: |mini| text().init_with_text_ids(mini, &[4, 2]).unwrap(),
        init_for_loading: |mini| text().init_for_loading(mini).unwrap(),
        ..random()
    }
}

peft_testing::laws!(SoftPrompt {
    random => random(),
    pooled_first => pooled_first(),
    vocabulary => vocabulary(),
    from_text => from_text(),
});

/// Which rows of the word embeddings the prompt's are.
fn words(mini: &Mini, prompt: &SoftPrompt) -> Vec<usize> {
    let vocabulary = mini.sites().vocabulary().unwrap();
    let rows = |table: Tensor<2>| -> Vec<Vec<f32>> {
        let values: Vec<f32> = table.into_data().iter().collect();
        values.chunks(HIDDEN).map(<[f32]>::to_vec).collect()
    };
    let table = rows(mini.matrix(&vocabulary.site).unwrap());
    rows(prompt.table()).iter().map(|row| table.iter().position(|word| word == row).expect("a word")).collect()
}

#[rstest]
#[case(&[4, 2], &[4, 2, 4, 2, 4])]
#[case(&[4, 2, 9, 1, 7, 3], &[4, 2, 9, 1, 7])]
#[case(&[8, 1, 0, 2, 6], &[8, 1, 0, 2, 6])]
fn a_text_is_repeated_or_cut(#[case] ids: &[u32], #[case] starts_as: &[usize]) {
    let mini = Mini::new(&Device::flex());
    assert_eq!(words(&mini, &text().init_with_text_ids(&mini, ids).unwrap()), starts_as);
}

#[test]
fn words_are_drawn_from_the_whole_vocabulary_with_replacement() {
    let device = Device::flex();
    let mini = Mini::new(&device);
    draw::seed(&device, 5);
    let config = PromptConfig::new(40 * VOCABULARY).with_vocabulary();
    let mut drawn = words(&mini, &config.init(&mini).unwrap());
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn, (0..VOCABULARY).collect::<Vec<_>>());
}

#[test]
fn random_prompts_are_of_unit_variance() {
    let device = Device::flex();
    draw::seed(&device, 2);
    let table = PromptConfig::new(500).init(&Mini::new(&device)).unwrap().table();
    let (mean, deviation) = (table.clone().mean().into_scalar::<f32>(), (table.powf_scalar(2.0)).mean().sqrt());
    assert!(mean.abs() < 0.05, "{mean}");
    assert!((deviation.into_scalar::<f32>() - 1.0).abs() < 0.05);
}

#[test]
fn every_row_gets_the_table() {
    let mini = Mini::new(&Device::flex());
    let prompt = PromptConfig::new(2).init_for_loading(&mini).unwrap();
    let prompt = loaded(prompt, &[("prompt_embeddings", counting([2, HIDDEN], 0))]);
    let got = tokens(&mini, &prompt, &BatchRows::new(3));
    let values: Vec<f32> = counting([2, HIDDEN], 0).iter().collect();
    assert_eq!(got.dims(), [3, 2, HIDDEN]);
    assert_eq!(got.into_data().iter::<f32>().collect::<Vec<_>>(), values.repeat(3));
    assert!(prompt.prompt(&Site::new("elsewhere", "elsewhere"), &BatchRows::new(3)).is_none());
    assert_eq!(prompt.num_params(), 2 * HIDDEN);
}

#[test]
fn an_encoder_with_a_decoder_has_a_table_of_two_halves() {
    let mini = Mini::new(&Device::flex());
    let config = PromptConfig { num_transformer_submodules: Some(2), ..PromptConfig::new(2) };
    let prompt = config.init_for_loading(&mini).unwrap();
    let prompt = loaded(prompt, &[("prompt_embeddings", counting([4, HIDDEN], 0))]);
    let got: Vec<f32> = tokens(&mini, &prompt, &BatchRows::new(1)).into_data().iter().collect();
    assert_eq!(got, counting([2, HIDDEN], 0).iter::<f32>().collect::<Vec<_>>());
    assert_eq!(parameters(&prompt)["prompt_embeddings"].shape().to_vec(), [4, HIDDEN]);
}

/// Tokens before `[CLS]` change what is read there; at the first virtual token something else is read.
#[test]
fn the_model_pools_where_the_prompt_says() {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let table = counting([3, HIDDEN], 0);
    let under = |pooling| {
        let prompt = PromptConfig::new(3).with_pooling(pooling).init_for_loading(&mini).unwrap();
        let prompt = loaded(prompt, &[("prompt_embeddings", table.clone())]);
        let input = mini.sites().inputs().next().unwrap().0.site.clone();
        let given = prompt.prompt(&input, &BatchRows::new(2)).unwrap();
        (mini.forward(ids(2, &device), &prompt), given.pooled_at(1))
    };
    let ((first, at_first), (text, at_text)) = (under(Pooling::First), under(Pooling::Text));
    assert_eq!((at_first, at_text), (0, 3));
    far(first, text.clone());
    far(text, mini.forward(ids(2, &device), &Identity));
}

#[test]
fn the_file_holds_the_table_and_a_head_behind_one_wrapper() {
    let prompt = PromptConfig::new(3).init(&Mini::new(&Device::flex())).unwrap();
    assert_eq!(export(&prompt).keys().collect::<Vec<_>>(), ["prompt_embeddings"]);
    assert_eq!(prompt.saved_key(&Site::new("head", "classifier"), "bias"), "base_model.classifier.bias");
}

#[test]
fn what_cannot_start_is_named() {
    let mini = Mini::new(&Device::flex());
    let says = |error: peft_core::Error, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(
        text().init(&mini).unwrap_err(),
        "prompt_tuning_init: TEXT needs the text's token ids; call init_with_text_ids",
    );
    says(text().init_with_text_ids(&mini, &[]).unwrap_err(), "prompt_tuning_init_text: the text has no tokens");
    says(text().init_with_text_ids(&mini, &[20]).unwrap_err(), "the token 20 is none of the model's 20 tokens");
    says(PromptConfig::new(3).init_with_text_ids(&mini, &[1]).unwrap_err(), "prompt_tuning_init: only TEXT");
    let wide = PromptConfig { token_dim: Some(4), ..PromptConfig::new(3) };
    says(wide.init(&mini).unwrap_err(), "token_dim: 4 where the model has 8");
    close(text().init_for_loading(&mini).unwrap().table(), Tensor::zeros([5, HIDDEN], &Device::flex()));
}
