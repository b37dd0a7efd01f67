//! What is measured: each kernel through the crate's public functions, at the sizes of MiniLM, BERT-base and T5.

use burn::prelude::*;
use burn::tensor::quantization::{QuantValue, ScaleDtype};
use peft_kernels::activation::{self, Kind};
use peft_kernels::attention::{Attention, Dropped};
use peft_kernels::linear::{LowRank, linear, linear_low_rank};
use peft_kernels::optim::{AdamW, sum_of_squares};
use peft_kernels::{dropout, loss, norm};

/// One measurement.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) run: Box<dyn FnMut()>,
}

/// What a case does at the least.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Products and sums.
    Flops(f64),
    /// Bytes that are read and written.
    Bytes(f64),
}

/// Bytes of which no cache keeps much.
const BEYOND_THE_CACHES: usize = 1 << 28;

/// Batch and length of the texts: a step of MiniLM.
const TEXTS: [usize; 2] = [16, 128];

pub(crate) fn all() -> Vec<Case> {
    let mut cases = products();
    cases.extend(attentions());
    cases.extend(rows());
    cases.push(cross_entropy());
    cases.extend(steps());
    cases
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers between -1 and 1.
fn plain<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn leaf<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    plain(shape, &device()).require_grad()
}

fn case(group: &'static str, name: String, work: Work, run: impl FnMut() + 'static) -> Case {
    Case { name: format!("{group}: {name}"), work, run: Box::new(run) }
}

/// Those of the table "Matrix products alone", and a LoRA beside one.
fn products() -> Vec<Case> {
    let sizes = [[2048, 384, 384], [2048, 384, 1536], [2048, 1536, 384]];
    let more = [[1024, 768, 768], [1024, 768, 3072], [1024, 3072, 768]];
    let of = |[m, k, n]: [usize; 3]| {
        let device = Device::flex();
        let (x, weight) = (plain([1, m, k], &device), plain([k, n], &device));
        let run = move || drop(linear(x.clone(), weight.clone(), None));
        case("products", format!("{m}x{k} by {k}x{n}"), Work::Flops(2.0 * (m * k * n) as f64), run)
    };
    // As in a model: what is read was written long ago, and each layer has its own weights.
    let from_memory = |[m, k, n]: [usize; 3]| {
        let (device, bytes) = (Device::flex(), 4 * (m * k + k * n + m * n));
        let layers = BEYOND_THE_CACHES.div_ceil(bytes);
        let of_layer = |_| (plain([1, m, k], &device), plain([k, n], &device), None);
        let mut of: Vec<_> = (0..layers).map(of_layer).collect();
        let mut layer = 0;
        let run = move || {
            let (x, weight, kept) = &mut of[layer];
            // Its memory is the next one's.
            *kept = None;
            *kept = Some(linear(x.clone(), weight.clone(), None));
            layer = (layer + 1) % layers;
        };
        let work = Work::Flops(2.0 * (m * k * n) as f64);
        case("products", format!("{m}x{k} by {k}x{n}, from memory"), work, run)
    };
    // A decoder's: the fewer the rows, the more packing a weight weighs.
    let few = [[256, 512, 512], [256, 512, 2048], [256, 2048, 512]];
    let mut cases: Vec<Case> = sizes.into_iter().chain(more).map(of).collect();
    cases.extend(sizes.into_iter().chain(more).chain(few).map(from_memory));
    let ([batch, seq], d, r) = (TEXTS, 384, 8);
    let (x, weight) = (leaf([batch, seq, d]), plain([d, d], &device()));
    let (a, b) = (leaf([d, r]), leaf([r, d]));
    // Forwards and towards the input: both maps; towards the factors: theirs again.
    let (m, big, low) = (batch * seq, d * d, 2 * d * r);
    let run = move || {
        let path = LowRank { input: None, a: a.clone(), b: b.clone(), scale: 2.0 };
        drop(linear_low_rank(x.clone(), weight.clone(), None, path).sum().backward());
    };
    let flops = 2.0 * (m * (2 * big + 3 * low)) as f64;
    cases.push(case("products", format!("LoRA {m}x{d} by {d}x{d}, both ways"), Work::Flops(flops), run));
    for [k, n] in [[384, 1536], [1536, 384]] {
        let (x, weight) = (plain([batch, seq, k], &device()), leaf([k, n]));
        let run = move || drop(linear(x.clone(), weight.clone(), None).sum().backward());
        let name = format!("{m}x{k} by {k}x{n}, forwards and the weight's gradient");
        cases.push(case("products", name, Work::Flops(4.0 * (m * k * n) as f64), run));
    }
    cases.extend(few_bits());
    cases
}

/// A frozen weight of BERT-base in f32 and in 8 bits, for many rows and for few, where widening weighs most.
fn few_bits() -> Vec<Case> {
    let eight = device().settings().quantization.scheme.with_value(QuantValue::Q8S).per_block([32], ScaleDtype::F32);
    let mut cases = Vec::new();
    for m in [1024, 64] {
        let [k, n] = [768, 3072];
        let weight = plain([k, n], &device());
        for (name, weight) in [("f32", weight.clone()), ("8 bits", weight.quantize_dynamic(&eight))] {
            let x = leaf([1, m, k]);
            let run = move || drop(linear(x.clone(), weight.clone(), None).sum().backward());
            let name = format!("{m}x{k} by {k}x{n} of {name}, both ways");
            cases.push(case("few bits", name, Work::Flops(4.0 * (m * k * n) as f64), run));
        }
    }
    cases
}

