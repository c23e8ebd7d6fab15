//! The workers, with real processes and what clients and functions may do to them.

use super::*;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::ImageConfig;

pub(crate) fn options(dir: &tempfile::TempDir) -> ServeOptions {
    ImageConfig {
        app_dir: dir.path().to_owned(),
        commit: "c".repeat(64),
        entry: "serve:predict".into(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        model: None,
        name: "main".into(),
        python: PathBuf::from("python3"),
        recipe: "r".repeat(64),
        site_dirs: Vec::new(),
        workers: 1,
    }
    .into_options()
}

pub(crate) fn log() -> Arc<Log> {
    Arc::new(Log::new(Box::new(std::io::sink()), "c"))
}

/// One worker for this function.
async fn pool(dir: &tempfile::TempDir, code: &str, set: fn(&mut ServeOptions)) -> Pool {
    std::fs::write(dir.path().join("serve.py"), code).unwrap();
    let mut options = options(dir);
    set(&mut options);
    let metrics = Arc::new(Metrics::default());
    Pool::start(&options, &metrics, &log()).await.unwrap().0
}

/// A queue without a worker, for batches that wait for more as long as they may.
fn queue(wait: Duration) -> Pool {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.batch_wait = wait;
    let shared = Shared {
        queue: Queue::new(&options, 8),
        workshop: Workshop::of_python(&options),
        spare: Mutex::new(None),
        ready: AtomicUsize::new(1),
        bell: Arc::new(Notify::new()),
        options,
        metrics: Arc::new(Metrics::default()),
        log: log(),
    };
    Pool {
        shared: Arc::new(shared),
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test);
}

async fn ask(pool: &Pool, body: &[u8]) -> Answer {
    pool.submit(body.to_vec()).unwrap().await.unwrap()
}

async fn pid(pool: &Pool, body: &[u8]) -> Bytes {
    match ask(pool, body).await {
        Answer::Result(pid) => pid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_body_ends_a_worker() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let code = "import os\ndef predict(x):\n    return os.getpid()\n";
        let plain = pool(&dir, code, |_| ()).await;
        let first = pid(&plain, b"1").await;
        let deep = b"[".repeat(200_000);
        let bodies = [&b"\"\xff\""[..], b"{", b"", &deep, &b"9".repeat(5_000)];
        for body in bodies {
            let said = ask(&plain, body).await;
            assert!(matches!(said, Answer::Unfit(_)), "{said:?}");
        }
        assert_eq!(pid(&plain, b"1").await, first, "it was never started again");
    });
}

#[test]
fn no_frame_ends_a_worker() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        // A stand-in: what is tried here fails before there is a data frame.
        std::fs::write(dir.path().join("pandas.py"), "DataFrame = list\n").unwrap();
        let code = "import os\ndef predict(x):\n    return os.getpid()\n";
        let frames = pool(&dir, code, |o| o.frame = true).await;
        let first = pid(&frames, b"[{\"a\": 1}]").await;
        for body in [
            "{\"columns\":[\"a\"]}",
            "{\"columns\":1,\"data\":1}",
            "{\"columns\":[[1]],\"data\":[[1]]}",
            "{\"columns\":[\"a\"],\"data\":[1]}",
            "7",
        ] {
            let said = ask(&frames, body.as_bytes()).await;
            assert!(matches!(said, Answer::Unfit(_)), "{body}: {said:?}");
        }
        assert_eq!(pid(&frames, b"[{\"a\": 1}]").await, first);
    });
}

#[test]
fn what_a_stream_raises_at_its_end_is_no_answer_to_the_next() {
    run(async {
        for end in [
            "finally:\n        raise ValueError('late')",
            "except GeneratorExit:\n        yield 0",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let code = "def predict(n):\n    try:\n        while True: yield n\n    ";
            let code = format!("{code}{end}\n");
            let pool = pool(&dir, &code, |_| ()).await;
            for round in 0..3 {
                let Answer::Stream(mut results) = ask(&pool, b"5").await else {
                    panic!("no stream in round {round}");
                };
                assert_eq!(
                    results.recv().await,
                    Some(Ok(Bytes::from_static(b"5"))),
                    "round {round}"
                );
            }
        }
    });
}

#[test]
fn a_batch_whose_worker_ends_before_it_is_asked_is_not_lost() {
    run(async {
        let pool = queue(HOUR);
        let _replies: Vec<_> = (0..3).map(|n| pool.submit(vec![n])).collect();
        let mut filling = Box::pin(pool.shared.queue.next());
        assert!(FutureExt::now_or_never(&mut filling).is_none());
        assert_eq!(pool.shared.queue.lock().len(), 0, "the batch has them");
        drop(filling);
        let jobs = pool.shared.queue.lock();
        let left: Vec<_> = jobs.iter().map(|j| (j.body.clone(), j.alone)).collect();
        assert_eq!(left, [0, 1, 2].map(|n| (Bytes::from(vec![n]), false)));
    });
}

#[test]
fn large_bodies_are_not_one_question() {
    run(async {
        let pool = queue(HOUR);
        let sizes = [30 << 20, 30 << 20, 30 << 20, queue::BATCH_BYTES_MAX + 1, 1];
        let _replies: Vec<_> = sizes.iter().map(|n| pool.submit(vec![0; *n])).collect();
        for want in [&sizes[..2], &sizes[2..3], &sizes[3..4]] {
            let batch = pool.shared.queue.next().await.unwrap();
            let got: Vec<_> = batch.iter().map(|j| j.body.len()).collect();
            assert_eq!(got, want);
        }
    });
}

