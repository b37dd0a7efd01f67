//! The kernel against the products of stacks.

use super::*;
use crate::testing::*;

const BOUND: f32 = 1e-6;

struct Case {
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    paths: Vec<LowRank>,
    of_row: Vec<Option<usize>>,
}

impl Case {
    /// `tracked`: x, the weight, the bias and the factors.
    fn new([seq, d_in, d_out]: [usize; 3], ranks: &[usize], of_row: &[Option<usize>], tracked: [bool; 4]) -> Self {
        fn of<const D: usize>(shape: [usize; D], seed: u64, tracked: bool) -> Tensor<D> {
            if tracked { leaf(shape, seed) } else { constant(shape, seed) }
        }
        let [x, weight, bias, factors] = tracked;
        let path = |(i, &rank): (usize, &usize)| LowRank {
            input: None,
            a: of([d_in, rank], 10 + i as u64, factors),
            b: of([rank, d_out], 50 + i as u64, factors),
            scale: 0.7 - i as f64,
        };
        Self {
            x: of([of_row.len(), seq, d_in], 1, x),
            weight: of([d_in, d_out], 2, weight),
            bias: Some(of([d_out], 3, bias)),
            paths: ranks.iter().enumerate().map(path).collect(),
            of_row: of_row.to_vec(),
        }
    }

    fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    #[track_caller]
    fn check(&self) {
        let Self { x, weight, bias, paths, of_row } = self;
        let got = linear_low_rank_rows(x.clone(), weight.clone(), bias.clone(), paths, of_row);
        let beside = composed(x.clone(), paths, of_row);
        self.compare(&got, &(burn::tensor::module::linear(x.clone(), weight.clone(), bias.clone()) + beside));
        self.compare(&low_rank_rows(x.clone(), paths, of_row), &composed(x.clone(), paths, of_row));
    }

    #[track_caller]
    fn compare(&self, got: &Tensor<3>, want: &Tensor<3>) {
        close(got, want, BOUND, "result");
        assert_eq!(got.is_tracked(), want.is_tracked());
        if !got.is_tracked() {
            return;
        }
        let (g, w) = (backward(got), backward(want));
        same_gradient((&self.x, &g), (&self.x, &w), BOUND, "x");
        same_gradient((&self.weight, &g), (&self.weight, &w), BOUND, "weight");
        if let Some(bias) = &self.bias {
            same_gradient((bias, &g), (bias, &w), BOUND, "bias");
        }
        for (i, path) in self.paths.iter().enumerate() {
            same_gradient((&path.a, &g), (&path.a, &w), BOUND, &format!("A {i}"));
            same_gradient((&path.b, &g), (&path.b, &w), BOUND, &format!("B {i}"));
        }
    }
}

const ALL: [bool; 4] = [true, false, true, true];

#[test]
fn each_row_has_its_own_path() {
    // Rows shorter than a part, as long, longer, and such that parts begin and end in the middle of one.
    for seq in [1, 2, 7, 32, 64, 67, 130] {
        for [d_in, d_out] in [[3, 5], [40, 50], [384, 100]] {
            let case = |of_row| Case::new([seq, d_in, d_out], &[4, 1, 8], of_row, ALL);
            case(&[Some(0), Some(2), Some(1), Some(2), Some(0)]).check();
            case(&[None, Some(2), None, None, Some(0)]).check();
            case(&[Some(1), Some(1), Some(0)]).without_bias().check();
            case(&[Some(0)]).check();
            case(&[None, None]).check();
        }
    }
}

#[test]
fn ranks_beyond_a_register_and_rows_by_the_hundred() {
    Case::new([9, 33, 47], &[17, 40, 3], &[Some(1), Some(0), None, Some(2)], ALL).check();
    let of_row: Vec<_> = (0..100).map(|row| (row % 7 != 3).then_some(row * 31 % 100)).collect();
    Case::new([5, 24, 40], &[3; 100], &of_row, ALL).check();
}

#[test]
fn what_is_tracked_alone_has_a_gradient() {
    for bits in 0..16u32 {
        let tracked = std::array::from_fn(|i| bits >> i & 1 == 1);
        Case::new([9, 7, 5], &[2, 3], &[Some(1), None, Some(0), Some(1)], tracked).check();
    }
}

#[test]
fn one_path_on_all_rows_is_the_map_with_that_path() {
    let Case { x, weight, bias, paths, of_row } = Case::new([40, 48, 32], &[8], &[Some(0); 3], ALL);
    let got = linear_low_rank_rows(x.clone(), weight.clone(), bias.clone(), &paths, &of_row);
    let want = crate::linear::linear_low_rank(x, weight, bias, paths[0].clone());
    close(&got, &want, BOUND, "result");
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let Case { x, weight, bias, paths, .. } = Case::new([40, 48, 32], &[8, 4], &[None; 3], ALL);
    let run = |x: Tensor<3>, of_row: &[Option<usize>]| {
        linear_low_rank_rows(x, weight.clone(), bias.clone(), &paths, of_row).into_data()
    };
    let spoilt = x.clone().slice_fill([0..1, 0..40, 0..48], f32::NAN);
    let row = |data: TensorData, i: usize| data.iter::<f32>().skip(i * 40 * 32).take(40 * 32).collect::<Vec<_>>();
    let all = run(x.clone(), &[Some(0), None, Some(1)]);
    let beside = run(spoilt, &[Some(1), None, Some(1)]);
    assert_eq!(row(all.clone(), 1), row(beside.clone(), 1));
    assert_eq!(row(all.clone(), 2), row(beside, 2));
    // The result of the bare map, to the last bit.
    let bare = run(x, &[None, None, Some(0)]);
    assert_eq!(row(all, 1), row(bare, 1));
}

#[test]
#[should_panic(expected = "a path, or none, for each row")]
fn a_row_without_a_word_is_refused() {
    let case = Case::new([4, 8, 8], &[2], &[Some(0), None], ALL);
    let _ = low_rank_rows(case.x, &case.paths, &[None]);
}
