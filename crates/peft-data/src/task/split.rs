//! Setting rows aside for validation where the user has no file for it. The choice comes of the seed alone, on
//! every platform, and takes its share of each class: a rare class is not left out of either side by chance.

use std::collections::BTreeMap;

use super::{Example, Examples, Label};
use crate::error::DataError;
use crate::random::Random;

impl Examples {
    /// Splits off a fraction of the rows, at random, class by class where each row has one class. Returns what is
    /// left and what was set aside, both in the file's order.
    ///
    /// Each class gives its share rounded to the nearest whole row but keeps at least one row; the number set
    /// aside is `fraction` of all rows as nearly as that allows.
    pub fn split(self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let rows = self.rows.len();
        let wanted = (rows as f64 * fraction).round() as usize;
        if !(fraction > 0.0 && fraction < 1.0) || wanted == 0 || wanted >= rows {
            return Err(DataError::Split { fraction, rows });
        }
        let aside = choose(&self.rows, wanted, &mut Random::new(seed, 0));
        if !aside.contains(&true) {
            // Every class has a single row, and none can be spared.
            return Err(DataError::Split { fraction, rows });
        }
        let part = |rows: Vec<Example>| Self { path: self.path.clone(), rows, labels: self.labels.clone() };
        let (mut kept, mut held_out) = (Vec::new(), Vec::new());
        for (row, aside) in self.rows.into_iter().zip(aside) {
            if aside { held_out.push(row) } else { kept.push(row) }
        }
        Ok((part(kept), part(held_out)))
    }
}

/// Which rows to set aside: `wanted` of them, in each class its share.
fn choose(rows: &[Example], wanted: usize, random: &mut Random) -> Vec<bool> {
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let class = if let Some(Label::Class(class)) = row.label { class } else { 0 };
        classes.entry(class).or_default().push(index);
    }
    // Largest remainders: first every class's whole rows, then one row each where the most is left over.
    let share = |members: &Vec<usize>| members.len() * wanted;
    let mut counts: BTreeMap<usize, usize> =
        classes.iter().map(|(class, members)| (*class, share(members) / rows.len())).collect();
    let mut by_remainder: Vec<usize> = classes.keys().copied().collect();
    by_remainder.sort_by_key(|class| std::cmp::Reverse(share(&classes[class]) % rows.len()));
    let mut left = wanted - counts.values().sum::<usize>();
    for class in by_remainder {
        let room = classes[&class].len() - 1;
        if left > 0 && counts[&class] < room {
            counts.entry(class).and_modify(|count| *count += 1);
            left -= 1;
        }
    }
    let mut aside = vec![false; rows.len()];
    for (class, mut members) in classes {
        random.shuffle(&mut members);
        for index in members.into_iter().take(counts[&class]) {
            aside[index] = true;
        }
    }
    aside
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn examples(classes: &[usize]) -> Examples {
        let rows = classes
            .iter()
            .enumerate()
            .map(|(line, class)| Example {
                text: format!("row {line}"),
                text_pair: None,
                choices: None,
                label: Some(Label::Class(*class)),
                line,
            })
            .collect();
        Examples { path: "rows.csv".into(), rows, labels: None }
    }

    fn lines(examples: &Examples) -> Vec<usize> {
        examples.rows.iter().map(|row| row.line).collect()
    }

    #[test]
    fn every_row_once_and_each_class_its_share() {
        let classes: Vec<usize> = (0..200).map(|i| if i % 10 == 0 { 1 } else { 0 }).collect();
        let (kept, aside) = examples(&classes).split(0.25, 3).unwrap();
        assert_eq!((kept.len(), aside.len()), (150, 50));
        let rare = aside.rows.iter().filter(|row| row.label == Some(Label::Class(1))).count();
        assert_eq!(rare, 5);
        let mut all = [lines(&kept), lines(&aside)].concat();
        assert!(lines(&kept).is_sorted() && lines(&aside).is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let classes: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let pick = |seed| lines(&examples(&classes).split(0.2, seed).unwrap().1);
        assert_eq!(pick(1), pick(1));
        assert_ne!(pick(1), pick(2));
    }

    #[test]
    fn a_class_of_one_row_is_kept_for_training() {
        let classes: Vec<usize> = (0..20).chain(std::iter::repeat_n(20, 20)).collect();
        let (kept, aside) = examples(&classes).split(0.5, 0).unwrap();
        assert!((0..20).all(|class| kept.rows.iter().any(|r| r.label == Some(Label::Class(class)))));
        assert!(!aside.is_empty());
    }

    #[rstest]
    #[case(0.0, 10)]
    #[case(1.0, 10)]
    #[case(f64::NAN, 10)]
    #[case(-0.1, 10)]
    #[case(0.1, 3)]
    #[case(0.9, 1)]
    fn a_side_without_rows_is_refused(#[case] fraction: f64, #[case] rows: usize) {
        let error = examples(&vec![0; rows]).split(fraction, 0).unwrap_err().to_string();
        assert!(error.contains("leaves at least one row on each side"), "{error}");
    }
}
