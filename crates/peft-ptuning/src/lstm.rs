//! A bidirectional LSTM (Hochreiter and Schmidhuber 1997) in the reference's layout and with its initialisation.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use burn::tensor::module::linear;
use peft_core::{Dropout, Stored};

use crate::encoder::uniform;

/// Layers, each of which reads what the one before it wrote, in both directions.
#[derive(Module, Debug)]
pub(crate) struct Lstm {
    layers: Vec<Layer>,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct Layer {
    forward: Direction,
    reverse: Direction,
}

/// The cell of one direction. Its gates stand side by side: input, forget, cell, output.
#[derive(Module, Debug)]
struct Direction {
    /// `[d_in, 4h]`.
    weight_ih: Param<Tensor<2>>,
    /// `[h, 4h]`.
    weight_hh: Param<Tensor<2>>,
    /// `[4h]`.
    bias_ih: Param<Tensor<1>>,
    /// `[4h]`.
    bias_hh: Param<Tensor<1>>,
}

impl Lstm {
    /// `count` layers of inner width `hidden` in each direction, with dropout between them.
    pub(crate) fn new(d_in: usize, hidden: usize, count: usize, dropout: f64, device: &Device) -> Self {
        let layer = |i: usize| {
            let d_in = if i == 0 { d_in } else { 2 * hidden };
            let direction = || Direction::new(d_in, hidden, device);
            Layer { forward: direction(), reverse: direction() }
        };
        Self { layers: (0..count).map(layer).collect(), dropout: Dropout::new(dropout) }
    }

    /// `[n, d_in]` to `[n, 2h]`: the states of both directions at each of `n` steps, from states of zero.
    pub(crate) fn forward(&self, mut x: Tensor<2>, dropped: bool) -> Tensor<2> {
        for (i, layer) in self.layers.iter().enumerate() {
            if dropped && i > 0 {
                x = self.dropout.forward(x);
            }
            let reverse = layer.reverse.run(x.clone().flip([0])).flip([0]);
            x = Tensor::cat(vec![layer.forward.run(x), reverse], 1);
        }
        x
    }

    /// How its parameters are stored, below `name`.
    pub(crate) fn stored(&self, name: &str) -> Vec<Stored> {
        let mut stored = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for (direction, end) in [(&layer.forward, ""), (&layer.reverse, "_reverse")] {
                let key = |leaf: &str| format!("{name}.{leaf}_l{i}{end}");
                stored.push(Stored::new(direction.weight_ih.id, key("weight_ih")).transposed().unshipped());
                stored.push(Stored::new(direction.weight_hh.id, key("weight_hh")).transposed().unshipped());
                stored.push(Stored::new(direction.bias_ih.id, key("bias_ih")).unshipped());
                stored.push(Stored::new(direction.bias_hh.id, key("bias_hh")).unshipped());
            }
        }
        stored
    }
}

impl Direction {
    fn new(d_in: usize, hidden: usize, device: &Device) -> Self {
        Self {
            weight_ih: uniform([d_in, 4 * hidden], hidden, device),
            weight_hh: uniform([hidden, 4 * hidden], hidden, device),
            bias_ih: uniform([4 * hidden], hidden, device),
            bias_hh: uniform([4 * hidden], hidden, device),
        }
    }

    /// `[n, d_in]` to `[n, h]`, from the first step to the last.
    fn run(&self, x: Tensor<2>) -> Tensor<2> {
        let (steps, weight_hh) = (x.dims()[0], self.weight_hh.val());
        let hidden = weight_hh.dims()[0];
        // What the input gives to the gates does not wait for the steps before.
        let given = linear(x, self.weight_ih.val(), Some(self.bias_ih.val() + self.bias_hh.val()));
        let mut state = Tensor::<2>::zeros([1, hidden], &given.device());
        let mut cell = state.clone();
        let mut states = Vec::with_capacity(steps);
        for step in 0..steps {
            let gates = given.clone().slice_dim(0, step..step + 1) + state.matmul(weight_hh.clone());
            let gate = |i: usize| gates.clone().slice_dim(1, i * hidden..(i + 1) * hidden);
            cell = sigmoid(gate(1)) * cell + sigmoid(gate(0)) * gate(2).tanh();
            state = sigmoid(gate(3)) * cell.clone().tanh();
            states.push(state.clone());
        }
        Tensor::cat(states, 0)
    }
}
