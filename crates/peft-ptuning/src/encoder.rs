//! Where a prompt comes from: a table, or a small network that is trained in its place.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::relu;
use peft_core::{Placement, Stored, draw};

use crate::config::{PTuningConfig, Reparameterization};
use crate::lstm::Lstm;

/// The name of the whole prompt in files.
pub(crate) const TABLE: &str = "prompt_embeddings";

/// The prompt, `[p·S, d_model]`.
#[derive(Module, Debug)]
pub(crate) struct Encoder {
    /// The prompt itself, or what the network makes it from.
    embedding: Param<Tensor<2>>,
    lstm: Option<Lstm>,
    /// Linear layers with ReLU between them; none where the prompt is not computed.
    mlp: Vec<Linear>,
}

impl Encoder {
    /// A prompt that is about to be loaded.
    pub(crate) fn table(place: &Placement, device: &Device) -> Self {
        Self { embedding: Param::from_tensor(Tensor::zeros(place.shape(), device)), lstm: None, mlp: Vec::new() }
    }

    /// The network of `config`, drawn as the reference draws it.
    pub(crate) fn new(config: &PTuningConfig, place: &Placement, device: &Device) -> Self {
        let d_model = place.d_model;
        let hidden = config.encoder_hidden_size.unwrap_or(d_model);
        let embedding = draw::normal(place.shape(), 1.0, device);
        let (lstm, widths) = match config.encoder_reparameterization_type {
            Reparameterization::Mlp => (None, vec![d_model, hidden, hidden, d_model]),
            Reparameterization::Lstm => {
                let lstm = Lstm::new(d_model, hidden, config.encoder_num_layers, config.encoder_dropout, device);
                (Some(lstm), vec![2 * hidden, 2 * hidden, d_model])
            }
        };
        let mlp = widths.windows(2).map(|width| affine(width[0], width[1], device)).collect();
        Self { embedding: Param::from_tensor(embedding), lstm, mlp }
    }

    /// Whether the prompt is computed.
    pub(crate) fn is_computed(&self) -> bool {
        !self.mlp.is_empty()
    }

    /// The prompt, `[p·S, d_model]`. `dropped`: with dropout, where there is any and the device trains.
    pub(crate) fn forward(&self, dropped: bool) -> Tensor<2> {
        let x = self.embedding.val();
        let x = self.lstm.as_ref().map_or(x.clone(), |lstm| lstm.forward(x, dropped));
        let layers = self.mlp.iter().enumerate();
        layers.fold(x, |x, (i, layer)| layer.forward(if i == 0 { x } else { relu(x) }))
    }

    /// How its parameters are stored.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        if !self.is_computed() {
            return vec![Stored::new(self.embedding.id, TABLE)];
        }
        let mut stored = vec![Stored::new(self.embedding.id, "prompt_encoder.embedding.weight").unshipped()];
        stored.extend(self.lstm.iter().flat_map(|lstm| lstm.stored("prompt_encoder.lstm_head")));
        for (i, layer) in self.mlp.iter().enumerate() {
            // In the reference's list the activations count too.
            let name = |leaf: &str| format!("prompt_encoder.mlp_head.{}.{leaf}", 2 * i);
            stored.push(Stored::new(layer.weight.id, name("weight")).transposed().unshipped());
            stored.extend(layer.bias.iter().map(|bias| Stored::new(bias.id, name("bias")).unshipped()));
        }
        stored
    }
}

fn affine(d_in: usize, d_out: usize, device: &Device) -> Linear {
    Linear { weight: uniform([d_in, d_out], d_in, device), bias: Some(uniform([d_out], d_in, device)) }
}

/// A parameter drawn from the uniform distribution between minus and plus 1/√`width`.
pub(crate) fn uniform<const D: usize>(shape: [usize; D], width: usize, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(draw::uniform(shape, 1.0 / (width as f64).sqrt(), device))
}
