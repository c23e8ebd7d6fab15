//! Methods as people write them: `linear=0.5`, `ties=0.2,scale=0.7`. No arithmetic here.

use std::fmt;
use std::str::FromStr;

/// How weights are put together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The weighted mean, `Σ wᵢθᵢ / Σ wᵢ` (Model soups, Wortsman et al. 2022, arXiv 2203.05482).
    Linear,
    /// The point at `t` of the arc between two models (Shoemake 1985, "Animating rotation with
    /// quaternion curves"), each tensor one vector:
    /// `sin((1-t)Ω)/sin Ω · θ₁ + sin(tΩ)/sin Ω · θ₂`, where Ω is the angle between both. Vectors that
    /// are nearly parallel (|cos Ω| > 0.9995) or zero are put together linearly.
    Slerp {
        /// 0 is the first model, 1 the second.
        t: f64,
    },
    /// Task arithmetic, `θ₀ + λ Σ wᵢ(θᵢ - θ₀)` (Ilharco et al. 2022, arXiv 2212.04089).
    Task,
    /// TIES (Yadav et al. 2023, arXiv 2306.01708): of each difference to the base only the share of
    /// largest magnitude stays (per tensor), each number gets the sign that has more weight, and
    /// the mean of those that agree with it is added: `θ₀ + λ · mean`.
    Ties {
        /// Share of the numbers of a tensor that stay.
        density: f64,
    },
    /// DARE (Yu et al. 2023, arXiv 2311.03099) with task arithmetic: each number of a difference is
    /// dropped with probability `p`, the others are divided by `1 - p`.
    Dare {
        /// The probability.
        drop: f64,
    },
}

/// A method with its numbers. Written `NAME[=NUMBER][,scale=λ][,weights=W:W:…][,seed=N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// Which.
    pub kind: Kind,
    /// λ, for those that add to a base.
    pub scale: f64,
    /// One weight a model; empty: all alike.
    pub weights: Vec<f64>,
    /// Where the random numbers of DARE start.
    pub seed: u64,
}

/// Text that is no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MethodError(String);

impl Kind {
    /// The word that people type.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Slerp { .. } => "slerp",
            Self::Task => "task",
            Self::Ties { .. } => "ties",
            Self::Dare { .. } => "dare",
        }
    }

    /// Whether it adds to a base.
    #[must_use]
    pub fn needs_base(self) -> bool {
        matches!(self, Self::Task | Self::Ties { .. } | Self::Dare { .. })
    }
}

/// What is put together at most; more would be a mistake.
const MODELS_MAX: usize = 64;

impl Method {
    /// The weight of each of `models`.
    ///
    /// # Errors
    /// There are weights, but not one for each; or a number of models that it can't take.
    pub fn weights_of(&self, models: usize) -> Result<Vec<f64>, MethodError> {
        let word = self.kind.word();
        if !(1..=MODELS_MAX).contains(&models) || (models < 2 && !self.kind.needs_base()) {
            return Err(MethodError(format!("{word} can't take {models} models")));
        }
        if matches!(self.kind, Kind::Slerp { .. }) && models != 2 {
            return Err(MethodError(format!(
                "slerp takes two models, these are {models}"
            )));
        }
        if self.weights.is_empty() {
            return Ok(vec![1.0; models]);
        }
        if self.weights.len() != models {
            let n = self.weights.len();
            return Err(MethodError(format!("{n} weights for {models} models")));
        }
        Ok(self.weights.clone())
    }
}

fn number(word: &str, text: &str, low: f64, high: f64) -> Result<f64, MethodError> {
    let found = text.parse::<f64>().ok();
    found.filter(|n| (low..=high).contains(n)).ok_or_else(|| {
        MethodError(format!(
            "`{text}` is no number from {low} to {high} for `{word}`"
        ))
    })
}

