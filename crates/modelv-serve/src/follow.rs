//! Following a name: a newer commit is loaded and warmed beside the one that serves, then takes its
//! place. One that can't be read, loaded or warmed is refused, and the one before serves on.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::config::{Follow, Guard, ServeOptions};
use crate::http::App;
use crate::model::Model;

/// Asks the source again and again, until it is aborted.
pub(crate) async fn follow(app: Arc<App>, follow: Follow) {
    let Follow { mut source, every } = follow;
    let mut told = None;
    loop {
        tokio::time::sleep(every).await;
        let asked = tokio::task::spawn_blocking(move || {
            let next = source.next();
            (source, next)
        });
        let Ok((back, next)) = asked.await else {
            app.log.line(
                "error",
                "follow_failed",
                json!({"error": "the source panicked"}),
            );
            return;
        };
        source = back;
        match next {
            Ok(None) => told = None,
            Ok(Some((options, guard))) => {
                told = None;
                if !load(&app, options, guard).await {
                    source.refused();
                }
            }
            // The same trouble again is no news.
            Err(e) if told.as_ref() != Some(&e) => {
                app.metrics.swapped("refused");
                app.log.line("error", "follow_failed", json!({"error": e}));
                told = Some(e);
            }
            Err(_) => {}
        }
    }
}

/// Whether the commit serves now.
async fn load(app: &Arc<App>, options: ServeOptions, guard: Guard) -> bool {
    let (commit, start) = (options.commit.clone(), Instant::now());
    app.log.line_of(&commit, "info", "loading", json!({}));
    match Model::load(options, guard, &app.metrics, &app.log).await {
        Ok(model) => {
            let old = app.swap(Arc::new(model));
            app.metrics.swapped("taken");
            app.log.now_about(&commit);
            let ms = start.elapsed().as_secs_f64() * 1000.0;
            let fields = json!({"from": old.commit(), "ms": ms});
            app.log.line_of(&commit, "info", "swapped", fields);
            true
        }
        Err(e) => {
            app.metrics.swapped("refused");
            let serving = app.arms.main();
            let fields = json!({"error": e.to_string(), "serving": serving.commit()});
            app.log.line_of(&commit, "error", "refused", fields);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::arms::Slot;
    use crate::config::{Limits, Source};
    use crate::metrics::Metrics;
    use crate::pool::tests::{log, options, run};

    /// Gives a commit, and the same again when it was refused.
    struct Fake {
        options: ServeOptions,
        refused: tokio::sync::mpsc::UnboundedSender<()>,
        is_next: bool,
    }

    impl Source for Fake {
        fn next(&mut self) -> Result<Option<(ServeOptions, Guard)>, String> {
            let is_next = std::mem::replace(&mut self.is_next, false);
            Ok(is_next.then(|| (self.options.clone(), None)))
        }

        fn refused(&mut self) {
            self.is_next = true;
            let _ = self.refused.send(());
        }
    }

    #[test]
    fn a_source_is_told_that_its_commit_does_not_serve() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let code = "def predict(x):\n    return x\n";
            std::fs::write(dir.path().join("serve.py"), code).unwrap();
            let (log, metrics) = (log(), Arc::new(Metrics::default()));
            let good = Model::load(options(&dir), None, &metrics, &log);
            let slot = Slot {
                model: Arc::new(good.await.unwrap()),
                weight: 1,
                mirror: false,
            };
            let app = App::new(vec![slot], Limits::default(), metrics, log, "x-key", None);
            let (told, mut refusals) = tokio::sync::mpsc::unbounded_channel();
            let source = Box::new(Fake {
                options: ServeOptions {
                    entry: "serve:missing".into(),
                    ..options(&dir)
                },
                refused: told,
                is_next: true,
            });
            let every = Duration::from_millis(1);
            let following = tokio::spawn(follow(Arc::new(app), Follow { source, every }));
            // It is asked again after a refusal.
            assert_eq!(refusals.recv().await, Some(()));
            assert_eq!(refusals.recv().await, Some(()));
            following.abort();
        });
    }
}
