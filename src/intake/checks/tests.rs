//! Checks of recipients against an oracle and a paused clock.

use super::*;
use crate::compose::{CheckFallback, CheckFormat};
use crate::envelope::Client;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Says what the local part asks for, after a second.
#[derive(Default)]
struct Oracle(AtomicUsize);

impl Inquire for Oracle {
    fn inquire(
        &self,
        inquiry: Inquiry,
    ) -> Pin<Box<dyn Future<Output = Result<Response, String>> + Send + '_>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let text = String::from_utf8_lossy(&inquiry.body).into_owned();
            let status = match () {
                () if text.contains("yes@") => 200,
                () if text.contains("no@") => 404,
                () => return Err("it is dead".to_owned()),
            };
            Ok(Response { status, content_type: None, body: Bytes::new() })
        })
    }
}

struct World {
    oracle: Arc<Oracle>,
    checks: Checks,
    check: Check,
    client: Client,
    metrics: Metrics,
}

fn world() -> World {
    let oracle = Arc::new(Oracle::default());
    let check = Check {
        url: "http://127.0.0.1/check".parse().unwrap(),
        format: CheckFormat::Json,
        timeout: Duration::from_secs(5),
        fallback: CheckFallback::Defer,
        cache: Duration::from_secs(300),
    };
    let client = Client {
        address: None,
        helo: String::new(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let checks = Checks::by(Arc::clone(&oracle) as Arc<dyn Inquire>);
    World { oracle, checks, check, client, metrics: Metrics::default() }
}

impl World {
    async fn code(&self, to: &str) -> u16 {
        self.code_from("", to).await
    }

    async fn code_from(&self, from: &str, to: &str) -> u16 {
        let facts = Facts { to, from, size: None, client: &self.client };
        let checked = self.checks.check(&self.check, facts, &self.metrics).await;
        checked.map_or_else(|refusal| refusal.code, |()| 250)
    }

    fn asked(&self) -> usize {
        self.oracle.0.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn answers_count_for_their_time() {
    // Nobody waits for one that gave no answer just now.
    for (to, code, life) in [("yes@h", 250, 300), ("no@h", 550, 60), ("dead@h", 451, 60)] {
        let world = world();
        let begun = Instant::now();
        assert_eq!((world.code(to).await, world.asked()), (code, 1), "{to}");
        let known = Instant::now();
        assert!(known > begun);
        tokio::time::sleep(Duration::from_secs(life) - Duration::from_millis(1)).await;
        assert_eq!((world.code(&to.to_uppercase()).await, world.asked()), (code, 1), "{to}");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!((world.code(to).await, world.asked()), (code, 2), "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_one_sender_is_none_about_another() {
    let world = world();
    for (from, code, asked) in [("no@h", 550, 1), ("yes@h", 250, 2), ("no@h", 550, 2), ("yes@h", 250, 2)] {
        assert_eq!((world.code_from(from, "a@h").await, world.asked()), (code, asked), "{from}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_is_not_asked_about_every_recipient() {
    let world = world();
    for number in 0..100 {
        assert_eq!((world.code(&format!("{number}@h")).await, world.asked()), (451, 1));
    }
}

/// One question at a time finds out whether it is back; nobody waits for it.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_back_is_heard() {
    let world = world();
    assert_eq!((world.code("dead@h").await, world.asked()), (451, 1));
    tokio::time::sleep(TROUBLE).await;
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(world.code("yes@h").await, 451);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((world.code("yes@h").await, world.asked()), (250, 2));
    assert_eq!((world.code("no@h").await, world.asked()), (550, 3));
    // Long after a silence it is asked like any other.
    assert_eq!((world.code("dead@h").await, world.asked()), (451, 4));
    tokio::time::sleep(SILENCE).await;
    assert_eq!((world.code("no@i").await, world.asked()), (550, 5));
}

#[tokio::test(start_paused = true)]
async fn who_asks_at_once_asks_once() {
    let world = Arc::new(world());
    let begun = Instant::now();
    let ask = |_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.code("yes@h").await })
    };
    for asked in (0..100).map(ask).collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 250);
    }
    assert_eq!((world.asked(), begun.elapsed()), (1, Duration::from_secs(1)));
    let text = world.metrics.text(&crate::metrics::Scene::default());
    assert!(text.contains("postgate_recipient_checks_total{result=\"accepted\"} 1"), "{text}");
    assert!(text.contains("postgate_recipient_checks_total{result=\"known\"} 99"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded() {
    let world = world();
    for number in 0..ROOM + 100 {
        world.checks.kept(subject("", number.to_string().as_bytes()));
    }
    let known = world.checks.known.lock().unwrap();
    assert_eq!((known.answers.len(), known.order.len()), (ROOM, ROOM));
    assert!(!known.answers.contains_key(&subject("", b"99")));
    assert!(known.answers.contains_key(&subject("", b"100")));
}
