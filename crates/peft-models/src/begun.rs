//! Texts that are read in several goes.
//!
//! A [`Cut`] is a place between two layers. What a model makes of a text up to there
//! ([`Scorer::begin`](crate::Scorer::begin)) can be kept, and a batch that brings it along
//! ([`Batch::begun`](crate::Batch::begun)) is read on from there: up to another cut, by every head, and where texts are made.
//!
//! Two things are made of it. Below the lowest place that an adapter acts at, a model makes the same of a text every time,
//! and that is computed once a text. And a graph need not be kept from one end of the model to the other: each part's is
//! built when its turn comes on the way back.

use std::ops::Range;

use burn::prelude::*;
use peft_core::{Site, Sites, Spans};

/// A place between two layers of a stack, or behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    layers: usize,
    of: usize,
    first: bool,
}

impl Cut {
    /// The highest place with all of `touched` above it, in a model whose layers are the list at the path `stack`. `None` if
    /// there is no layer below it.
    ///
    /// Sites are in the model's order: those before the first layer are what it reads, those behind the last are above it.
    pub fn below(touched: &[Site], sites: &Sites, stack: &str) -> Option<Self> {
        let layer = |site: &Site| {
            let rest = site.path().strip_prefix(stack)?.strip_prefix('.')?;
            rest.split('.').next()?.parse::<usize>().ok()
        };
        let of = sites.iter().filter_map(|entry| layer(&entry.site)).max()? + 1;
        let (mut layers, mut reached) = (of, false);
        for entry in sites {
            let within = layer(&entry.site);
            reached |= within.is_some();
            if touched.contains(&entry.site) {
                layers = layers.min(within.unwrap_or(if reached { of } else { 0 }));
            }
        }
        (layers > 0).then_some(Self { layers, of, first: false })
    }

    /// The same place in a model that reads the text's first state alone behind its last layer.
    pub(crate) fn of_first(self) -> Self {
        Self { first: true, ..self }
    }

    /// The place above the first `layers` layers, in the same model.
    ///
    /// # Panics
    /// If there is no layer below it, or there are not so many.
    pub fn at(self, layers: usize) -> Self {
        assert!((1..=self.of).contains(&layers), "{layers} of {} layers", self.of);
        Self { layers, ..self }
    }

    /// Layers below it.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Layers of the stack.
    pub fn of(&self) -> usize {
        self.of
    }

    /// How many positions of a text of so many it has states for.
    pub fn positions(&self, text: usize) -> usize {
        if self.first && self.layers == self.of { text.min(1) } else { text }
    }
}

/// What a model has made of a batch's texts up to a [`Cut`].
#[derive(Clone, Debug)]
pub struct Begun {
    /// Up to where.
    pub cut: Cut,
    /// `[batch, positions, width]`: the virtual tokens in front of the texts, and as many [positions](Cut::positions) as the
    /// batch has, whatever stands at those of padding.
    pub hidden: Tensor<3>,
    pub(crate) front: Front,
}

impl Begun {
    /// States of texts with nothing in front of them, `[batch, positions, width]`.
    pub fn new(cut: Cut, hidden: Tensor<3>) -> Self {
        let front = Front::none(hidden.dims()[0]);
        Self { cut, hidden, front }
    }

    /// What layers have made of texts with `front` in front of them, `[batch, positions, width]`, as far as it is read.
    pub(crate) fn up_to(cut: Cut, hidden: Tensor<3>, front: Front) -> Self {
        let text = hidden.dims()[1];
        let kept = if front.spans.is_empty() { cut.positions(text) } else { text };
        Self { cut, hidden: hidden.narrow(1, 0, kept), front }
    }

    /// How many positions a text of so many has states for.
    pub(crate) fn positions(&self, text: usize) -> usize {
        match self.front.spans.width() {
            0 => self.cut.positions(text),
            virtual_tokens => virtual_tokens + text,
        }
    }

    /// Of some of the batch's texts.
    pub(crate) fn share(&self, rows: &Range<usize>) -> Self {
        let hidden = self.hidden.clone().narrow(0, rows.start, rows.len());
        Self { cut: self.cut, hidden, front: self.front.share(rows) }
    }
}

/// What stands in front of a batch's texts where they are embedded.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// The virtual tokens.
    pub(crate) spans: Spans,
    /// The position at which each row is pooled.
    pub(crate) pooled: Vec<usize>,
}

impl Front {
    /// Nothing, on so many rows.
    pub(crate) fn none(rows: usize) -> Self {
        Self { spans: Spans::none(), pooled: vec![0; rows] }
    }

    /// Of some of the rows.
    fn share(&self, rows: &Range<usize>) -> Self {
        let spans = self.spans.select(&rows.clone().collect::<Vec<_>>());
        Self { spans, pooled: self.pooled[rows.clone()].to_vec() }
    }

    /// One where attention may look, `[batch, virtual tokens + text]`, of a batch's own mask, `[batch, text]`.
    pub(crate) fn mask(&self, text: Tensor<2, Int>) -> Tensor<2, Int> {
        match self.spans.is_empty() {
            true => text,
            false => Tensor::cat(vec![self.spans.mask(text.dims()[0], &text.device()), text], 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use peft_core::{Scope, SiteKind};
    use rstest::rstest;

    use super::*;

    /// An input, two stacks of two layers and a head.
    fn sites() -> Sites {
        let scope = Scope::root(&Device::flex(), |path| path.to_string());
        scope.pp("shared").site(SiteKind::Input { d_model: 4 });
        for stack in ["encoder", "decoder"] {
            let at = scope.pp(stack).pp("block");
            for layer in 0..2 {
                at.pp(layer).pp("attention").site(SiteKind::Norm { d_model: 4, bias: false });
                at.pp(layer).pp("output").site(SiteKind::Norm { d_model: 4, bias: false });
            }
            scope.pp(stack).pp("norm").site(SiteKind::Norm { d_model: 4, bias: false });
        }
        scope.pp("head").site(SiteKind::Linear { d_in: 4, d_out: 2, bias: true });
        scope.sites()
    }

    #[rstest]
    #[case::nothing(&[], Some(2))]
    #[case::the_head(&["head"], Some(2))]
    #[case::behind_the_layers(&["encoder.norm"], Some(2))]
    #[case::another_stack(&["decoder.block.0.attention", "head"], Some(2))]
    #[case::the_last_layer(&["head", "encoder.block.1.output"], Some(1))]
    #[case::the_first_layer(&["encoder.block.1.output", "encoder.block.0.output"], None)]
    #[case::the_input(&["shared"], None)]
    fn a_cut_is_below_all_that_is_touched(#[case] touched: &[&str], #[case] layers: Option<usize>) {
        let touched: Vec<Site> = touched.iter().map(|&path| Site::new(path, path)).collect();
        let cut = Cut::below(&touched, &sites(), "encoder.block");
        assert_eq!(cut.map(|cut| cut.layers()), layers);
        assert!(cut.is_none_or(|cut| cut.of() == 2));
    }

    #[test]
    fn the_first_position_will_do_where_no_layer_is_left() {
        let cut = |touched: &str| Cut::below(&[Site::new(touched, touched)], &sites(), "encoder.block").unwrap();
        assert_eq!([0, 1, 7].map(|text| cut("head").of_first().positions(text)), [0, 1, 1]);
        assert_eq!(cut("encoder.block.1.output").of_first().positions(7), 7);
        assert_eq!(cut("head").positions(7), 7);
    }
}
