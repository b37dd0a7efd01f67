//! Sums of what has the same shape.

use burn::prelude::*;

use crate::switch::covers;

/// `a + b`, of one shape: on all cores.
pub fn add(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if covers(&a) && covers(&b) && a.dims() == b.dims() {
        return crate::flex::sum::add(a, b);
    }
    let _ = covers::<3>;
    a + b
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::*;

    #[test]
    fn sums_are_sums() {
        let (a, b, c) = (leaf([3, 45, 77], 1), leaf([3, 77, 45], 2), constant([3, 45, 77], 3));
        let check = |got: Tensor<3>, want: Tensor<3>| {
            assert_eq!(got.to_data(), want.to_data());
            let (g, w) = (backward(&got), backward(&want));
            same_gradient((&a, &g), (&a, &w), 0.0, "a");
            same_gradient((&b, &g), (&b, &w), 0.0, "b");
        };
        check(add(a.clone(), b.clone().swap_dims(1, 2)), a.clone() + b.clone().swap_dims(1, 2));
        check(add(c.clone(), a.clone()), c.clone() + a.clone());
        // One row for all is no case for the kernel.
        let row = constant([1, 45, 77], 4);
        assert_eq!(add(c.clone(), row.clone()).to_data(), (c + row).to_data());
    }
}
