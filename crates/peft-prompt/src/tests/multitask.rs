//! Prompts of several tasks.

use burn::module::Module;
use burn::prelude::*;
use peft_core::tensors::{Tensors, export, export_gradients};
use peft_core::{Adapters, BASE, BatchRows, Pooling};
use peft_testing::{Case, HIDDEN, Mini, close, far, ids, shake};
use rstest::rstest;

use super::{counting, loaded, tokens};
use crate::{MultitaskInit, MultitaskPrompt, MultitaskPromptConfig, PromptConfig};

fn config() -> MultitaskPromptConfig {
    MultitaskPromptConfig::new(3, 2).with_ranks(2)
}

fn standard() -> Case<MultitaskPrompt> {
    Case {
        init: |mini| config().init(mini).unwrap(),
        init_for_loading: |mini| config().init_for_loading(mini).unwrap(),
        starts_as_base: false,
    }
}

fn pooled_first() -> Case<MultitaskPrompt> {
    Case {
        init: |mini| config().with_pooling(Pooling::First).init(mini).unwrap(),
        init_for_loading: |mini| config().with_pooling(Pooling::First).init_for_loading(mini).unwrap(),
        ..standard()
    }
}

fn vocabulary() -> Case<MultitaskPrompt> {
    Case { init: |mini| config().with_init(MultitaskInit::SampleVocab).init(mini).unwrap(), ..standard() }
}

peft_testing::laws!(MultitaskPrompt {
    standard => standard(),
    pooled_first => pooled_first(),
    vocabulary => vocabulary(),
});

/// Two tasks of rank 1, as a file has them.
fn source() -> Vec<(&'static str, TensorData)> {
    vec![
        ("prompt_embeddings", counting([3, HIDDEN], 1)),
        ("prefix_task_cols", counting([2, 3, 1], 5)),
        ("prefix_task_rows", counting([2, 1, HIDDEN], 9)),
    ]
}

fn source_tensors() -> Tensors {
    source().into_iter().map(|(name, data)| (name.to_string(), data)).collect()
}

/// `P ⊙ (cols · rows)`, element by element, for the factors of one task.
fn want(cols: &[f32], rows: &[f32]) -> Vec<f32> {
    let shared: Vec<f32> = counting([3, HIDDEN], 1).iter().collect();
    (0..3 * HIDDEN).map(|i| shared[i] * (cols[i / HIDDEN] * rows[i % HIDDEN])).collect()
}

fn factors(task: usize) -> (Vec<f32>, Vec<f32>) {
    let cols: Vec<f32> = counting([2, 3, 1], 5).iter().collect();
    let rows: Vec<f32> = counting([2, 1, HIDDEN], 9).iter().collect();
    (cols[3 * task..][..3].to_vec(), rows[HIDDEN * task..][..HIDDEN].to_vec())
}

#[test]
fn each_row_gets_the_prompt_of_its_task() {
    let mini = Mini::new(&Device::flex());
    let prompt = loaded(MultitaskPromptConfig::new(3, 2).init_for_loading(&mini).unwrap(), &source());
    let got = tokens(&mini, &prompt, &BatchRows::of_tasks([1, 0, 1]));
    for (row, task) in [1, 0, 1].into_iter().enumerate() {
        let (cols, rows) = factors(task);
        let want = Tensor::<3>::from_data(TensorData::new(want(&cols, &rows), [1, 3, HIDDEN]), &Device::flex());
        close(got.clone().narrow(0, row, 1), want);
    }
    assert_eq!(prompt.num_tasks(), 2);
    assert_eq!(prompt.num_params(), 3 * HIDDEN + 2 * 3 + 2 * HIDDEN);
}

#[test]
fn mixed_tasks_equal_separate_runs() {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let prompt = shake(config().init(&mini).unwrap(), 0.5);
    let (batch, tasks) = (ids(3, &device), [1, 0, 1]);
    let mixed = mini.forward_tasks(batch.clone(), &tasks, &prompt);
    for (row, &task) in tasks.iter().enumerate() {
        let text = batch.clone().narrow(0, row, 1);
        close(mixed.clone().narrow(0, row, 1), mini.forward_tasks(text.clone(), &[task], &prompt));
        far(mixed.clone().narrow(0, row, 1), mini.forward_tasks(text, &[1 - task], &prompt));
    }
}

#[test]
fn tasks_stay_with_their_rows_under_different_adapters() {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let mut adapters = Adapters::default();
    adapters.add("a", shake(config().init(&mini).unwrap(), 0.5)).unwrap();
    let longer = MultitaskPromptConfig::new(5, 3).init(&mini).unwrap();
    adapters.add("b", shake(longer, 0.5)).unwrap();
    let (names, tasks) = (["b", "a", BASE, "b", "a"], [2, 1, 0, 0, 0]);
    let batch = ids(5, &device);
    let mixed = mini.forward_tasks(batch.clone(), &tasks, &adapters.route(&names).unwrap());
    for (row, (name, task)) in names.into_iter().zip(tasks).enumerate() {
        let text = batch.clone().narrow(0, row, 1);
        let alone = mini.forward_tasks(text, &[task], &adapters.route(&[name]).unwrap());
        close(mixed.clone().narrow(0, row, 1), alone);
    }
}

