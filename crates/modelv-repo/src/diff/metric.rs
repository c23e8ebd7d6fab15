//! Which way a metric should go, where its name says so. A word for people: nothing is decided by it.

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Large ones.
    Higher,
    /// Small ones.
    Lower,
}

const HIGHER: &[&str] = &[
    "accuracy",
    "acc",
    "f1",
    "fscore",
    "auc",
    "auroc",
    "auprc",
    "ap",
    "map",
    "precision",
    "recall",
    "r2",
    "bleu",
    "rouge",
    "rouge1",
    "rouge2",
    "rougel",
    "meteor",
    "ndcg",
    "mrr",
    "iou",
    "miou",
    "dice",
    "psnr",
    "ssim",
    "mcc",
    "kappa",
    "throughput",
    "reward",
    "score",
    "top1",
    "top5",
    "specificity",
    "sensitivity",
];

const LOWER: &[&str] = &[
    "loss",
    "error",
    "errors",
    "err",
    "rmse",
    "mse",
    "mae",
    "mape",
    "smape",
    "logloss",
    "perplexity",
    "ppl",
    "wer",
    "cer",
    "nll",
    "fid",
    "latency",
    "ece",
    "brier",
    "deviance",
    "fpr",
    "fnr",
];

/// Which values of the metric `key` are better; `None`: its name says nothing, or both.
#[must_use]
pub fn better(key: &str) -> Option<Better> {
    let lower = key.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    let (mut up, mut down) = (false, false);
    words.by_ref().for_each(|word| {
        up |= HIGHER.contains(&word);
        down |= LOWER.contains(&word);
    });
    match (up, down) {
        (true, false) => Some(Better::Higher),
        (false, true) => Some(Better::Lower),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_way_is_better() {
        for (key, want) in [
            ("de.accuracy", Some(Better::Higher)),
            ("val_loss", Some(Better::Lower)),
            ("eval/F1", Some(Better::Higher)),
            ("steps", None),
            ("accuracy_error", None),
            ("lossless", None),
        ] {
            assert_eq!(better(key), want, "{key}");
        }
    }
}
