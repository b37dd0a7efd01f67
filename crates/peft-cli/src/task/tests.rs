//! Words for tasks, and what follows from them and the architecture.

use super::*;
use rstest::rstest;
use serde_json::{Value, json};

#[rstest]
#[case(Task::Single)]
#[case(Task::Multi)]
#[case(Task::Regression)]
#[case(Task::Token)]
#[case(Task::Qa)]
#[case(Task::Text)]
fn a_task_is_found_again_by_its_words(#[case] task: Task) {
    assert_eq!(serde_json::to_value(task).unwrap(), task.name());
    let outputs = if task == Task::Regression { 1 } else { 3 };
    let options = TrainOptions { task: Some(task), ..TrainOptions::default() };
    let config = json!({"task_type": options.task_type(), "problem_type": task.problem_type()});
    assert_eq!(Task::of(config.as_object().unwrap(), Some(outputs)), task);
}

#[test]
fn lengths_follow_the_task_and_the_model() {
    let of = |task| TrainOptions { task: Some(task), ..TrainOptions::default() };
    assert_eq!([of(Task::Token).max_length(Some(512)), of(Task::Qa).max_length(None)], [128, 384]);
    assert_eq!(of(Task::Qa).max_length(Some(64)), 64);
    let prompted = TrainOptions { num_virtual_tokens: Some(20), ..TrainOptions::default() };
    assert_eq!([prompted.max_length(Some(64)), prompted.max_length(Some(512))], [44, 128]);
    let long = TrainOptions { max_length: Some(45), ..prompted.clone() };
    assert!(prompted.refuse_too_long(Some(64)).is_ok() && long.refuse_too_long(Some(65)).is_ok());
    assert!(long.refuse_too_long(Some(64)).is_err() && prompted.refuse_too_long(Some(23)).is_err());
    assert_eq!([of(Task::Qa).doc_stride(384), of(Task::Qa).doc_stride(64)], [128, 21]);
}

#[test]
fn without_impossible_questions_every_question_gets_an_answer() {
    let options = TrainOptions::default();
    assert_eq!(options.answers(false).null_threshold, None);
    assert_eq!(options.answers(true).null_threshold, Some(0.0));
    let never = TrainOptions { no_answer: Some(false), ..options };
    assert_eq!(never.answers(true).null_threshold, None);
}

fn config(fields: &Value) -> ModelConfig {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), fields.to_string()).unwrap();
    ModelConfig::from_folder(folder.path()).unwrap()
}

fn t5() -> ModelConfig {
    config(&json!({
        "model_type": "t5", "vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2,
    }))
}

fn bert() -> ModelConfig {
    config(&json!({
        "model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 16,
    }))
}

fn asking(task: Task, label_as: Option<LabelAs>) -> TrainOptions {
    TrainOptions { task: Some(task), label_as, ..TrainOptions::default() }
}

#[rstest]
#[case::bert(bert(), Task::Single, None, Some(LabelAs::Head), Form::Scored, Head::Sequence, "SEQ_CLS")]
#[case::as_told(
    bert(),
    Task::Single,
    Some(LabelAs::Head),
    Some(LabelAs::Head),
    Form::Scored,
    Head::Sequence,
    "SEQ_CLS"
)]
#[case::several(bert(), Task::Multi, None, None, Form::Scored, Head::Sequence, "SEQ_CLS")]
#[case::words(bert(), Task::Token, None, None, Form::Scored, Head::Token, "TOKEN_CLS")]
#[case::answers(bert(), Task::Qa, None, None, Form::Scored, Head::QuestionAnswering, "QUESTION_ANS")]
#[case::hidden_words(bert(), Task::Mlm, None, None, Form::Scored, Head::MaskedLm, "")]
#[case::spans(t5(), Task::Spans, None, None, Form::Scored, Head::Text, "SEQ_2_SEQ_LM")]
#[case::t5(t5(), Task::Single, None, Some(LabelAs::Text), Form::Written, Head::Text, "SEQ_2_SEQ_LM")]
#[case::chosen(
    t5(),
    Task::Single,
    Some(LabelAs::Choice),
    Some(LabelAs::Choice),
    Form::Chosen,
    Head::Text,
    "SEQ_2_SEQ_LM"
)]
#[case::text(t5(), Task::Text, None, None, Form::Written, Head::Text, "SEQ_2_SEQ_LM")]
#[case::choice(t5(), Task::Choice, None, None, Form::Chosen, Head::Text, "SEQ_2_SEQ_LM")]
fn the_architecture_decides_how_a_label_is_said(
    #[case] model: ModelConfig,
    #[case] task: Task,
    #[case] given: Option<LabelAs>,
    #[case] label_as: Option<LabelAs>,
    #[case] form: Form,
    #[case] head: Head,
    #[case] task_type: &str,
) {
    let options = asking(task, given).resolve_for(&model).unwrap();
    assert_eq!((options.label_as, options.form(), options.head()), (label_as, form, head));
    assert_eq!(options.task_type().unwrap_or_default(), task_type);
}

#[rstest]
#[case(bert(), asking(Task::Single, Some(LabelAs::Text)), "label_as: `bert` has no decoder")]
#[case(bert(), asking(Task::Choice, None), "task: `bert` has no decoder")]
#[case(bert(), TrainOptions { num_beams: Some(2), ..TrainOptions::default() }, "num_beams: `bert` has no decoder")]
#[case(t5(), asking(Task::Mlm, None), "task: `t5` takes out spans, not words; choose spans")]
#[case(bert(), asking(Task::Spans, None), "task: `bert` hides words, not spans; choose mlm")]
#[case(t5(), asking(Task::Qa, None), "task: `t5` with a head for the task qa is not built")]
#[case(t5(), TrainOptions { method: Some("head".into()), ..TrainOptions::default() }, "method: `t5` has no head")]
fn what_an_architecture_does_not_do_is_refused(
    #[case] model: ModelConfig,
    #[case] options: TrainOptions,
    #[case] says: &str,
) {
    let error = options.resolve_for(&model).unwrap_err().to_string();
    assert!(error.starts_with(says), "{error}");
}

#[test]
fn positions_that_are_relative_bound_no_text() {
    let prompted = TrainOptions { num_virtual_tokens: Some(2000), ..asking(Task::Text, None) };
    assert_eq!((t5().positions(), prompted.max_length(None)), (None, 512));
    assert!(prompted.refuse_too_long(None).is_ok());
}