#[test]
fn only_the_tasks_of_the_batch_get_gradients() {
    let device = Device::flex().autodiff();
    let mini = Mini::new(&device);
    let prompt = shake(config().init(&mini).unwrap(), 0.3);
    let gradients = mini.forward_tasks(ids(2, &device), &[1, 1], &prompt).powf_scalar(2.0).sum().backward();
    let gradients = export_gradients(&prompt, &gradients);
    for name in ["prefix_task_cols", "prefix_task_rows"] {
        let values: Vec<f32> = gradients[name].iter().collect();
        let (first, second) = values.split_at(values.len() / 2);
        assert!(first.iter().all(|&g| g == 0.0) && second.iter().all(|&g| g != 0.0), "{name}");
    }
}

#[rstest]
#[case(MultitaskInit::ExactSourceTask, 1, factors(1))]
#[case(MultitaskInit::ExactSourceTask, 0, factors(0))]
// The mean of the factors, not of the prompts.
#[case(MultitaskInit::AverageSourceTasks, 0, (vec![0.65, 0.75, 0.85], (0..8).map(|i| 1.3 + i as f32 / 10.0).collect()))]
fn one_task_starts_from_a_source(
    #[case] init: MultitaskInit,
    #[case] task: usize,
    #[case] (cols, rows): (Vec<f32>, Vec<f32>),
) {
    let device = Device::flex();
    let mini = Mini::new(&device);
    let config = MultitaskPromptConfig { prompt_tuning_init_task: task, ..MultitaskPromptConfig::new(3, 1) };
    let prompt = config.with_init(init).init_from_source(&mini, &source_tensors()).unwrap();
    let want = Tensor::<3>::from_data(TensorData::new(want(&cols, &rows), [1, 3, HIDDEN]), &device);
    close(tokens(&mini, &prompt, &BatchRows::new(1)), want);
    assert_eq!(prompt.num_tasks(), 1);
}

#[test]
fn the_shared_prompt_alone_starts_several_tasks() {
    let mini = Mini::new(&Device::flex());
    let config = MultitaskPromptConfig::new(3, 4).with_init(MultitaskInit::OnlySourceShared);
    let file = export(&config.init_from_source(&mini, &source_tensors()).unwrap());
    assert_eq!(file["prompt_embeddings"], source_tensors()["prompt_embeddings"]);
    assert_eq!(file["prefix_task_cols"].shape().to_vec(), [4, 3, 1]);
    let drawn: Vec<f32> = file["prefix_task_rows"].iter().collect();
    assert!(drawn.iter().all(|x| x.abs() < 0.2) && drawn.iter().any(|&x| x != 0.0));
}

#[test]
fn a_text_starts_the_shared_prompt_as_it_starts_a_prompt_of_one_task() {
    let mini = Mini::new(&Device::flex());
    let config = MultitaskPromptConfig {
        prompt_tuning_init_text: Some("a text".into()),
        tokenizer_name_or_path: Some("a tokenizer".into()),
        ..MultitaskPromptConfig::new(3, 2).with_init(MultitaskInit::Text)
    };
    let several = export(&config.init_with_text_ids(&mini, &[4, 2]).unwrap());
    let one = PromptConfig::new(3).with_text("a text", "a tokenizer").init_with_text_ids(&mini, &[4, 2]).unwrap();
    assert_eq!(several["prompt_embeddings"], export(&one)["prompt_embeddings"]);
}

#[test]
fn what_cannot_start_is_named() {
    let mini = Mini::new(&Device::flex());
    let exact = MultitaskPromptConfig::new(3, 1).with_init(MultitaskInit::ExactSourceTask);
    let error = |config: &MultitaskPromptConfig, source: &Tensors| {
        config.init_from_source(&mini, source).unwrap_err().to_string()
    };
    let of = |config: &MultitaskPromptConfig| config.init(&mini).unwrap_err().to_string();
    assert!(
        of(&exact).contains("prompt_tuning_init: it needs the tensors of the source adapter; call init_from_source")
    );
    assert!(of(&MultitaskPromptConfig { num_tasks: 2, ..exact.clone() }).contains("num_tasks: 2 where"));
    let third = MultitaskPromptConfig { prompt_tuning_init_task: 2, ..exact.clone() };
    assert!(error(&third, &source_tensors()).contains("prompt_tuning_init_task: 2 is none of the source's 2 tasks"));
    assert!(
        error(&exact.clone().with_ranks(2), &source_tensors())
            .contains("`prefix_task_cols` of the source adapter has shape [2, 3, 1] where [_, 3, 2]")
    );
    assert!(error(&exact, &Tensors::new()).contains("has no `prompt_embeddings`"));
    assert!(error(&config(), &source_tensors()).contains("prompt_tuning_init: it takes no source adapter"));
}
