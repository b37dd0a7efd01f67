//! P-tuning on the small backbone of peft-testing: what the method itself promises.

mod config;
mod encoder;
mod placement;

use burn::prelude::*;
use peft_core::Pooling;
use peft_testing::{Case, Mini};

use crate::{PTuning, PTuningConfig};

/// A token of the first row of [`peft_testing::ids`], in its second place.
const SLOT: u32 = 10;

fn config() -> PTuningConfig {
    PTuningConfig::new(3).with_hidden(16)
}

fn mlp() -> Case<PTuning> {
    Case {
        init: |mini| config().init(mini).unwrap(),
        init_for_loading: |mini| config().init_for_loading(mini).unwrap(),
        starts_as_base: false,
    }
}

fn lstm() -> Case<PTuning> {
    Case {
        init: |mini| config().with_lstm(2).init(mini).unwrap(),
        init_for_loading: |mini| config().with_lstm(2).init_for_loading(mini).unwrap(),
        ..mlp()
    }
}

fn dropped() -> Case<PTuning> {
    Case { init: |mini| config().with_lstm(3).with_dropout(0.2).init(mini).unwrap(), ..lstm() }
}

fn pooled_first() -> Case<PTuning> {
    Case {
        init: |mini| config().with_pooling(Pooling::First).init(mini).unwrap(),
        init_for_loading: |mini| config().with_pooling(Pooling::First).init_for_loading(mini).unwrap(),
        ..mlp()
    }
}

fn inside() -> Case<PTuning> {
    Case {
        init: |mini| config().with_slots(SLOT).init(mini).unwrap(),
        init_for_loading: |mini| config().with_slots(SLOT).init_for_loading(mini).unwrap(),
        ..mlp()
    }
}

peft_testing::laws!(PTuning {
    mlp => mlp(),
    lstm => lstm(),
    dropped => dropped(),
    pooled_first => pooled_first(),
    inside => inside(),
});

/// A batch of token ids.
fn batch<const S: usize>(rows: &[[i64; S]], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), S]), device)
}

fn mini() -> (Device, Mini) {
    let device = Device::flex();
    let mini = Mini::new(&device);
    (device, mini)
}
