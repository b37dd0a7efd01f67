//! Text made token by token: greedily, by beam search or by chance, as Hugging Face Transformers 5 does it.
//!
//! Nothing here knows a model: a [`Decoder`] gives the scores of the next token, and each text has a search of its own that
//! chooses on the host, in f32. So what is made of a text does not depend on the others of its batch, and a text that is
//! finished leaves the batch: its keys and values, its adapter and its row are no longer computed.

mod beam;
mod config;
mod config_file;
mod early_stopping;
mod processors;
mod random;
mod sample;

use std::ops::ControlFlow;

use burn::prelude::*;
use peft_core::Hooks;

pub use config::GenerationConfig;
pub use early_stopping::EarlyStopping;

use crate::error::{Error, Result};
use beam::BeamSearch;
use sample::Sampling;

/// A model that makes a text token by token.
pub trait Decoder {
    /// What the texts are made of.
    type Source;
    /// What is kept of the texts while they are made.
    type State: Continuations;

    /// How many tokens there are to choose from.
    fn vocabulary(&self) -> usize;

    /// Before the first token of each text of `source`: with `use_cache` a step costs one position, else all that were
    /// made are read again.
    fn begin(&self, source: Self::Source, use_cache: bool) -> Self::State;

    /// Reads the last token of each continuation, `[rows, beams]`, under `hooks` (those of the rows that are left): scores
    /// `[rows, beams, vocabulary]` of the token that follows. The first step has one continuation a row.
    fn step(&self, tokens: Tensor<2, Int>, state: &mut Self::State, hooks: &dyn Hooks) -> Tensor<3>;
}

/// Texts that are being made: rows, each with as many continuations.
pub trait Continuations {
    /// Where they are computed.
    fn device(&self) -> Device;

    /// How many rows there are.
    fn rows(&self) -> usize;

    /// Keeps the rows at `rows` alone, in that order.
    fn select(&mut self, rows: &[usize]);

    /// Goes on from the continuations at `from`, row by row: their places on their row, where one may be named several
    /// times or not at all. There may be more or fewer of them than before, as many on each row.
    fn reorder(&mut self, from: &[usize]);
}

/// What was made of a text: the best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// `num_return_sequences` of them.
    pub sequences: Vec<Sequence>,
}

/// A text that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Its tokens: without the one that decoders start with; with the one that ended it, as the last; without padding
    /// behind that. A token that happens to be the padding one stays if the model chose it.
    pub ids: Vec<u32>,
    /// Logarithm of its probability. From a beam search, divided by its length to the power of `length_penalty`, as the
    /// reference's `sequences_scores`; else the sum over its tokens, each under the distribution it was chosen from (after
    /// repetition penalty, temperature and the like).
    pub score: f32,
    /// Whether an end-of-text token ended it, not the limit or the caller.
    pub finished: bool,
}

/// A token that will not be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The text, from 0.
    pub row: usize,
    /// Which of the text's sequences, from 0.
    pub sequence: usize,
    /// The token.
    pub id: u32,
}

/// Makes a text of each text of `source` under `hooks`.
///
/// # Errors
/// What [`GenerationConfig::validate`] refuses, a special token that the model does not have, and
/// [`Error::NotANumber`].
pub fn generate<D: Decoder>(
    model: &D,
    source: D::Source,
    hooks: &dyn Hooks,
    config: &GenerationConfig,
) -> Result<Vec<Generated>> {
    stream(model, source, hooks, config, &mut |_| ControlFlow::Continue(()))
}

/// [`generate`], telling each token as soon as it is certain: when it is chosen, or in a beam search when its text is
/// finished. If `told` breaks, nothing more is made, and what there is comes back.
///
/// # Errors
/// As [`generate`].
pub fn stream<D: Decoder>(
    model: &D,
    source: D::Source,
    hooks: &dyn Hooks,
    config: &GenerationConfig,
    told: &mut dyn FnMut(Emitted) -> ControlFlow<()>,
) -> Result<Vec<Generated>> {
    config.validate()?;
    let vocabulary = model.vocabulary();
    let [start, pad] = config.special(vocabulary)?;
    let search = |row| -> Box<dyn Search + '_> {
        match config.num_beams {
            1 => Box::new(Sampling::new(config, [start, pad], row)),
            _ => Box::new(BeamSearch::new(config, start, row)),
        }
    };
    let mut state = model.begin(source, config.use_cache);
    let rows = state.rows();
    let mut searches: Vec<_> = (0..rows).map(search).collect();
    let mut active: Vec<usize> = (0..rows).collect();
    let mut picked: Option<Box<dyn Hooks + '_>> = None;
    let (mut tokens, mut beams) = (vec![i64::from(start); rows], 1);
    for token in 0.. {
        if active.is_empty() {
            break;
        }
        let ids = Tensor::from_data(TensorData::new(tokens, [active.len(), beams]), &state.device());
        let scores = model.step(ids, &mut state, picked.as_deref().unwrap_or(hooks));
        let scores: Vec<f32> = scores.into_data().iter().collect();
        let (mut stay, mut next) = (Vec::new(), Vec::new());
        for (place, (&row, scores)) in active.iter().zip(scores.chunks(beams * vocabulary)).enumerate() {
            if !scores.iter().all(|&score| score < f32::INFINITY) {
                return Err(Error::NotANumber { row, token: token + 1 });
            }
            let step = searches[row].advance(&scores.chunks(vocabulary).collect::<Vec<_>>());
            for (sequence, id) in step.certain {
                if told(Emitted { row, sequence, id }).is_break() {
                    return Ok(finish(searches));
                }
            }
            if let Some(go_on) = step.go_on {
                stay.push(place);
                next.push(go_on);
            }
        }
        if stay.is_empty() {
            break;
        }
        if stay.len() < active.len() {
            state.select(&stay);
            active = stay.into_iter().map(|place| active[place]).collect();
            picked = hooks.for_rows(&active);
        }
        let from: Vec<usize> = next.iter().flat_map(|step| step.from.iter().copied()).collect();
        let width = from.len() / active.len();
        if width != beams || from.iter().enumerate().any(|(i, &beam)| beam != i % width) {
            state.reorder(&from);
        }
        beams = width;
        tokens = next.iter().flat_map(|step| step.tokens.iter().map(|&id| i64::from(id))).collect();
    }
    Ok(finish(searches))
}

/// What is chosen for one text, step by step.
trait Search {
    /// Chooses by the scores of the next token, a slice for each continuation. There is one in the first step.
    fn advance(&mut self, scores: &[&[f32]]) -> Step;

    /// What there is.
    fn finish(self: Box<Self>) -> Generated;
}

fn finish(searches: Vec<Box<dyn Search + '_>>) -> Vec<Generated> {
    searches.into_iter().map(|search| search.finish()).collect()
}

/// What follows from a choice.
#[derive(Debug, Default)]
struct Step {
    /// Tokens that will not be taken back, each with its sequence.
    certain: Vec<(usize, u32)>,
    /// How the text goes on; `None` if it is finished.
    go_on: Option<Next>,
}

/// The continuations of a text.
#[derive(Debug)]
struct Next {
    /// Which of those before each goes on from.
    from: Vec<usize>,
    /// The token that each reads next.
    tokens: Vec<u32>,
}
