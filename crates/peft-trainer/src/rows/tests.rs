//! Rows of texts to write, to choose from and to repair, and what their batches hold.

use std::sync::Arc;

use burn::prelude::*;
use peft_data::corpus::{Corpus, SpanCorruption, TokenMasking};
use peft_data::{Encoder, Example, Examples, Label, Labels, TrainedTokenizer, UnigramOptions, WordPieceOptions};
use peft_models::{GenerationConfig, IGNORED};
use rstest::rstest;

use super::{Noise, Rows};
use crate::choices::ChoiceWeights;
use crate::metrics::{ScoreKind, Targets};

const TEXT: &str = "the film was good or bad and the plot was very long or not";

/// A tokenizer of T5's kind for the words of [`TEXT`].
pub(crate) fn encoder() -> Arc<Encoder> {
    let options = UnigramOptions { vocab_size: 90, sentinels: 10 };
    saved(&TrainedTokenizer::unigram(&Corpus::from_texts(vec![TEXT; 50]), &options).unwrap())
}

/// One of BERT's kind.
pub(crate) fn bert() -> Arc<Encoder> {
    let options = WordPieceOptions { vocab_size: 90, ..WordPieceOptions::default() };
    saved(&TrainedTokenizer::wordpiece(&Corpus::from_texts(vec![TEXT; 50]), &options).unwrap())
}

fn saved(tokenizer: &TrainedTokenizer) -> Arc<Encoder> {
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    Arc::new(Encoder::from_folder(folder.path(), 32).unwrap())
}

/// Texts with labels, and the texts each may choose from.
pub(crate) fn examples(rows: Vec<(&str, Label, &[&str])>) -> Examples {
    let example = |(text, label, choices): (&str, Label, &[&str])| Example {
        text: text.to_string(),
        text_pair: None,
        choices: Some(choices.iter().map(|text| text.to_string()).collect()),
        label: Some(label),
        line: 0,
    };
    Examples { path: "rows.csv".into(), rows: rows.into_iter().map(example).collect(), labels: None }
}

fn two(labels: [Label; 2]) -> Examples {
    let [first, second] = labels;
    examples(vec![("the film was good", first, &[]), ("bad", second, &[])])
}

/// Texts as they are to be written, padded to the longest.
fn targets<const N: usize>(encoder: &Encoder, texts: [&str; N]) -> Vec<Vec<i64>> {
    let texts = encoder.encode_targets(&texts, 20).unwrap();
    let width = texts.iter().map(Vec::len).max().unwrap();
    let padded = |ids: Vec<u32>| ids.into_iter().map(i64::from).chain(std::iter::repeat(IGNORED)).take(width).collect();
    texts.into_iter().map(padded).collect()
}

/// Tokens of a text, with the one that ends it.
fn length(encoder: &Encoder, text: &str) -> usize {
    targets(encoder, [text])[0].len()
}

fn ids(tensor: Tensor<2, Int>) -> Vec<i64> {
    tensor.into_data().iter::<i64>().collect()
}

#[rstest]
#[case::texts(two([Label::Text("very good".into()), Label::Text("bad".into())]), None)]
#[case::words_of_labels(two([Label::Class(1), Label::Class(0)]), Some(["bad", "very_good"]))]
fn what_is_to_be_written_ends_and_is_padded_with_what_is_passed_over(
    #[case] examples: Examples,
    #[case] labels: Option<[&str; 2]>,
) {
    let (encoder, device) = (encoder(), Device::flex());
    let words = labels.map(|names| Labels::new(names).unwrap().words().unwrap());
    let rows = Rows::written(&examples, words, 20, GenerationConfig::default(), &encoder).unwrap();
    let made = rows.batch(&[1, 0], 0, &device);
    let want = targets(&encoder, ["bad", "very good"]);
    let end = |ids: &[i64]| ids.iter().rev().find(|&&id| id != IGNORED).copied();
    assert!(want[0].ends_with(&[IGNORED]) && want.iter().all(|ids| end(ids) == Some(1)), "{want:?}");
    assert_eq!(ids(made.batch.target.as_ref().unwrap().labels.clone()), want.concat());
    assert_eq!(made.targets, Targets::Texts(want));
    let read = targets(&encoder, ["bad", "the film was good"]).concat();
    let padded: Vec<i64> = read.into_iter().map(|id| if id == IGNORED { 0 } else { id }).collect();
    assert_eq!(ids(made.batch.input_ids), padded);
    // Texts and what is written of them count.
    let of = |texts: [&str; 2]| texts.map(|text| length(&encoder, text)).iter().sum::<usize>();
    let lengths = vec![of(["the film was good", "very good"]), of(["bad", "bad"])];
    assert_eq!((rows.lengths(), made.tokens, rows.items()), (lengths.clone(), lengths[0] + lengths[1], 2));
    assert!(made.generation.is_some());
    let first = if labels.is_some() { ScoreKind::Accuracy } else { ScoreKind::RougeL };
    assert_eq!(rows.scores()[0].kind(), first);
}

