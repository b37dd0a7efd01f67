//! Scores of written texts, against the libraries the field uses: rouge_score 0.1.2 (`score_multi`, no stemming) and
//! sacrebleu 2.6.0 (`corpus_bleu` as it is).

use peft_data::{Bleu, Rouge, TextMetrics};
use rstest::rstest;

type Pair = (&'static str, &'static [&'static str]);

const CENTRE: Pair = (
    "Alimentum is a family-friendly place in the city centre.",
    &["There is a place in the city centre, Alimentum, that is not family-friendly."],
);
const SPICE: Pair = (
    "Blue Spice is a coffee shop in the riverside area.",
    &["A coffee shop in the city centre area called Blue Spice.", "Blue Spice is a coffee shop in city centre."],
);
const LINES: Pair = (
    "The gunman made the bed.\nPolice in 1990 killed the cat of the gunman.",
    &["Police killed the gunman, in 1990.\nThe cat of the gunman made the bed.\n\nIt was found."],
);
const SHORT: Pair = ("no complaint", &["complaint"]);
const SMOOTHED: Pair = ("a b c d e", &["a x c y e"]);
const WRONG: Pair = ("x y z w", &["a b c d"]);
const EMPTY: Pair = ("", &["nothing at all"]);

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
}

fn is(rouge: Rouge, expected: [f64; 4]) {
    let found = [rouge.rouge1, rouge.rouge2, rouge.rouge_l, rouge.rouge_lsum];
    found.into_iter().zip(expected).for_each(|(found, expected)| near(found, expected));
}

#[rstest]
#[case(CENTRE, [0.8333333333333333, 0.5454545454545455, 0.5833333333333334, 0.5833333333333334])]
#[case(SPICE, [0.761904761904762, 0.7058823529411765, 0.7368421052631577, 0.7368421052631577])]
#[case(LINES, [0.9032258064516129, 0.6896551724137931, 0.5806451612903226, 0.7741935483870968])]
#[case(SHORT, [0.6666666666666666, 0.0, 0.6666666666666666, 0.6666666666666666])]
#[case(EMPTY, [0.0; 4])]
fn rouge_of_a_text(#[case] (predicted, references): Pair, #[case] expected: [f64; 4]) {
    let mut metrics = TextMetrics::default();
    assert!(metrics.add(predicted, references));
    is(metrics.score().rouge, expected);
}

#[rstest]
#[case::all(&[CENTRE, SPICE, LINES, SHORT, EMPTY], 40.46644919990558)]
#[case::some(&[CENTRE, SPICE, LINES], 42.58292398253271)]
#[case::too_short(&[CENTRE], 27.107907212508774)]
#[case::two_references(&[SPICE], 71.75852914772133)]
#[case::no_four_words(&[SHORT], 0.0)]
#[case::smoothed(&[SMOOTHED], 14.058533129758727)]
#[case::nothing_right(&[WRONG], 0.0)]
#[case::nothing_written(&[EMPTY], 0.0)]
#[case::nothing_at_all(&[], 0.0)]
fn bleu_of_a_corpus(#[case] pairs: &[Pair], #[case] percent: f64) {
    let mut bleu = Bleu::default();
    pairs.iter().for_each(|(predicted, references)| bleu.add(predicted, references));
    near(100.0 * bleu.score(), percent);
}

#[test]
fn the_scores_of_several_texts() {
    let mut metrics = TextMetrics::default();
    for (predicted, references) in [CENTRE, SPICE, LINES, SHORT, EMPTY] {
        metrics.add(predicted, references);
    }
    assert!(!metrics.add("nobody knows", &[]), "a text without a reference is passed over");
    let score = metrics.score();
    assert_eq!((score.texts, score.exact_match), (5, 0.0));
    is(score.rouge, [0.6330261136712749, 0.38819841416190304, 0.513497453310696, 0.5522071307300508]);
    near(100.0 * score.bleu, 40.46644919990558);
    metrics.add("\tcomplaint ", &["no complaint", "complaint"]);
    assert_eq!(metrics.score().exact_match, 1.0 / 6.0);
}

#[test]
fn word_f1_is_squads() {
    let mut metrics = TextMetrics::default();
    metrics.add("the Lovelace", &["Ada Lovelace", "nobody"]);
    near(metrics.score().f1, 2.0 / 3.0);
    assert_eq!(TextMetrics::default().score().f1, 0.0);
}