fn attentions() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([batch, heads, seq, d_head], dropped) in
        [([16, 12, 128, 32], false), ([8, 12, 128, 64], false), ([16, 12, 128, 32], true)]
    {
        let heads_of = |tracked: bool| {
            let of = || plain([batch, seq, heads, d_head], &device()).swap_dims(1, 2);
            [(); 3].map(|()| if tracked { of().require_grad() } else { of() })
        };
        let hidden =
            Tensor::<4, Bool>::from_data(TensorData::new(vec![false; batch * seq], [batch, 1, 1, seq]), &device());
        let dropout = dropped.then_some(Dropped { prob: 0.1, seed: 1 });
        for both in [false, true] {
            let ([query, key, value], hidden) = (heads_of(both), hidden.clone());
            let run = move || {
                let (query, key, value) = (query.clone(), key.clone(), value.clone());
                let op = Attention { query, key, value, scale: 0.2, bias: None, hidden: hidden.clone(), dropout };
                let context = op.fused().expect("there is a kernel");
                if both {
                    drop(context.sum().backward());
                }
            };
            // Two products forwards; the first again and four others backwards.
            let flops = (if both { 14 } else { 4 } * batch * heads * seq * seq * d_head) as f64;
            let name = format!(
                "{batch}x{heads} heads, {seq} by {seq} of {d_head}{}{}",
                if dropped { ", dropout" } else { "" },
                if both { ", both ways" } else { "" }
            );
            cases.push(case("attention", name, Work::Flops(flops), run));
        }
    }
    cases
}

/// What passes over rows, forwards and backwards: read, written, and again with the gradient beside it.
fn rows() -> Vec<Case> {
    let [batch, seq] = TEXTS;
    let shape = |width: usize| [batch, seq, width];
    let bytes = |width: usize, passes: usize| Work::Bytes((4 * passes * batch * seq * width) as f64);
    let mut cases = Vec::new();
    let (x, residual, weight, bias) = (leaf(shape(384)), leaf(shape(384)), leaf([384]), leaf([384]));
    let run = {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
        move || {
            let y = norm::layer_norm(x.clone(), Some(residual.clone()), weight.clone(), Some(bias.clone()), 1e-12);
            drop(y.sum().backward());
        }
    };
    cases.push(case("rows", "layer_norm of a sum, 2048x384".into(), bytes(384, 7), run));
    let run = {
        let x = x.clone();
        move || drop(norm::rms_norm(x.clone(), weight.clone(), None, 1e-6).sum().backward())
    };
    cases.push(case("rows", "rms_norm, 2048x384".into(), bytes(384, 5), run));
    for kind in [Kind::Gelu, Kind::GeluTanh, Kind::Silu, Kind::Relu] {
        let x = leaf(shape(1536));
        let run = move || drop(activation::activate(kind, x.clone()).sum().backward());
        cases.push(case("rows", format!("{kind:?}, 2048x1536"), bytes(1536, 5), run));
    }
    let run = move || drop(dropout::dropout(x.clone(), Dropped { prob: 0.1, seed: 1 }).sum().backward());
    cases.push(case("rows", "dropout, 2048x384".into(), bytes(384, 4), run));
    cases
}

/// Of T5's vocabulary.
fn cross_entropy() -> Case {
    let (rows, width) = (512, 32_128);
    let (logits, classes) = (leaf([rows, width]), (0..rows as i64).map(|row| row * 61).collect::<Vec<_>>());
    let run = move || drop(loss::cross_entropy(logits.clone(), &classes).sum().backward());
    case("loss", format!("cross-entropy, {rows}x{width}"), Work::Bytes((4 * 3 * rows * width) as f64), run)
}

fn steps() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, sizes) in [("24 of 3,072", vec![3072; 24]), ("16 of 1,048,576", vec![1 << 20; 16])] {
        let device = Device::flex();
        let of = || sizes.iter().map(|&len| plain([len], &device)).collect::<Vec<Tensor<1>>>();
        let values: usize = sizes.iter().sum();
        let grads = of();
        let mut parameters: Vec<_> = of().into_iter().zip(of()).map(|(weight, grad)| (weight, grad, None)).collect();
        let mut time = 0;
        let run = move || {
            time += 1;
            let step = AdamW {
                betas: [0.9, 0.999],
                epsilon: 1e-8,
                learning_rate: 1e-6,
                weight_decay: 0.01,
                time,
                factor: 0.5,
            };
            for (weight, grad, moments) in &mut parameters {
                // A gradient is nobody else's. What was a weight is the next one, as good as any.
                let old = weight.clone();
                let taken = std::mem::replace(grad, old);
                let (new, after) = step.step(weight.clone(), taken, moments.take());
                (*weight, *moments) = (new, Some(after));
            }
        };
        cases.push(case("optimizer", format!("AdamW, {name}"), Work::Bytes((4 * 7 * values) as f64), run));
        let run = move || {
            std::hint::black_box(sum_of_squares(&grads));
        };
        cases.push(case("optimizer", format!("global norm, {name}"), Work::Bytes((4 * values) as f64), run));
    }
    cases
}
