//! The room that a spool takes of its disk: twice what lives and four segments, whatever
//! the posts' ages are.

use super::*;
use postgate::spool::Usage;

/// Octets of the heads and metas of a post, at most.
const HEADS: u64 = 1000;

/// Waits until the spool takes no more than it may.
async fn bounded(spool: &Embedded) -> Usage {
    bounded_by(spool, small(Path::new("")).segment).await
}

async fn bounded_by(spool: &Embedded, segment: u64) -> Usage {
    let bound = |usage: &Usage| 2 * usage.living + 4 * segment;
    let last = std::cell::Cell::new(None);
    let wait = async {
        loop {
            let usage = spool.usage().await.unwrap().unwrap();
            last.set(Some(usage));
            if usage.octets <= bound(&usage) {
                return usage;
            }
            tokio::task::yield_now().await;
        }
    };
    let usage = tokio::time::timeout(DEADLINE, wait).await;
    usage.unwrap_or_else(|_| panic!("{:?}", last.get()))
}

/// Posts live for a moment, for some, or to the end, in changing shares; those that live
/// stand for what is held for weeks as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_mix_of_ages_takes_twice_what_lives_and_four_segments() {
    for seed in 0..4 {
        let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
        let spool = Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
        spool.recovered().await;
        let mut dice = fastrand::Rng::with_seed(seed);
        let (mut claimed, mut octets): (Vec<Claim>, _) = (Vec::new(), 0);
        for round in 0..6 {
            let stays = dice.f64();
            for number in 0..100 {
                let length = dice.usize(1..12_000);
                octets += length as u64;
                spool.commit(message(round * 100 + number + 1, &["a"], &body(number, length))).await.unwrap();
                claimed.extend(claim_all(&spool, "a").await);
                dice.shuffle(&mut claimed);
                let ends = claimed.len() - (claimed.len() as f64 * stays) as usize;
                let done: Vec<_> = claimed.drain(..ends.min(3)).collect();
                octets -= done.iter().map(|claim| u64::from(claim.post.body.length)).sum::<u64>();
                settle_all(&spool, done, &Settlement::Delivered).await;
            }
            let usage = bounded(&spool).await;
            let most = octets + claimed.len() as u64 * HEADS;
            assert!((octets..=most).contains(&usage.living), "seed {seed}: {usage:?}, {octets} to {most}");
        }
        for claim in claimed {
            let sent = spool.body(&claim).await.unwrap();
            assert_eq!(sent.len(), claim.post.body.length as usize, "seed {seed}, {}", claim.post.id);
            settle_all(&spool, vec![claim], &Settlement::Delivered).await;
        }
        assert_eq!(bounded(&spool).await.living, 0, "seed {seed}");
        close(spool);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_keeps_no_body() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
    let open = || Embedded::open_on(Arc::new(disk.clone()), small(directory.path())).unwrap();
    let keyed = |id: u64| {
        let mut admission = message(id, &["a"], &body(id, 8000));
        (admission.idempotency_key, admission.fingerprint) = (Some(format!("k{id}")), asked(id as u8));
        admission
    };
    let spool = open();
    for id in 1..=200 {
        spool.commit(keyed(id)).await.unwrap();
        let claims = claim_all(&spool, "a").await;
        settle_all(&spool, claims, &Settlement::Delivered).await;
    }
    let usage = bounded(&spool).await;
    assert!(usage.living < 200 * HEADS && usage.octets < 200 * 8000 / 2, "{usage:?}");
    close(spool);
    let spool = open();
    spool.recovered().await;
    let again = bounded(&spool).await;
    assert!((usage.living..200 * HEADS).contains(&again.living), "a start counts them as well: {again:?}");
    for id in 1..=200 {
        assert_eq!(spool.commit(keyed(id)).await, Ok(repeated(id, 1, asked(id as u8))), "{id}");
    }
    close(spool);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_counts_what_was_moved_as_a_move_does() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(Sync::Honest));
    // Room is asked for by the number of posts: a segment is to hold many.
    let segment = 512 << 10;
    let options = || Options { segment, ..options(directory.path()) };
    let open = || Embedded::open_on(Arc::new(disk.clone()), options()).unwrap();
    let spool = open();
    for id in 1..=800 {
        spool.commit(message(id, &["a"; 8], &body(id, 8000))).await.unwrap();
        let mut claims = claim_all(&spool, "a").await;
        claims.retain(|claim| claim.post.id.number > 1);
        settle_all(&spool, claims, &Settlement::Delivered).await;
    }
    let usage = bounded_by(&spool, segment).await;
    close(spool);
    let spool = open();
    spool.recovered().await;
    // What is moved further on counts for more, never for less.
    let again = spool.usage().await.unwrap().unwrap();
    assert!(again.living >= usage.living, "{usage:?}, {again:?}");
    assert!(usage.living > 2 * 800 * 8000 / 8, "some were moved: {usage:?}");
    close(spool);
}
