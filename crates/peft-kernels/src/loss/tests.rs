use super::*;
use crate::testing::*;

/// Losses and gradients of `Σ weights·losses` in f64, of logits in rows of `width`.
fn reference(logits: &[f32], width: usize, classes: &[i64], weights: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mut losses, mut grads) = (Vec::new(), Vec::new());
    for ((row, &class), &weight) in logits.chunks(width).zip(classes).zip(weights) {
        if class < 0 {
            losses.push(0.0);
            grads.extend(row.iter().map(|_| 0.0));
            continue;
        }
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let shares: Vec<f64> = row.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
        let sum: f64 = shares.iter().sum();
        losses.push(sum.ln() + f64::from(largest) - f64::from(row[class as usize]));
        let of = |(i, share): (usize, &f64)| share / sum - f64::from(u8::from(i as i64 == class));
        grads.extend(shares.iter().enumerate().map(of).map(|grad| grad * f64::from(weight)));
    }
    (losses, grads)
}

fn classes(rows: usize, width: usize, ignored: usize) -> Vec<i64> {
    (0..rows).map(|row| if row % 7 < ignored { -100 } else { (row * 37 % width) as i64 }).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[test]
fn cross_entropy_is_the_composition() {
    // One class; fewer than a register holds; more rows than a core takes; a vocabulary.
    for (rows, width) in [(1, 1), (5, 3), (300, 17), (9, 32_128)] {
        for ignored in [0, 1, 5] {
            let classes = classes(rows, width, ignored);
            let logits = leaf([rows, width], 3);
            let (got, want) = (cross_entropy(logits.clone() * 8.0, &classes), composed(logits.clone() * 8.0, &classes));
            close(&got, &want, 1e-6, "loss");
            let (g, w) = (backward(&got), backward(&want));
            same_gradient((&logits, &g), (&logits, &w), 1e-6, "logits");
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_double_precision() {
    for scale in [0.1, 1.0, 30.0] {
        let (rows, width) = (40, 1000);
        let classes = classes(rows, width, 2);
        let logits = leaf([rows, width], 5);
        let scaled = values(logits.clone() * scale);
        let loss = cross_entropy(logits.clone() * scale, &classes);
        let (losses, wanted) = reference(&scaled, width, &classes, &numbers(rows, 99));
        for (got, want) in values(loss.clone()).iter().zip(&losses) {
            assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(1.0), "{got} for {want}");
        }
        let grads = values(logits.grad(&backward(&loss)).unwrap());
        for (got, want) in grads.iter().zip(&wanted) {
            let want = want * scale;
            assert!((f64::from(*got) - want).abs() <= 1e-6 * scale.max(1.0), "{got} for {want}");
        }
    }
}

/// What the reference says is a derivative is one.
#[test]
fn the_reference_is_what_differences_say() {
    let (width, classes, weights) = (5, [2, -100, 0], [0.5, 1.0, -2.0]);
    let logits = numbers(15, 1);
    let (_, grads) = reference(&logits, width, &classes, &weights);
    let cost = |logits: &[f32]| -> f64 {
        let losses = reference(logits, width, &classes, &weights).0;
        losses.iter().zip(&weights).map(|(loss, weight)| loss * f64::from(*weight)).sum()
    };
    for (i, grad) in grads.iter().enumerate() {
        let (mut up, mut down) = (logits.clone(), logits.clone());
        up[i] += 1e-3;
        down[i] -= 1e-3;
        let slope = (cost(&up) - cost(&down)) / f64::from(up[i] - down[i]);
        assert!((slope - grad).abs() < 1e-6, "{slope} for {grad} at {i}");
    }
}

/// The gradient is written over the logits where nobody else has them, and only there.
#[test]
fn whoever_keeps_the_logits_keeps_them_as_they_are() {
    let classes = [1, 0];
    let leaf = leaf([2, 3], 1);
    let logits = leaf.clone() * 2.0;
    let before = logits.clone().into_data();
    let grads = cross_entropy(logits.clone(), &classes).sum().backward();
    assert_eq!(logits.into_data(), before);
    let alone = cross_entropy(leaf.clone() * 2.0, &classes).sum().backward();
    assert_eq!(leaf.grad(&grads).unwrap().into_data(), leaf.grad(&alone).unwrap().into_data());
    // Rows that lie otherwise than one behind the other.
    let across = constant([3, 2], 2).require_grad();
    let of = || across.clone().transpose();
    let (got, want) = (cross_entropy(of(), &classes), composed(of(), &classes));
    close(&got, &want, 1e-6, "loss");
    same_gradient((&across, &backward(&got)), (&across, &backward(&want)), 1e-6, "logits");
}

#[test]
fn what_is_no_number_or_without_end_is_as_in_the_composition() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [[0.0, 1.0], [nan, 0.0], [inf, 0.0], [0.0, -inf], [-inf, 0.0], [-inf, -inf], [nan, nan]];
    let logits = Tensor::<2>::from_data(rows, &device());
    for class in [0, 1] {
        let classes = [class; 7];
        let (got, want) = (cross_entropy(logits.clone(), &classes), composed(logits.clone(), &classes));
        for (row, (got, want)) in values(got).iter().zip(values(want)).enumerate() {
            let same = (got - want).abs() <= 1e-6 || *got == want || got.is_nan() && want.is_nan();
            assert!(same, "{got} for {want} in row {row}");
        }
    }
    assert_eq!(values(cross_entropy(logits, &[-100; 7])), [0.0; 7]);
}
