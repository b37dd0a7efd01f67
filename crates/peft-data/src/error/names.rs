//! Names in messages: those most like a wrong one, and lists that stay readable.

/// The names of `all` most like `name`, best first, at most three and none that has little in common.
pub(crate) fn nearest(name: &str, all: &[String]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, &String)> = all
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, candidate)| candidate.clone()).collect()
}

pub(super) fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(" (did you mean {}?)", quoted(nearest)) }
}

/// A list a person can read: at most twenty names, then how many more there are.
pub(super) fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("label-{i}")).collect()
    }

    #[test]
    fn long_lists_are_cut() {
        let text = quoted(&names(77));
        assert!(text.ends_with("`label-19` and 57 more"), "{text}");
        assert_eq!(quoted(&names(2)), "`label-0`, `label-1`");
    }

    #[test]
    fn the_nearest_name_ignores_case_and_leaves_strangers_out() {
        let all = ["Sentence".to_owned(), "label".to_owned(), "idx".to_owned()];
        assert_eq!(nearest("sentense", &all), ["Sentence"]);
        assert!(nearest("premise-of-it-all", &all).is_empty());
    }
}
