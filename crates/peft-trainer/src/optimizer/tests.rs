use super::*;
use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, OptimizerRecord};
use burn::tensor::Tolerance;

/// A parameter of each shape that Adafactor treats in its own way.
#[derive(Module, Debug)]
struct Shapes {
    matrix: Param<Tensor<2>>,
    zeros: Param<Tensor<2>>,
    row: Param<Tensor<2>>,
    column: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

fn sine<const D: usize>(shape: [usize; D], scale: f64, frequency: f64, phase: f64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (scale * (i as f64 * frequency + phase).sin()) as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn start() -> Shapes {
    let device = Device::flex().autodiff();
    Shapes {
        matrix: Param::from_tensor(sine([4, 3], 2.0, 1.7, 0.5, &device)),
        zeros: Param::from_tensor(Tensor::zeros([2, 3], &device)),
        row: Param::from_tensor(Tensor::ones([1, 4], &device)),
        column: Param::from_tensor(Tensor::ones([4, 1], &device)),
        vector: Param::from_tensor(sine([5], 0.5, 0.9, 0.5, &device)),
    }
}

/// Between 1e-4 and 10 in size, changing from step to step.
fn gradients(at: &Shapes, step: i32) -> GradientsParams {
    fn add<const D: usize>(to: &mut GradientsParams, of: &Param<Tensor<D>>, step: i32, k: i32) {
        let size = 10f64.powi((step * 7 + k) % 6 - 4);
        let phase = 0.7 * f64::from(step) + f64::from(k);
        to.register(of.id, sine(of.dims(), size, 1.1, phase, &Device::flex()));
    }
    let mut grads = GradientsParams::new();
    add(&mut grads, &at.matrix, step, 0);
    add(&mut grads, &at.zeros, step, 1);
    add(&mut grads, &at.row, step, 2);
    add(&mut grads, &at.column, step, 3);
    add(&mut grads, &at.vector, step, 4);
    grads
}

fn step(by: &mut ModuleOptimizer, module: Shapes, number: i32) -> Shapes {
    let grads = gradients(&module, number);
    by.step(3e-3 * f64::from(10 - number) / 10.0, module, grads)
}

fn adafactor(weight_decay: f64) -> ModuleOptimizer {
    let settings = Settings { optimizer: OptimizerKind::Adafactor, weight_decay, ..Settings::default() };
    optimizer(&settings, &Factor::default())
}

// Expected values: transformers 5.23.0, Adafactor(lr=3e-3, relative_step=False, warmup_init=False,
// scale_parameter=True) on torch 2.9.0, its rate falling by a tenth of 3e-3 a step; between its single and double
// precision lie 2e-7.
#[test]
fn ten_steps_of_adafactor_are_the_references() {
    let mut by = adafactor(0.0);
    let end = (0..10).fold(start(), |module, number| step(&mut by, module, number));
    fn close<const D: usize>(got: &Param<Tensor<D>>, want: &[f32], bound: f32) {
        let got = got.val().reshape([-1]).into_data();
        got.assert_approx_eq::<f32>(&TensorData::from(want), Tolerance::absolute(bound));
    }
    #[rustfmt::skip]
    close(&end.matrix, &[
        0.946_355_46, 1.608_960_7, -1.374_786_5, -1.249_883_3, 1.706_176_4, 0.819_684_57,
        -1.925_746_6, -0.333_647_67, 2.006_836_4, -0.171_846_66, -1.951_746_1, 0.674_989,
    ], 1e-6);
    #[rustfmt::skip]
    close(&end.zeros, &[
        -7.6016504e-6, -6.12862e-7, 1.0592085e-5, 3.6015388e-6, -2.1753535e-6, -1.2526289e-5,
    ], 1e-10);
    close(&end.row, &[0.998_530_2, 1.004_350_2, 1.008_570_8, 1.001_375_3], 1e-6);
    close(&end.column, &[1.001_193_4, 1.008_281_6, 1.004_594_9, 0.992_733_2], 1e-6);
    close(&end.vector, &[0.241_327_82, 0.494_993_18, 0.373_510_45, -0.030_856_993, -0.411_471_28], 1e-6);
}

fn adamw(factor: &Factor) -> ModuleOptimizer {
    optimizer(&Settings { weight_decay: 0.01, ..Settings::default() }, factor)
}

fn bits(module: &Shapes) -> Vec<u32> {
    let all = [&module.matrix, &module.zeros, &module.row, &module.column].map(|p| p.val().reshape([-1]));
    let all = Tensor::<1>::cat([all.to_vec(), vec![module.vector.val()]].concat(), 0);
    all.into_data().iter::<f32>().map(f32::to_bits).collect()
}

/// As a resumed run does: weights and the optimizer's record, through bytes.
#[test]
fn a_saved_optimizer_goes_on_to_the_same_bytes() {
    for new in [|| adafactor(0.01), || adamw(&Factor::default())] {
        let mut whole = new();
        let end = (0..10).fold(start(), |module, number| step(&mut whole, module, number));
        for saved_at in [1, 4, 9] {
            let mut first = new();
            let middle = (0..saved_at).fold(start(), |module, number| step(&mut first, module, number));
            let record = first.to_record().into_bytes().unwrap();
            let mut second = new().load_record(OptimizerRecord::from_bytes(record).unwrap());
            let resumed = (saved_at..10).fold(middle, |module, number| step(&mut second, module, number));
            assert_eq!(bits(&resumed), bits(&end), "saved after {saved_at} steps");
        }
    }
}

/// In its bits, and in its records: a run begun with burn's goes on with this one.
#[test]
fn adamw_is_burns() {
    let burns = || {
        let config = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.0);
        let vectors = ParamGroup::from_predicate(".vectors.");
        config.clone().with_weight_decay(0.01).init().with_group(vectors, config.build(), None)
    };
    let mut by = burns();
    let middle = (0..5).fold(start(), |module, number| step(&mut by, module, number));
    let record = by.to_record().into_bytes().unwrap();
    let end = (5..10).fold(middle.clone(), |module, number| step(&mut by, module, number));
    let mut ours = adamw(&Factor::default());
    let ours_end = (0..10).fold(start(), |module, number| step(&mut ours, module, number));
    assert_eq!(bits(&ours_end), bits(&end));
    let mut taken_up = adamw(&Factor::default()).load_record(OptimizerRecord::from_bytes(record).unwrap());
    let taken_up = (5..10).fold(middle, |module, number| step(&mut taken_up, module, number));
    assert_eq!(bits(&taken_up), bits(&end));
}

#[test]
fn a_factor_is_what_scaled_gradients_are() {
    let settings = |optimizer| Settings { optimizer, ..Settings::default() };
    for kind in [OptimizerKind::AdamW, OptimizerKind::Adafactor] {
        let factor = Factor::default();
        let (mut one, mut other) =
            (optimizer(&settings(kind), &factor), optimizer(&settings(kind), &Factor::default()));
        let (mut left, mut right) = (start(), start());
        for number in 0..4 {
            factor.set(1.0 / f64::from(number + 1));
            left = step(&mut one, left, number);
            let grads = gradients(&right, number);
            let grads = crate::clip::scale(&right, grads, 1.0 / f64::from(number + 1));
            right = other.step(3e-3 * f64::from(10 - number) / 10.0, right, grads);
        }
        assert_eq!(bits(&left), bits(&right), "{kind:?}");
    }
}

#[test]
fn the_setting_decides_and_weights_decay() {
    let first =
        |settings: &Settings| step(&mut optimizer(settings, &Factor::default()), start(), 0).row.val().into_data();
    let adamw = Settings { weight_decay: 0.0, ..Settings::default() };
    let adafactor = Settings { optimizer: OptimizerKind::Adafactor, ..adamw.clone() };
    assert_ne!(first(&adamw), first(&adafactor));
    // By rate times decay, of weights that are 1.
    let decayed = first(&Settings { weight_decay: 0.5, ..adafactor.clone() });
    let want = first(&adafactor).iter::<f32>().map(|value| value - 3e-3 * 0.5).collect::<Vec<_>>();
    decayed.assert_approx_eq::<f32>(&TensorData::new(want, [1, 4]), Tolerance::absolute(1e-6));
}
