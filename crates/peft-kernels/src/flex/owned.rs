//! Memory that is written over where nobody else has it.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::buffer::{Dense, tensor};
use super::pool::Values;

/// Values that a core copies at a time.
const PART: usize = 65_536;

/// The tensor itself where nobody else has its values, which lie one behind the other and are all there is; else a copy.
/// `storage_mut` of what comes back holds its values and copies nothing.
pub(crate) fn owned(from: FlexTensor) -> FlexTensor {
    match taken(from) {
        Ok(own) => own,
        Err(shared) => copied(&shared, PART, |_, _| ()),
    }
}

/// What `f` makes of the values of `from`, `part` of them at a time, with the number of the part: on all cores, and in its
/// own memory as in [`owned`].
pub(crate) fn in_parts(from: FlexTensor, part: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> FlexTensor {
    match taken(from) {
        Ok(mut own) => {
            own.storage_mut::<f32>().par_chunks_mut(part).enumerate().for_each(|(i, values)| f(i, values));
            own
        }
        Err(shared) => copied(&shared, part, f),
    }
}

fn taken(from: FlexTensor) -> Result<FlexTensor, Dense> {
    // `to_contiguous` would share the values with what it is called on.
    let from = if from.is_contiguous() { from } else { from.to_contiguous() };
    let layout = from.layout();
    let whole = layout.start_offset() == 0 && from.storage::<f32>().len() == layout.num_elements();
    if whole && from.is_unique() { Ok(from) } else { Err(Dense::new(from)) }
}

fn copied(from: &Dense, part: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> FlexTensor {
    let mut copy = Values::new(from.values().len());
    copy.par_chunks_mut(part).zip(from.values().par_chunks(part)).enumerate().for_each(|(i, (to, from))| {
        to.copy_from_slice(from);
        f(i, to);
    });
    tensor(copy, from.shape().clone())
}
