//! From logits to answers, and how answers are scored.

use std::ops::Range;

use peft_data::{
    Answer, AnswerMetrics, AnswerOptions, AnswerScore, Encoded, PredictedAnswer, Question, Window, WindowLogits,
    answer_f1, exact_match, normalize_answer, predict_answer,
};
use rstest::rstest;

/// `[CLS] ? [SEP] .. [SEP]` with a context's tokens at these characters.
fn window(offsets: &[(usize, usize)]) -> Window {
    let length = offsets.len() + 4;
    Window {
        encoded: Encoded { ids: vec![1; length], type_ids: vec![0; length] },
        question: 0,
        context: 3..3 + offsets.len(),
        offsets: offsets.to_vec(),
        answer: None,
    }
}

/// One window over four words of three characters.
const CONTEXT: &str = "été 日本語 🎉🎉🎉 end";
const WORDS: [(usize, usize); 4] = [(0, 3), (4, 7), (8, 11), (12, 15)];

fn predict(start: &[f32], end: &[f32], options: AnswerOptions) -> PredictedAnswer {
    predict_answer(CONTEXT, &[WindowLogits { window: &window(&WORDS), start, end }], &options)
}

fn shown(answer: &PredictedAnswer) -> Vec<(&str, Option<Range<usize>>, f32)> {
    answer.candidates.iter().map(|c| (c.text.as_str(), c.span.clone(), c.score)).collect()
}

const OPTIONS: AnswerOptions = AnswerOptions { n_best: 2, max_length: 30, null_threshold: None };

#[test]
fn the_answer_is_cut_from_the_context_as_written() {
    // Of the two best starts (1, 2) and ends (2, 1), all but 2..=1 are spans: 7, 6 and 5.
    let answer = predict(
        &[0., 0., 0., 0., 4., 3., 0., 0.],
        &[0., 0., 0., 0., 2., 3., 0., 0.],
        AnswerOptions { n_best: 2, ..OPTIONS },
    );
    assert_eq!(answer.text, "日本語 🎉🎉🎉");
    assert_eq!(shown(&answer), [("日本語 🎉🎉🎉", Some(4..11), 7.0), ("日本語", Some(4..7), 6.0)]);
    let odds = answer.candidates[0].probability / answer.candidates[1].probability;
    assert!((odds - 1f32.exp()).abs() < 1e-5, "{odds}");
    assert!((answer.candidates.iter().map(|c| c.probability).sum::<f32>() - 1.0).abs() < 1e-6);
    assert_eq!(answer.null_margin, None);
}

#[rstest]
#[case::only_the_context(&[9., 9., 9., 1., 0., 0., 0., 9.], &[9., 9., 9., 1., 0., 0., 0., 9.], 30, "été")]
#[case::not_backwards(&[0., 0., 0., 0., 0., 0., 5., 0.], &[0., 0., 0., 5., 1., 0., 3., 0.], 30, "end")]
#[case::not_too_long(&[0., 0., 0., 5., 0., 0., 0., 0.], &[0., 0., 0., 0., 1., 0., 5., 0.], 2, "été 日本語")]
#[case::just_long_enough(&[0., 0., 0., 5., 0., 0., 0., 0.], &[0., 0., 0., 0., 1., 0., 5., 0.], 4, CONTEXT)]
#[case::padding(&[0., 0., 0., 0., 0., 5., 0., 0., 9.], &[0., 0., 0., 0., 0., 5., 0., 0., 9.], 30, "🎉🎉🎉")]
fn the_best_span(#[case] start: &[f32], #[case] end: &[f32], #[case] max_length: usize, #[case] expected: &str) {
    let answer = predict(start, end, AnswerOptions { n_best: 4, max_length, null_threshold: None });
    assert_eq!(answer.text, expected);
}

#[test]
fn a_span_in_two_windows_is_one_candidate_with_its_best_score() {
    let (first, second) = (window(&WORDS[..3]), window(&WORDS[2..]));
    let logits = [
        WindowLogits { window: &first, start: &[0., 0., 0., 0., 0., 2., 0.], end: &[0., 0., 0., 0., 0., 2., 0.] },
        WindowLogits { window: &second, start: &[0., 0., 0., 3., 0., 0.], end: &[0., 0., 0., 3., 0., 0.] },
    ];
    let answer = predict_answer(CONTEXT, &logits, &AnswerOptions { n_best: 1, ..OPTIONS });
    assert_eq!(shown(&answer), [("🎉🎉🎉", Some(8..11), 6.0)]);
}

/// The best span scores 4. "No answer" scores 5 in one window and 3 in the other, and the lower counts.
#[rstest]
#[case::margin_below(-0.5, "été")]
#[case::margin_at(-1.0, "été")]
#[case::margin_above(-1.5, "")]
fn no_answer_must_win_in_every_window(#[case] threshold: f32, #[case] expected: &str) {
    let (first, second) = (window(&WORDS[..2]), window(&WORDS[2..]));
    let logits = [
        WindowLogits { window: &first, start: &[2., 0., 0., 2., 0., 0.], end: &[3., 0., 0., 2., 0., 0.] },
        WindowLogits { window: &second, start: &[1., 0., 0., 0., 0., 0.], end: &[2., 0., 0., 0., 0., 0.] },
    ];
    let options = AnswerOptions { n_best: 1, max_length: 30, null_threshold: Some(threshold) };
    let answer = predict_answer(CONTEXT, &logits, &options);
    assert_eq!(answer.text, expected);
    assert_eq!(answer.null_margin, Some(-1.0));
    // It is listed although one candidate was asked for and it is not the best.
    assert_eq!(shown(&answer), [("été", Some(0..3), 4.0), ("", None, 3.0)]);
}

