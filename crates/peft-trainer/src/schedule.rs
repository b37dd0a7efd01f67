//! The learning rate over the steps, as Hugging Face Transformers computes it.
//!
//! Published learning rates assume its warm-up, which begins at 0. Burn's linear scheduler refuses an initial rate of
//! 0 (`Initial learning rate must be greater than 0`). So this is one scheduler with the formulas of
//! `get_linear_schedule_with_warmup`, `get_cosine_schedule_with_warmup` (half a wave) and
//! `get_constant_schedule_with_warmup`. Its only state is the step.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

/// The name of the step in a record.
const STEP: &str = "step";

/// What the learning rate does after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Falls to 0 in a straight line.
    #[default]
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
    /// Stays.
    Constant,
}

impl ScheduleKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Linear, Self::Cosine, Self::Constant];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::Constant => "constant",
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no learning rate schedule; choose one of linear, cosine, constant")]
pub struct UnknownSchedule(pub String);

impl FromStr for ScheduleKind {
    type Err = UnknownSchedule;

    fn from_str(name: &str) -> Result<Self, UnknownSchedule> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownSchedule(name.to_owned()))
    }
}

/// A warm-up from 0 to `peak`, then [`ScheduleKind`].
///
/// ```
/// use peft_trainer::schedule::{Schedule, ScheduleKind};
///
/// let schedule = Schedule::new(ScheduleKind::Linear, 1e-3, 10, 110);
/// assert_eq!([0, 5, 10, 60, 110].map(|step| schedule.at(step)), [0.0, 5e-4, 1e-3, 5e-4, 0.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// What comes after the warm-up.
    pub kind: ScheduleKind,
    /// The highest learning rate.
    pub peak: f64,
    /// Optimiser steps until the peak is reached.
    pub warmup_steps: usize,
    /// Optimiser steps in all, warm-up included.
    pub total_steps: usize,
    step: usize,
}

impl Schedule {
    /// A schedule before its first step.
    pub fn new(kind: ScheduleKind, peak: f64, warmup_steps: usize, total_steps: usize) -> Self {
        Self { kind, peak, warmup_steps, total_steps, step: 0 }
    }

    /// The learning rate of a step, counted from 0.
    ///
    /// With w steps of warm-up and t in all, step i has the peak times: i / max(1, w) for i < w; after that, with
    /// p = (i - w) / max(1, t - w), 1 - p (linear), (1 + cos πp) / 2 (cosine) or 1 (constant). Steps beyond t keep the
    /// rate of t; there, Transformers' cosine would rise again.
    pub fn at(&self, step: usize) -> f64 {
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        if step < self.warmup_steps {
            return self.peak * share(step, self.warmup_steps);
        }
        if self.kind == ScheduleKind::Constant {
            return self.peak;
        }
        if step >= self.total_steps {
            return 0.0;
        }
        let length = self.total_steps - self.warmup_steps;
        self.peak
            * match self.kind {
                ScheduleKind::Linear => share(self.total_steps - step, length),
                ScheduleKind::Cosine => 0.5 * (1.0 + (PI * share(step - self.warmup_steps, length)).cos()),
                ScheduleKind::Constant => 1.0,
            }
    }

    /// The number of steps taken.
    pub fn taken(&self) -> usize {
        self.step
    }
}

impl LrScheduler for Schedule {
    fn step(&mut self) -> f64 {
        let rate = self.at(self.step);
        self.step += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(STEP, self.step as u64)
    }

    // The trait cannot fail: a record without a step, which no schedule wrote, leaves the schedule as it is.
    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(step) = record.scalar(STEP) {
            self.step = step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScheduleKind::{Constant, Cosine, Linear};
    use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
    use rstest::rstest;

    // Expected multiples of the peak: the lambdas of Transformers' `optimization.py`, by hand.
    #[rstest]
    #[case(Linear, 4, 12, &[0.0, 0.25, 0.5, 0.75, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0, 0.0])]
    #[case(Linear, 0, 4, &[1.0, 0.75, 0.5, 0.25, 0.0])]
    #[case(Cosine, 2, 6, &[0.0, 0.5, 1.0, 0.8535533905932737, 0.5, 0.14644660940672624, 0.0, 0.0])]
    #[case(Cosine, 0, 2, &[1.0, 0.5, 0.0])]
    #[case(Constant, 2, 4, &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0])]
    #[case(Linear, 4, 2, &[0.0, 0.25, 0.5, 0.75, 0.0])]
    #[case(Cosine, 3, 3, &[0.0, 0.3333333333333333, 0.6666666666666666, 0.0])]
    #[case(Linear, 0, 0, &[0.0, 0.0])]
    fn follows_the_formula(
        #[case] kind: ScheduleKind,
        #[case] warmup: usize,
        #[case] total: usize,
        #[case] expected: &[f64],
    ) {
        let mut schedule = Schedule::new(kind, 2e-3, warmup, total);
        for (step, multiple) in expected.iter().enumerate() {
            let (got, want) = (schedule.step(), 2e-3 * multiple);
            assert!((got - want).abs() < 1e-18, "step {step}: {got} instead of {want}");
            assert_eq!(got, schedule.at(step));
        }
        assert_eq!(schedule.taken(), expected.len());
    }

    #[test]
    fn a_saved_schedule_goes_on_where_it_was() {
        let mut whole = ModuleLrScheduler::from(Schedule::new(Cosine, 1e-3, 3, 20));
        let rates: Vec<f64> = (0..20).map(|_| whole.step().base()).collect();
        for saved_at in [0, 2, 3, 11, 20] {
            let mut first = ModuleLrScheduler::from(Schedule::new(Cosine, 1e-3, 3, 20));
            (0..saved_at).for_each(|_| drop(first.step()));
            let bytes = first.to_record().into_bytes().unwrap();
            let record = LrSchedulerRecord::from_bytes(bytes).unwrap();
            let mut second = ModuleLrScheduler::from(Schedule::new(Cosine, 1e-3, 3, 20)).load_record(record);
            let rest: Vec<f64> = (saved_at..20).map(|_| second.step().base()).collect();
            assert_eq!(rest, rates[saved_at..]);
        }
    }

    #[test]
    fn a_record_of_something_else_changes_nothing() {
        let mut schedule = Schedule::new(Linear, 1.0, 0, 4);
        schedule.step();
        schedule.load_record(LrSchedulerRecord::new().with_scalar("remaining_iters", 3_u64));
        assert_eq!(schedule.taken(), 1);
    }

    #[test]
    fn a_name_reads_back() {
        for kind in ScheduleKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = "Linear".parse::<ScheduleKind>().unwrap_err().to_string();
        assert!(error.contains("`Linear`") && error.contains("cosine"), "{error}");
    }
}
