//! What is counted, told from zero, and kept.

use super::*;

#[test]
fn what_is_served_keeps_its_counts() {
    let metrics = Arc::new(Metrics::default());
    let (arm, twice) = (metrics.add("arm", "r", "a"), metrics.add("arm", "r", "a"));
    let all: Vec<_> = (0..COMMITS_MAX + 8)
        .map(|n| metrics.add(&format!("mirror {n}"), "r", "m"))
        .collect();
    drop((all, twice));
    for n in 0..100 {
        drop(metrics.add(&format!("swap {n}"), "r", "s"));
    }
    metrics.restarted("arm");
    let told = || metrics.render(&[], 0);
    assert!(told().contains("{commit=\"arm\"} 1\n"), "{}", told());
    assert_eq!(metrics.with(|all| all.commits.len()), COMMITS_MAX);
    drop(arm);
    for n in 0..COMMITS_MAX {
        drop(metrics.add(&format!("later {n}"), "r", "s"));
    }
    assert!(!told().contains("\"arm\""));
}
#[test]
fn what_has_not_happened_is_told_as_zero() {
    let metrics = Arc::new(Metrics::default());
    let _arm = metrics.add("arm", "r", "a");
    let told = metrics.render(&[], 0);
    for line in [
        "modelv_swaps_total{result=\"refused\"} 0\n",
        "modelv_swaps_total{result=\"taken\"} 0\n",
        "modelv_requests_total{code=\"500\",commit=\"arm\"} 0\n",
        "modelv_request_errors_total{kind=\"worker_died\",commit=\"arm\"} 0\n",
        "modelv_mirrored_total{result=\"different\",commit=\"arm\"} 0\n",
        "modelv_worker_restarts_total{commit=\"arm\"} 0\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    metrics.swapped("refused");
    metrics.end("arm", 500, Some("predict_failed"), Duration::ZERO);
    let told = metrics.render(&[], 0);
    assert!(
        told.contains("modelv_swaps_total{result=\"refused\"} 1\n"),
        "{told}"
    );
    assert!(told.contains("{code=\"500\",commit=\"arm\"} 1\n"), "{told}");
}