/// Weights that are to be means need a sum; those that add may be negative (to forget a task).
fn weights(text: &str, is_mean: bool) -> Result<Vec<f64>, MethodError> {
    let low = if is_mean { 0.0 } else { -1e6 };
    let all: Vec<f64> = text
        .split(':')
        .map(|w| number("weights", w, low, 1e6))
        .collect::<Result<_, _>>()?;
    if is_mean && all.iter().sum::<f64>() <= 0.0 {
        return Err(MethodError("the weights are all zero".into()));
    }
    Ok(all)
}

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, MethodError> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (word, main) = match first.split_once('=') {
            Some((word, main)) => (word, Some(main)),
            None => (first, None),
        };
        let share = |default, high| main.map_or(Ok(default), |m| number(word, m, 0.0, high));
        let mut out = Self {
            kind: Kind::Linear,
            scale: 1.0,
            weights: Vec::new(),
            seed: 0,
        };
        match (word, main) {
            ("linear", Some(list)) if list.contains(':') => out.weights = weights(list, true)?,
            ("linear", Some(_)) => {
                let t = share(0.5, 1.0)?;
                out.weights = vec![1.0 - t, t];
            }
            ("linear", None) => {}
            ("slerp", _) => {
                out.kind = Kind::Slerp {
                    t: share(0.5, 1.0)?,
                }
            }
            ("task", _) => {
                out.kind = Kind::Task;
                out.scale = main.map_or(Ok(1.0), |m| number(word, m, -1e6, 1e6))?;
            }
            ("ties", _) => {
                let density = share(0.2, 1.0)?;
                if density == 0.0 {
                    return Err(MethodError("a density of 0 would keep nothing".into()));
                }
                out.kind = Kind::Ties { density };
            }
            // At 1 nothing would be left to divide.
            ("dare", _) => {
                out.kind = Kind::Dare {
                    drop: share(0.5, 0.999)?,
                }
            }
            _ => {
                return Err(MethodError(format!(
                    "`{word}` is none of linear, slerp, task, ties, dare"
                )));
            }
        }
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "scale" if matches!(out.kind, Kind::Ties { .. } | Kind::Dare { .. }) => {
                    out.scale = number(key, value, -1e6, 1e6)?;
                }
                "weights" if out.kind.needs_base() => {
                    out.weights = weights(value, matches!(out.kind, Kind::Ties { .. }))?;
                }
                "seed" if matches!(out.kind, Kind::Dare { .. }) => {
                    out.seed = value
                        .parse()
                        .map_err(|_| MethodError(format!("`{value}` is no seed")))?;
                }
                _ => return Err(MethodError(format!("{word} has no `{key}`"))),
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.weights.iter().map(f64::to_string).collect();
        let list = list.join(":");
        let word = self.kind.word();
        match self.kind {
            Kind::Linear if list.is_empty() => return f.write_str(word),
            Kind::Linear => return write!(f, "{word}={list}"),
            Kind::Slerp { t } => return write!(f, "{word}={t}"),
            Kind::Task => write!(f, "{word}={}", self.scale)?,
            Kind::Ties { density: n } | Kind::Dare { drop: n } => {
                write!(f, "{word}={n},scale={}", self.scale)?;
            }
        }
        if !list.is_empty() {
            write!(f, ",weights={list}")?;
        }
        if matches!(self.kind, Kind::Dare { .. }) {
            write!(f, ",seed={}", self.seed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_as_they_are_written() {
        for (text, written) in [
            ("linear", "linear"),
            ("linear=0.25", "linear=0.75:0.25"),
            ("linear=1:2:3", "linear=1:2:3"),
            ("slerp", "slerp=0.5"),
            ("slerp=0", "slerp=0"),
            ("task", "task=1"),
            ("task=-1", "task=-1"),
            ("task=0.4,weights=1:-0.5", "task=0.4,weights=1:-0.5"),
            ("ties", "ties=0.2,scale=1"),
            (
                "ties=0.5,scale=2,weights=1:3",
                "ties=0.5,scale=2,weights=1:3",
            ),
            ("dare", "dare=0.5,scale=1,seed=0"),
            ("dare=0.9,seed=7", "dare=0.9,scale=1,seed=7"),
        ] {
            let method: Method = text.parse().unwrap();
            assert_eq!(method.to_string(), written);
            assert_eq!(written.parse::<Method>().unwrap(), method, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_word() {
        for (text, said) in [
            ("mean", "`mean` is none of linear, slerp, task, ties, dare"),
            ("linear=2", "`2` is no number from 0 to 1 for `linear`"),
            ("linear=0:0", "the weights are all zero"),
            (
                "linear=1:x",
                "`x` is no number from 0 to 1000000 for `weights`",
            ),
            ("slerp=NaN", "`NaN` is no number from 0 to 1 for `slerp`"),
            ("slerp,seed=1", "slerp has no `seed`"),
            ("ties=0", "a density of 0 would keep nothing"),
            ("dare=1", "`1` is no number from 0 to 0.999 for `dare`"),
            ("dare,seed=-1", "`-1` is no seed"),
            ("", "`` is none of linear, slerp, task, ties, dare"),
        ] {
            assert_eq!(text.parse::<Method>().unwrap_err().to_string(), said);
        }
        let weights = |text: &str, n| text.parse::<Method>().unwrap().weights_of(n);
        assert_eq!(weights("linear", 3).unwrap(), [1.0; 3]);
        assert_eq!(weights("task", 1).unwrap(), [1.0]);
        assert!(weights("linear", 1).is_err() && weights("slerp", 3).is_err());
        assert!(weights("linear=0.5", 3).is_err() && weights("ties", 0).is_err());
    }
}
