//! Random actions on the embedded spool and on its model, the one in memory: both
//! must tell the same, also after ends in order and kills.

use super::steering::{failed, held, keyed, reroute};
use super::*;
use postgate::post::PostId;
use postgate::spool::{Content, Order, PostState, Query};
use support::memory::MemorySpool;

const HOUR: Duration = Duration::from_secs(3600);
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// The two spools, and the claims on both that are not settled, by post.
struct Pair {
    dice: fastrand::Rng,
    model: Arc<MemorySpool>,
    spool: Embedded,
    disk: SimDisk,
    options: Options,
    claims: BTreeMap<PostId, (Claim, Claim)>,
    next_id: u64,
    log: Vec<String>,
}

impl Pair {
    async fn open(seed: u64, directory: &Path, indexed_in_memory: usize) -> Pair {
        let options = Options { indexed_in_memory, ..small(directory) };
        let disk = SimDisk::new(Sync::Honest);
        let spool = Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
        // Before, an older post of a line may still turn up: none is claimed.
        spool.recovered().await;
        Pair {
            dice: fastrand::Rng::with_seed(seed),
            model: MemorySpool::new(),
            spool,
            disk,
            options,
            claims: BTreeMap::new(),
            next_id: 0,
            log: Vec::new(),
        }
    }

    async fn commit(&mut self) {
        self.next_id += 1;
        let (host, key) = (HOSTS[self.dice.usize(..2)], self.dice.u8(..6));
        let mut admission = keyed(self.next_id, host, &format!("key {key}"));
        if key > 2 {
            admission.posts[0].ordering_key = None;
        }
        admission.posts[0].priority = self.dice.u8(..3);
        admission.posts[0].tags = vec![format!("tag {}", self.next_id % 3)];
        admission.posts[0].has_links = self.dice.bool();
        admission.posts[0].lean_body = self.dice.bool().then_some(Blob { number: 0, start: 0, length: 7 });
        self.log.push(format!("commit {} to {host}, key {key}", self.next_id));
        assert_eq!(self.spool.commit(admission.clone()).await, Ok(Committed::Kept));
        self.model.commit(admission).await.unwrap();
    }

    async fn claim(&mut self) {
        let host = HOSTS[self.dice.usize(..3)];
        let mut ours: BTreeMap<_, _> = BTreeMap::new();
        for claim in claim_all(&self.spool, host).await {
            ours.insert(claim.post.id, claim);
        }
        let theirs = claim_all(&*self.model, host).await;
        self.log
            .push(format!("claim of {host}: {:?}", ours.keys().map(|id| id.message.0).collect::<Vec<_>>()));
        let told = |claim: &Claim| (Arc::clone(&claim.post), claim.attempt, claim.ended);
        let expected: BTreeMap<_, _> = theirs.iter().map(|claim| (claim.post.id, told(claim))).collect();
        assert_eq!(ours.iter().map(|(id, claim)| (*id, told(claim))).collect::<BTreeMap<_, _>>(), expected);
        for claim in theirs {
            let own = ours.remove(&claim.post.id).unwrap();
            assert_eq!(self.spool.body(&own).await, self.model.body(&claim).await);
            self.claims.insert(claim.post.id, (own, claim));
        }
    }

    async fn settle(&mut self) {
        let Some(id) = self.dice.choice(self.claims.keys()).copied() else { return };
        let (own, theirs) = self.claims.remove(&id).unwrap();
        let settlement = match self.dice.u8(..12) {
            0..=2 => Settlement::Delivered,
            10 => Settlement::Leaner { last: Attempt::because("413") },
            11 => Settlement::Dropped,
            3..=5 => again(Duration::ZERO),
            6 => again(HOUR),
            7 => held("451"),
            8 => failed("404"),
            _ => Settlement::Back,
        };
        self.log.push(format!("{id}: {settlement:?}"));
        self.spool.settle(vec![(own, settlement.clone())], Vec::new()).await.unwrap();
        self.model.settle(vec![(theirs, settlement)], Vec::new()).await.unwrap();
    }

    fn query(&mut self) -> Query {
        let mut query = Query::default();
        match self.dice.u8(..6) {
            0 => query.id = Some(super::steering::id(self.dice.u64(..=self.next_id))),
            1 => query.destination = Some(format!("http://{}", HOSTS[self.dice.usize(..3)]).parse().unwrap()),
            2 => query.tag = Some(format!("tag {}", self.dice.u8(..3))),
            _ => {}
        }
        use PostState::{Deferred, Delivered, Failed, Held, Queued, Sending};
        let states = [Queued, Deferred, Failed, Held, Sending, Delivered].map(Some);
        let states = [None].into_iter().chain(states).collect::<Vec<_>>();
        query.state = self.dice.choice(states).unwrap();
        query
    }