#[test]
fn no_answer_takes_the_place_of_the_last_candidate() {
    let options = AnswerOptions { n_best: 2, max_length: 30, null_threshold: Some(0.0) };
    let answer = predict(&[5., 0., 0., 3., 2., 0., 0., 0.], &[5., 0., 0., 3., 2., 0., 0., 0.], options);
    assert_eq!(shown(&answer), [("", None, 10.0), ("été", Some(0..3), 6.0)]);
    assert_eq!((answer.text.as_str(), answer.null_margin), ("", Some(4.0)));
}

#[test]
fn a_context_without_tokens_has_no_answer() {
    let empty = window(&[]);
    let logits = [WindowLogits { window: &empty, start: &[0.; 4], end: &[0.; 4] }];
    for null_threshold in [None, Some(0.0)] {
        let answer = predict_answer("", &logits, &AnswerOptions { null_threshold, ..OPTIONS });
        assert_eq!((answer.text.as_str(), answer.null_margin), ("", None));
        assert_eq!(answer.candidates.len(), usize::from(null_threshold.is_some()));
    }
}

/// The same in SQuAD's script.
#[rstest]
#[case::punctuation("U.S.-based, \"it\"", "usbased it")]
#[case::articles("The theory of a man, an Ant", "theory of man ant")]
#[case::article_by_punctuation("the-end", "theend")]
#[case::article_by_a_dash("the\u{2014}end", "\u{2014}end")]
#[case::blanks(" two\u{a0}\n three\t", "two three")]
#[case::accents("Ünïcode ÉTÉ", "ünïcode été")]
#[case::other_punctuation("“quoted”", "“quoted”")]
#[case::cjk("日本、東京", "日本、東京")]
#[case::nothing("The.", "")]
fn normalised(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(normalize_answer(text), expected);
}

#[rstest]
#[case::same("the Beatles!", "Beatles", true, 1.0)]
// 1 of 2 predicted, 1 of 3 gold: 2 · 1/2 · 1/3 / (1/2 + 1/3).
#[case::partly("red car", "big red bus", false, 0.4)]
// `to` twice and once: one in common; 1 of 2 and 1 of 1.
#[case::repeated("to to", "to", false, 2.0 / 3.0)]
#[case::nothing_in_common("red", "blue", false, 0.0)]
#[case::both_empty("", "the", true, 1.0)]
#[case::one_empty("", "red", false, 0.0)]
#[case::no_blanks("日本", "日本国", false, 0.0)]
fn scores_of_an_answer(#[case] predicted: &str, #[case] gold: &str, #[case] exact: bool, #[case] f1: f64) {
    assert_eq!(exact_match(predicted, gold), exact);
    assert!((answer_f1(predicted, gold) - f1).abs() < 1e-12, "{}", answer_f1(predicted, gold));
    assert!((answer_f1(gold, predicted) - f1).abs() < 1e-12);
}

fn question(answers: &[&str], impossible: bool) -> Question {
    let answers = answers.iter().map(|text| Answer { text: (*text).to_owned(), start: None }).collect();
    Question { id: String::new(), text: String::new(), context: "".into(), answers, impossible }
}

#[test]
fn the_best_gold_answer_counts_and_no_answer_is_one() {
    let mut metrics = AnswerMetrics::default();
    assert!(metrics.add(&question(&["blue", "big red bus"], false), "red car")); // 0, 0.4
    assert!(metrics.add(&question(&["the bus", "bus"], false), "Bus.")); // 1, 1
    assert!(metrics.add(&question(&["bus"], false), "")); // 0, 0
    assert!(metrics.add(&question(&[], true), "")); // 1, 1
    assert!(metrics.add(&question(&[], true), "bus")); // 0, 0
    assert!(!metrics.add(&question(&[], false), "bus"));
    let score = |exact, f1: f64, questions| AnswerScore { exact, f1, questions };
    let close = |a: AnswerScore, b: AnswerScore| {
        assert!((a.exact - b.exact).abs() < 1e-12 && (a.f1 - b.f1).abs() < 1e-12, "{a:?} {b:?}");
        assert_eq!(a.questions, b.questions);
    };
    close(metrics.overall(), score(2.0 / 5.0, 2.4 / 5.0, 5));
    close(metrics.answerable(), score(1.0 / 3.0, 1.4 / 3.0, 3));
    close(metrics.impossible(), score(0.5, 0.5, 2));
    assert_eq!(AnswerMetrics::default().overall(), AnswerScore::default());
}

#[test]
fn a_gold_answer_of_articles_alone_counts_for_nothing() {
    let mut metrics = AnswerMetrics::default();
    metrics.add(&question(&["the", "cat"], false), "the");
    assert_eq!(metrics.overall().exact, 0.0);
    metrics.add(&question(&["the"], false), "");
    assert_eq!(metrics.overall().exact, 0.5);
}
