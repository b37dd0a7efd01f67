//! T5 token by token: what [`generate`](crate::generate::generate) asks of it.

use burn::prelude::*;
use peft_core::Hooks;

use super::kept::indices;
use super::model::{Encoded, T5ForConditionalGeneration};
use super::stack::Cache;
use crate::generate::{Continuations, Decoder};

/// The texts that are being made of a batch.
#[derive(Clone, Debug)]
pub struct Decoding {
    source: Encoded,
    so_far: SoFar,
}

#[derive(Clone, Debug)]
enum SoFar {
    /// Keys and values of what was read, once the first token was.
    Kept(Option<Cache>),
    /// The tokens themselves, `[rows, beams, tokens]`: all of them are read again for each new one.
    Tokens(Option<Tensor<3, Int>>),
}

impl Decoder for T5ForConditionalGeneration {
    type Source = Encoded;
    type State = Decoding;

    fn vocabulary(&self) -> usize {
        self.shared.weight.lazy_shape()[0]
    }

    fn begin(&self, source: Encoded, use_cache: bool) -> Decoding {
        Decoding { source, so_far: if use_cache { SoFar::Kept(None) } else { SoFar::Tokens(None) } }
    }

    fn step(&self, tokens: Tensor<2, Int>, state: &mut Decoding, hooks: &dyn Hooks) -> Tensor<3> {
        let source = &state.source;
        match &mut state.so_far {
            SoFar::Kept(cache) => {
                let embedded = self.embed(tokens, hooks);
                let hidden = match cache {
                    Some(cache) => self.decoder.step(embedded, cache, hooks),
                    None => {
                        let (hidden, first) = self.decoder.begin(embedded, &source.rows, source.memory(), hooks);
                        *cache = Some(first);
                        hidden
                    }
                };
                self.scores_of(hidden, hooks)
            }
            SoFar::Tokens(so_far) => {
                let tokens = tokens.unsqueeze_dim::<3>(2);
                let all = match so_far.take() {
                    Some(before) => Tensor::cat(vec![before, tokens], 2),
                    None => tokens,
                };
                let [_, beams, length] = all.dims();
                *so_far = Some(all.clone());
                let of_beam = |beam| {
                    let scores = self.decode(all.clone().narrow(1, beam, 1).squeeze_dim(1), source, hooks);
                    scores.narrow(1, length - 1, 1)
                };
                Tensor::cat((0..beams).map(of_beam).collect(), 1)
            }
        }
    }
}

impl Continuations for Decoding {
    fn device(&self) -> Device {
        self.source.hidden.device()
    }

    fn rows(&self) -> usize {
        self.source.rows.len()
    }

    fn select(&mut self, rows: &[usize]) {
        let device = self.device();
        match &mut self.so_far {
            SoFar::Kept(Some(cache)) => cache.select(rows),
            SoFar::Kept(None) => {}
            SoFar::Tokens(so_far) => {
                *so_far = so_far.take().map(|tokens| tokens.select(0, indices(rows.iter().copied(), &device)));
            }
        }
        self.source = self.source.select(rows);
    }

    fn reorder(&mut self, from: &[usize]) {
        let device = self.device();
        match &mut self.so_far {
            SoFar::Kept(Some(cache)) => cache.reorder(from),
            SoFar::Kept(None) | SoFar::Tokens(None) => {}
            SoFar::Tokens(so_far @ Some(_)) => {
                *so_far = so_far.take().map(|tokens| {
                    let [rows, before, length] = tokens.dims();
                    let beams = from.len() / rows;
                    let places = from.iter().enumerate().map(|(i, beam)| i / beams * before + beam);
                    tokens.reshape([rows * before, length]).select(0, indices(places, &device)).reshape([
                        rows as i32,
                        beams as i32,
                        -1,
                    ])
                });
            }
        }
    }
}