#[test]
fn a_job_that_is_to_be_asked_alone_joins_no_batch() {
    run(async {
        let pool = queue(HOUR);
        let _replies: Vec<_> = (0..3).map(|n| pool.submit(vec![n])).collect();
        pool.shared.queue.lock()[1].alone = true;
        for n in 0..2 {
            let batch = pool.shared.queue.next().await.unwrap();
            assert_eq!((batch.len(), batch[0].body.as_ref()), (1, &[n][..]));
        }
    });
}

fn is_done<F: Future + Unpin>(next: &mut F) -> Option<F::Output> {
    FutureExt::now_or_never(next)
}

#[test]
fn one_request_waits_for_company_and_others_leave_it_to_it() {
    run(async {
        let pool = queue(HOUR);
        let queue = &pool.shared.queue;
        let mut first = Box::pin(queue.next());
        let mut second = Box::pin(queue.next());
        assert!(is_done(&mut first).is_none() && is_done(&mut second).is_none());
        let mut replies = vec![pool.submit(vec![0]).unwrap()];
        assert!(is_done(&mut first).is_none(), "it waits for more");
        for n in 1..8 {
            replies.push(pool.submit(vec![n]).unwrap());
            assert!(is_done(&mut second).is_none(), "that is for the first");
            let done = is_done(&mut first);
            assert_eq!(done.is_some(), n == 7, "a batch is eight");
            let sizes = done.flatten().map(|b| b.len());
            assert!(sizes.is_none_or(|n| n == 8), "{sizes:?}");
        }
        // What comes then is the second's.
        drop(first);
        replies.push(pool.submit(vec![8]).unwrap());
        assert!(is_done(&mut second).is_none());
        assert_eq!(queue.lock().len(), 0);
    });
}

#[test]
fn nobody_waits_longer_than_the_time_for_company() {
    run(async {
        let wait = Duration::from_millis(50);
        let pool = queue(wait);
        let start = Instant::now();
        let _reply = pool.submit(vec![0]).unwrap();
        let batch = pool.shared.queue.next().await.unwrap();
        assert_eq!(batch.len(), 1);
        assert!(start.elapsed() >= wait, "{:?}", start.elapsed());
        // One that has waited for a worker already waits no more.
        let pool = queue(HOUR / 60);
        let _reply = pool.submit(vec![1]).unwrap();
        pool.shared.queue.lock()[0].queued -= HOUR / 60;
        let start = Instant::now();
        assert!(pool.shared.queue.next().await.is_some());
        assert!(start.elapsed() < HOUR / 120, "{:?}", start.elapsed());
    });
}

/// Results as long as the number says, of which there is room for one and a half.
async fn long_results(dir: &tempfile::TempDir, set: fn(&mut ServeOptions)) -> Pool {
    let code = "import os\ndef predict(ns):\n    \
        one = lambda n: 'x' * n if n else os.getpid()\n    \
        return [one(n) for n in ns] if isinstance(ns, list) else one(ns)\n";
    std::fs::write(dir.path().join("serve.py"), code).unwrap();
    let mut options = options(dir);
    options.limits.all_results_bytes = 192 << 10;
    set(&mut options);
    let metrics = Arc::new(Metrics::default());
    Pool::start(&options, &metrics, &log()).await.unwrap().0
}

const LONG: &[u8] = b"131072";

#[test]
fn results_count_until_nobody_has_them() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let pool = long_results(&dir, |_| ()).await;
        let first = pid(&pool, b"0").await;
        let Answer::Result(held) = ask(&pool, LONG).await else {
            panic!("there is room for one");
        };
        assert_eq!(held.len(), (128 << 10) + 2);
        let part = held.slice(..1);
        drop(held);
        let said = ask(&pool, LONG).await;
        assert!(matches!(said, Answer::NoRoom), "{said:?}");
        // Small ones have no need of it, and the worker is the same.
        assert_eq!(pid(&pool, b"0").await, first);
        drop(part);
        let said = ask(&pool, LONG).await;
        assert!(matches!(said, Answer::Result(_)), "{said:?}");
        // What never fits is no matter of waiting.
        let said = ask(&pool, b"200000").await;
        let Answer::Raised(why, _) = &said else {
            panic!("{said:?}");
        };
        assert_eq!(why, TOO_LARGE);
        assert_eq!(pid(&pool, b"0").await, first);
    });
}

#[test]
fn a_batch_with_too_long_results_is_asked_one_by_one() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let pool = long_results(&dir, |o| o.batch = 4).await;
        let first = pid(&pool, b"0").await;
        // All wait before the worker is asked for the first time.
        let bodies = [b"[131072]"; 3].map(|b| pool.submit(&b[..]).unwrap());
        for body in bodies {
            let said = body.await.unwrap();
            assert!(matches!(said, Answer::Result(_)), "{said:?}");
        }
        assert_eq!(pid(&pool, b"0").await, first);
    });
}

#[test]
fn a_stream_whose_result_has_no_room_says_so() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let code = "def predict(n):\n    while True: yield 'x' * n\n";
        let pool = pool(&dir, code, |o| o.limits.all_results_bytes = 192 << 10).await;
        for (body, want) in [(&b"200000"[..], TOO_LARGE), (b"131072", NO_ROOM)] {
            let Answer::Stream(mut results) = ask(&pool, body).await else {
                panic!("no stream");
            };
            let mut kept = Vec::new();
            let why = loop {
                match results.recv().await {
                    Some(Ok(result)) => kept.push(result),
                    other => break other,
                }
            };
            assert_eq!(why, Some(Err(want.to_owned())));
            assert_eq!(kept.len(), usize::from(want == NO_ROOM));
        }
    });
}
