//! Units into devices, by how many bytes each device may hold.

use std::fmt;

use super::Unit;
use super::bytes::{show_bytes, show_bytes_needed};
use crate::error::{Error, Result};

/// What one device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What the user calls the device.
    pub device: String,
    /// How many bytes it may hold.
    pub budget: u64,
    /// The units, in the model's order.
    pub units: Vec<Unit>,
}

impl Share {
    /// The bytes of its units.
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(|unit| unit.bytes).sum()
    }
}

/// Fills the devices, each a name and the bytes it may hold, in their order: a unit that no longer fits on one is the
/// first of the next, and nothing behind it goes back.
///
/// # Errors
/// [`Error::Memory`] with the first unit that fits nowhere.
pub fn assign(units: Vec<Unit>, budgets: &[(String, u64)]) -> Result<Vec<Share>> {
    let total = units.iter().map(|unit| unit.bytes).sum();
    let empty = |(device, budget): &(String, u64)| Share { device: device.clone(), budget: *budget, units: Vec::new() };
    let mut shares: Vec<Share> = budgets.iter().map(empty).collect();
    let mut at = 0;
    let mut units = units.into_iter();
    while let Some(unit) = units.next() {
        let fits = |share: &Share| share.bytes().saturating_add(unit.bytes) <= share.budget;
        while at < shares.len() && !fits(&shares[at]) {
            at += 1;
        }
        match shares.get_mut(at) {
            Some(share) => share.units.push(unit),
            None => return Err(Error::Memory(Box::new(Shortage::new(unit, units, total, shares)))),
        }
    }
    Ok(shares)
}

/// A unit that no device has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The unit.
    pub unit: Unit,
    /// The last device.
    pub device: String,
    /// How many bytes it may hold.
    pub budget: u64,
    /// How many of them are left.
    pub left: u64,
    /// How many it would have to hold.
    pub needed: u64,
    /// The whole model's.
    pub total: u64,
}

impl Shortage {
    fn new(unit: Unit, behind: impl Iterator<Item = Unit>, total: u64, mut shares: Vec<Share>) -> Self {
        let last = shares.pop().unwrap_or(Share { device: String::new(), budget: 0, units: Vec::new() });
        let needed = last.bytes() + unit.bytes + behind.map(|unit| unit.bytes).sum::<u64>();
        let left = last.budget.saturating_sub(last.bytes());
        Self { unit, device: last.device, budget: last.budget, left, needed, total }
    }
}

impl std::error::Error for Shortage {}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit: Unit { name, bytes }, device, budget, left, needed, total } = self;
        write!(
            f,
            "`{name}` takes {}, and {device} has {} of its {} left: it is {} too small; give it {}, or another device \
             more (the whole model takes {})",
            show_bytes(*bytes),
            show_bytes(*left),
            show_bytes(*budget),
            show_bytes_needed(needed.saturating_sub(*budget)),
            show_bytes_needed(*needed),
            show_bytes_needed(*total),
        )
    }
}

impl fmt::Display for Share {
    /// `cuda:0: shared, encoder.block.0-11 (5.8 GiB of 6.0 GiB)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.units.is_empty() { "nothing".to_string() } else { listed(&self.units) };
        write!(f, "{}: {held} ({} of {})", self.device, show_bytes(self.bytes()), show_bytes(self.budget))
    }
}

/// Their names, layers that follow each other as one: `shared, encoder.block.0-11`.
fn listed(units: &[Unit]) -> String {
    let mut parts: Vec<(&str, Option<[usize; 2]>)> = Vec::new();
    for unit in units {
        let numbered = unit.name.rsplit_once('.').and_then(|(list, number)| Some((list, number.parse().ok()?)));
        match (numbered, parts.last_mut()) {
            (Some((list, number)), Some((before, Some([_, last])))) if *before == list && *last + 1 == number => {
                *last = number;
            }
            (Some((list, number)), _) => parts.push((list, Some([number, number]))),
            (None, _) => parts.push((&unit.name, None)),
        }
    }
    let shown = |(name, range): &(&str, Option<[usize; 2]>)| match range {
        None => name.to_string(),
        Some([first, last]) if first == last => format!("{name}.{first}"),
        Some([first, last]) => format!("{name}.{first}-{last}"),
    };
    parts.iter().map(shown).collect::<Vec<_>>().join(", ")
}