#[test]
fn a_long_text_to_write_is_cut_and_ends_all_the_same() {
    let examples = two([Label::Text("very good or very bad".into()), Label::Text("bad".into())]);
    let rows = Rows::written(&examples, None, 3, GenerationConfig::default(), &encoder()).unwrap();
    let Targets::Texts(texts) = rows.batch(&[0], 0, &Device::flex()).targets else { panic!("texts") };
    assert_eq!((texts[0].len(), texts[0][2]), (3, 1));
}

#[test]
fn rows_with_other_tokens_or_labels_are_told_apart() {
    let encoder = encoder();
    let written = |label: &str| {
        let examples = two([Label::Text("bad".into()), Label::Text(label.into())]);
        Rows::written(&examples, None, 8, GenerationConfig::default(), &encoder).unwrap().fingerprint()
    };
    assert_eq!(written("good"), written("good"));
    assert_ne!(written("good"), written("very good"));
    let chosen = |right: usize, other: &str| {
        let examples = examples(vec![("the film", Label::Class(right), &["good", other])]);
        Rows::choices(&examples, None, 8, ChoiceWeights::default(), &encoder).unwrap().fingerprint()
    };
    assert_eq!(chosen(0, "bad"), chosen(0, "bad"));
    assert_ne!(chosen(0, "bad"), chosen(1, "bad"));
    assert_ne!(chosen(0, "bad"), chosen(0, "very bad"));
}

#[test]
fn rows_bring_along_as_many_choices_as_they_like() {
    let (encoder, device) = (encoder(), Device::flex());
    let examples = examples(vec![
        ("the film", Label::Class(1), &["good", "very bad"]),
        ("the plot was long", Label::Class(0), &["long", "good", "bad"]),
    ]);
    let rows = Rows::choices(&examples, None, 20, ChoiceWeights::default(), &encoder).unwrap();
    let made = rows.batch(&[1, 0], 0, &device);
    let Targets::Choices { choices, most, .. } = &made.targets else { panic!("choices") };
    assert_eq!((&choices.rows, &choices.right, *most), (&vec![0, 0, 0, 1, 1], &vec![0, 1], 3));
    let want = targets(&encoder, ["long", "good", "bad", "good", "very bad"]);
    assert_eq!(choices.labels, want);
    let target = made.batch.target.as_ref().unwrap();
    assert_eq!(ids(target.labels.clone()), want.concat());
    assert_eq!(target.of.as_deref(), Some(&[0, 0, 0, 1, 1][..]));
    let of = |texts: &[&str]| texts.iter().map(|text| length(&encoder, text)).sum::<usize>();
    let lengths = [of(&["the film", "good", "very bad"]), of(&["the plot was long", "long", "good", "bad"])];
    assert_eq!(rows.lengths(), lengths);
    // The most of the split, also where the batch has fewer.
    let Targets::Choices { most, .. } = rows.batch(&[0], 0, &device).targets else { panic!("choices") };
    assert_eq!(most, 3);
}

#[test]
fn labels_in_words_are_the_same_choices_for_every_row() {
    let (encoder, device) = (encoder(), Device::flex());
    let words = Labels::new(["bad", "very_good"]).unwrap().words().unwrap();
    let examples = two([Label::Class(1), Label::Class(0)]);
    let rows = Rows::choices(&examples, Some(&words), 8, ChoiceWeights::default(), &encoder).unwrap();
    let Targets::Choices { choices, .. } = rows.batch(&[0, 1], 0, &device).targets else { panic!("choices") };
    assert_eq!((&choices.rows, &choices.right), (&vec![0, 0, 1, 1], &vec![1, 0]));
    assert_eq!(choices.labels[..2], choices.labels[2..]);
}

