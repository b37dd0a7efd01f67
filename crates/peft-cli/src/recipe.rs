//! Recipes: published ways to train, as the options that they come to.

use anyhow::{Result, bail};
use peft::core::targets::Targets;
use peft::models::ModelConfig;

use crate::options::TrainOptions;

/// What `--recipe` may say, and the options it stands for.
const RECIPES: [(&str, &str); 2] = [
    ("t-few", include_str!("recipes/t-few.toml")),
    ("twitter-complaints", include_str!("recipes/twitter-complaints.toml")),
];

/// The names of the recipes.
pub(crate) fn recipes() -> Vec<&'static str> {
    RECIPES.iter().map(|(name, _)| *name).collect()
}

impl TrainOptions {
    /// These, and those of the recipe they name where they say nothing.
    ///
    /// # Errors
    /// A recipe that there is not.
    pub(crate) fn with_recipe(self) -> Result<Self> {
        let Some(name) = self.recipe.clone() else { return Ok(self) };
        let Some((_, text)) = RECIPES.iter().find(|(known, _)| *known == name) else {
            bail!("recipe: `{name}` is none of this version's; choose {}", recipes().join(" or "));
        };
        let recipe: Self = toml::from_str(text)?;
        // An adapter that is trained on brings its method along.
        let recipe = if self.init_adapter.is_some() { recipe.without_method() } else { recipe };
        Ok(self.over(recipe))
    }

    /// What the recipe leaves to the architecture: T-Few rescales keys, values and the gate's linear part, or, without a
    /// gate, what stands in its place.
    pub(crate) fn recipe_for(mut self, model: &ModelConfig) -> Result<Self> {
        let ModelConfig::T5(config) = model else { return Ok(self) };
        let is_open = self.target_modules.is_none() && self.feedforward_modules.is_none();
        if self.recipe.as_deref() == Some("t-few") && self.method() == "ia3" && is_open {
            let (_, gated) = config.feed_forward()?;
            let names = ["k", "v", if gated { "wi_1" } else { "wi" }];
            self.target_modules = Some(Targets::List(names.map(str::to_string).to_vec()));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_options_and_says_nothing_over_those_given() {
        for name in recipes() {
            let options = TrainOptions { recipe: Some(name.into()), ..TrainOptions::default() }.with_recipe().unwrap();
            assert!(options.given().len() > 3, "{name}");
        }
        let options = TrainOptions { recipe: Some("t-few".into()), batch_size: Some(2), ..TrainOptions::default() };
        let options = options.with_recipe().unwrap();
        assert_eq!((options.batch_size, options.max_steps, options.method()), (Some(2), Some(1000), "ia3"));
        let error = TrainOptions { recipe: Some("t5".into()), ..TrainOptions::default() }.with_recipe().unwrap_err();
        assert!(error.to_string().contains("t-few or twitter-complaints"), "{error}");
    }
}