    async fn order(&mut self) {
        let query = self.query();
        let order = match self.dice.u8(..12) {
            0..=2 => Order::Hold,
            3..=5 => Order::Release,
            6..=8 => Order::Retry,
            9 => Order::Delete,
            _ => reroute(HOSTS[self.dice.usize(..3)]),
        };
        self.log.push(format!("{order:?} of {query:?}"));
        let meant = self.spool.order(query.clone(), order.clone()).await.unwrap();
        assert_eq!(meant, self.model.order(query, order).await.unwrap(), "posts meant");
    }

    async fn look(&mut self) {
        let query = self.query();
        let before = self.dice.bool().then(|| super::steering::id(self.dice.u64(..=self.next_id)));
        let most = self.dice.usize(1..20);
        let told = |page: Vec<postgate::spool::Listed>| {
            let told = |listed: postgate::spool::Listed| {
                let reason = listed.last.map(|last| last.reason);
                (listed.post, listed.state, listed.ended, reason)
            };
            page.into_iter().map(told).collect::<Vec<_>>()
        };
        let ours = told(self.spool.page(query.clone(), before, most).await.unwrap());
        let theirs = told(self.model.page(query.clone(), before, most).await.unwrap());
        assert_eq!(ours, theirs, "{query:?} before {before:?}");
        for (post, ..) in ours {
            let reasons = |attempts: Vec<Attempt>| {
                attempts.into_iter().map(|attempt| attempt.reason).collect::<Vec<_>>()
            };
            let contents = [self.spool.content(post.id).await, self.model.content(post.id).await];
            let told = |content: Result<Content, _>| content.map(|content| (content.body, content.message));
            let [ours, theirs] = contents.map(told);
            assert_eq!(ours, theirs);
            let ours = reasons(self.spool.attempts(post.id).await.unwrap());
            assert_eq!(ours, reasons(Spool::attempts(&*self.model, post.id).await.unwrap()));
        }
        let mut counts = [self.spool.counts().await.unwrap(), self.model.counts().await.unwrap()];
        counts.iter_mut().for_each(|counts| counts.sort_by_key(|(lane, _)| Arc::clone(lane)));
        // Since when they wait is known nearly, and exactly where there is a model of it.
        let [mut ours, mut theirs] = counts;
        for ((lane, ours), (_, theirs)) in ours.iter_mut().zip(&mut theirs) {
            let (ours, theirs) = (ours.oldest_at.take(), theirs.oldest_at.take());
            assert_eq!(ours.is_some(), theirs.is_some(), "{lane}");
            assert!(ours <= theirs, "{lane}: {ours:?} {theirs:?}");
        }
        assert_eq!(ours, theirs);
    }

    /// Ends the process; the model hears what that means for attempts under way.
    async fn restart(self) -> Pair {
        let Pair { dice, model, spool, mut disk, options, claims, next_id, mut log } = self;
        let mut dice = dice;
        let cut_off = if dice.bool() {
            log.push("close".to_owned());
            close(spool);
            Settlement::Again { after: Duration::ZERO, last: Attempt::because("the gateway stopped") }
        } else {
            log.push("kill".to_owned());
            // What was delivered is on the disk with the next group.
            spool.set_note("n", None, None).await.unwrap();
            flush(&spool).await;
            disk = disk.after_kill();
            drop(spool);
            Settlement::Back
        };
        for (_, claim) in claims.into_values() {
            model.settle(vec![(claim, cut_off.clone())], Vec::new()).await.unwrap();
        }
        let spool = Embedded::open_on(Arc::new(disk.clone()), options.clone()).unwrap();
        spool.recovered().await;
        Pair { dice, model, spool, disk, options, claims: BTreeMap::new(), next_id, log }
    }
}

/// Has a group written, and with it what rides.
async fn flush(spool: &Embedded) {
    let mut message = message(u64::MAX, &["flush"], b"x");
    message.posts[0].not_before_at = Some(Timestamp(u64::MAX - 1));
    // A message that is there already makes no group: it has to go again.
    spool.commit(message).await.unwrap();
    let query = Query { id: Some(super::steering::id(u64::MAX)), ..Query::default() };
    assert_eq!(spool.order(query, Order::Delete).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_actions_are_answered_like_by_the_model() {
    for seed in 0..60 {
        let directory = tempfile::tempdir().unwrap();
        let indexed_in_memory = [usize::MAX, 7, 0][seed as usize % 3];
        let mut pair = Pair::open(seed, directory.path(), indexed_in_memory).await;
        for _ in 0..120 {
            let action = pair.dice.u8(..20);
            let log = pair.log.clone();
            let step = async move {
                match action {
                    0..=4 => pair.commit().await,
                    5..=8 => pair.claim().await,
                    9..=12 => pair.settle().await,
                    13..=15 => pair.order().await,
                    16..=18 => pair.look().await,
                    _ => return pair.restart().await,
                }
                pair
            };
            match tokio::spawn(step).await {
                Ok(after) => pair = after,
                Err(_) => panic!("seed {seed}:\n{}", log.join("\n")),
            }
        }
    }
}