fn chunks(encoder: &Encoder) -> Vec<Vec<u32>> {
    encoder.encode_corpus(&Corpus::from_texts([TEXT])).unwrap().chunks_exact(7).map(<[u32]>::to_vec).collect()
}

#[rstest]
#[case::masked(bert(), |encoder: &Encoder| Noise::Masked(TokenMasking::new(encoder, 0.4).unwrap()))]
#[case::spans(encoder(), |encoder: &Encoder| Noise::Spans(SpanCorruption::new(encoder, 0.5, 1.5).unwrap()))]
fn noise_is_drawn_by_the_seed_of_a_batch(#[case] encoder: Arc<Encoder>, #[case] noise: fn(&Encoder) -> Noise) {
    let device = Device::flex();
    let rows = Rows::corpus(chunks(&encoder), noise(&encoder), &encoder).unwrap();
    let made = |seed: u64| {
        let made = rows.batch(&[1, 0], seed, &device);
        (ids(made.batch.input_ids), made.targets)
    };
    assert_eq!(made(3), made(3));
    assert!((4..12).any(|seed| made(seed) != made(3)));
    // A chunk is repaired alone or in company.
    let Targets::Texts(texts) = made(3).1 else { panic!("texts") };
    let Targets::Texts(alone) = rows.batch(&[1], 3, &device).targets else { panic!("texts") };
    let known = |text: &[i64]| text.iter().copied().filter(|&id| id != IGNORED).collect::<Vec<_>>();
    assert_eq!(known(&texts[0]), known(&alone[0]));
    assert_eq!(rows.scores()[0].kind(), ScoreKind::Perplexity);
}

#[test]
fn masked_tokens_are_to_be_found_at_their_places() {
    let encoder = bert();
    let chunks = chunks(&encoder);
    let noise = Noise::Masked(TokenMasking::new(&encoder, 0.4).unwrap());
    let rows = Rows::corpus(chunks.clone(), noise, &encoder).unwrap();
    let made = rows.batch(&[0], 5, &Device::flex());
    let Targets::Texts(texts) = &made.targets else { panic!("texts") };
    let read = ids(made.batch.input_ids);
    assert_eq!((texts[0].len(), read.len(), rows.lengths()[0]), (9, 9, 9));
    assert!(made.batch.target.is_none(), "BERT has no decoder");
    let hidden = |at: usize| texts[0][at] != IGNORED;
    assert_eq!((1..8).filter(|&at| hidden(at)).count(), 3);
    for at in 1..8 {
        let stood = i64::from(chunks[0][at - 1]);
        assert_eq!(if hidden(at) { texts[0][at] } else { read[at] }, stood);
    }
}

#[test]
fn spans_and_what_is_left_make_the_chunk() {
    let encoder = encoder();
    let chunks = chunks(&encoder);
    let noise = Noise::Spans(SpanCorruption::new(&encoder, 0.5, 1.5).unwrap());
    let rows = Rows::corpus(chunks.clone(), noise, &encoder).unwrap();
    let made = rows.batch(&[0], 5, &Device::flex());
    let Targets::Texts(texts) = &made.targets else { panic!("texts") };
    let read = ids(made.batch.input_ids);
    assert_eq!(rows.lengths()[0], read.len() + texts[0].len());
    let sentinels: Vec<i64> = encoder.sentinel_ids().into_iter().map(i64::from).collect();
    let span = |sentinel: i64| {
        let from = texts[0].iter().position(|&id| id == sentinel).unwrap() + 1;
        texts[0][from..].iter().copied().take_while(|id| !sentinels.contains(id) && *id != 1).collect::<Vec<_>>()
    };
    let whole = |id: i64| if sentinels.contains(&id) { span(id) } else { vec![id] };
    let whole: Vec<i64> = read[..read.len() - 1].iter().flat_map(|&id| whole(id)).collect();
    assert_eq!(whole, chunks[0].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
}

#[test]
fn a_chunk_too_short_for_the_noise_is_refused() {
    let encoder = encoder();
    let noise = Noise::Spans(SpanCorruption::new(&encoder, 0.5, 1.5).unwrap());
    assert!(Rows::corpus(vec![vec![5]], noise, &encoder).is_err());
}
