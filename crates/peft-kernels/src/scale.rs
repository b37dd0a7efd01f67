//! Vectors scaled value by value, as (IA)³ and DoRA scale what a linear map reads or gives.

use burn::prelude::*;

use crate::switch::covers;

/// `x ⊙ by`: `x` `[batch, seq, n]`, `by` `[n]`, the same for every position; same shape out.
pub fn scale(x: Tensor<3>, by: Tensor<1>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&x) && covers(&by) && x.dims()[2] == by.dims()[0] {
        return crate::flex::scale::scale(x, by);
    }
    let _ = covers::<3>;
    x * by.unsqueeze()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn what_is_scaled_is_the_product() {
        for [batch, seq, n] in [[3, 45, 77], [1, 1, 1], [2, 130, 16]] {
            let (x, by) = (leaf([batch, seq, n], 1), leaf([n], 2));
            let (got, want) = (scale(x.clone(), by.clone()), x.clone() * by.clone().unsqueeze());
            assert_eq!(got.to_data(), want.to_data());
            let (g, w) = (backward(&got), backward(&want));
            same_gradient((&x, &g), (&x, &w), 0.0, "x");
            same_gradient((&by, &g), (&by, &w), 1e-5, "by");
        }
    }

    #[test]
    fn what_is_not_tracked_has_no_gradient() {
        let (x, by) = (constant([2, 5, 8], 1), leaf([8], 2));
        let grads = backward(&scale(x.clone(), by.clone()));
        assert!(x.grad(&grads).is_none() && by.grad(&grads).is_some());
        // A row of another width is no case for the kernel.
        let one = scale(constant([2, 5, 8], 1), constant([1], 3));
        assert_eq!(one.dims(), [2, 5, 8]);
    }
}
