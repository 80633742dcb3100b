//! The engine of the fuzz targets: makes inputs, watches for failures and hangs,
//! makes a failing input small and keeps it.
//!
//! It cannot see which code ran, so a target says what kind of run an input
//! gave; inputs of a new kind join the ones that are mutated. Iteration n of a
//! seed is always the same input.

use super::mutate::{mostly_small, mutate};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

/// An input that takes longer is a failure.
const HANG: Duration = Duration::from_secs(10);
/// Time to make a failing input smaller.
const SHRINKING: Duration = Duration::from_secs(10);
/// Inputs that are mutated, besides the seeds.
const POOL: usize = 4000;

/// What is fuzzed, and what must hold.
pub trait Target: Send + Sync + 'static {
    /// Names its directories.
    const NAME: &'static str;
    /// Octets of an input at most.
    const LONGEST: usize;

    /// Inputs to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// What is worth inserting.
    fn dictionary(&self) -> &[&[u8]];

    /// An input of its own making, for targets whose inputs have a grammar.
    fn fresh(&self, _dice: &mut fastrand::Rng) -> Option<Vec<u8>> {
        None
    }

    /// Panics when something does not hold; answers what kind of run it was.
    fn check(&self, input: &[u8]) -> u64;
}

/// An input that something does not hold for.
#[derive(Debug)]
pub struct Found {
    pub input: Vec<u8>,
    pub why: String,
    seed: u64,
    iteration: u64,
}

/// Seconds for each target.
fn budget() -> Duration {
    Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(5))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// The short run is the same everywhere; a long one is to see something new.
fn seed() -> u64 {
    let is_long = std::env::var_os("FUZZ_SECONDS").is_some();
    number("FUZZ_SEED").unwrap_or_else(|| if is_long { fastrand::u64(..) } else { 1 })
}

/// Runs a target: what was found before, then new inputs for as long as there is time.
pub fn fuzz<T: Target>(target: T) {
    let target = Arc::new(target);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(T::NAME);
    let before: Vec<_> = files(&directory).iter().map(|file| fs::read(file).unwrap()).collect();
    if let Some(found) = search(&target, before, seed(), budget()) {
        let file = kept::<T>(&found.input);
        panic!(
            "{}: {}\nthe input is in {}, {} octets: {}\nfound in iteration {} of FUZZ_SEED={}",
            T::NAME,
            found.why,
            file.display(),
            found.input.len(),
            found.input.get(..300).unwrap_or(&found.input).escape_ascii(),
            found.iteration,
            found.seed,
        );
    }
}

/// Runs a target that is broken on purpose: it must be found out.
pub fn must_be_found<T: Target>(target: T, complaint: &str) {
    let found = search(&Arc::new(target), Vec::new(), 1, Duration::from_secs(60));
    let found = found.unwrap_or_else(|| panic!("{}: nobody noticed: {complaint}", T::NAME));
    assert!(found.why.contains(complaint), "{}: noticed something else: {}", T::NAME, found.why);
}

/// A file's directory may be missing: then nothing was ever found.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn kept<T: Target>(input: &[u8]) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let directory = target.join("fuzz").join(T::NAME);
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(format!("{:08x}", crc32c::crc32c(input)));
    fs::write(&file, input).unwrap();
    file
}

/// What is being run, and since when.
type Now = Arc<Mutex<(Instant, Vec<u8>)>>;

/// Looks for a failing input on a thread of its own, and for one that never ends.
fn search<T: Target>(target: &Arc<T>, before: Vec<Vec<u8>>, seed: u64, budget: Duration) -> Option<Found> {
    keep_quiet();
    let now: Now = Arc::new(Mutex::new((Instant::now(), Vec::new())));
    let (sender, found) = channel();
    let search = Search { target: Arc::clone(target), now: Arc::clone(&now), seed };
    std::thread::spawn(move || sender.send(search.run(before, budget)));
    loop {
        match found.recv_timeout(Duration::from_millis(200)) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Disconnected) => panic!("{}: the search itself failed", T::NAME),
            Err(RecvTimeoutError::Timeout) => {
                let (since, input) = &*now.lock().unwrap();
                if since.elapsed() > HANG {
                    let file = kept::<T>(input);
                    panic!("{}: {} takes more than {HANG:?}, FUZZ_SEED={seed}", T::NAME, file.display());
                }
            }
        }
    }
}

struct Search<T> {
    target: Arc<T>,
    now: Now,
    seed: u64,
}

impl<T: Target> Search<T> {
    fn run(&self, before: Vec<Vec<u8>>, budget: Duration) -> Option<Found> {
        let ends_at = Instant::now() + budget;
        let mut seen = HashSet::new();
        let mut pool = before;
        pool.extend(self.target.seeds());
        pool.iter_mut().for_each(|input| input.truncate(T::LONGEST));
        for input in &pool {
            match self.try_input(input) {
                Ok(kind) => drop(seen.insert(kind)),
                Err(failure) => return Some(self.found(input.clone(), failure, 0)),
            }
        }
        let seeds = pool.len();
        let mut iteration = 0;
        while Instant::now() < ends_at {
            iteration += 1;
            let input = self.input(&pool, iteration);
            match self.try_input(&input) {
                Ok(kind) if seen.insert(kind) && pool.len() < seeds + POOL => pool.push(input),
                Ok(_) => {}
                Err(failure) => return Some(self.found(input, failure, iteration)),
            }
        }
        println!("{}: {iteration} inputs, {} kinds, FUZZ_SEED={}", T::NAME, seen.len(), self.seed);
        None
    }

    fn input(&self, pool: &[Vec<u8>], iteration: u64) -> Vec<u8> {
        let mut dice = fastrand::Rng::with_seed(self.seed ^ iteration.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let fresh = if dice.u8(..4) == 0 { self.target.fresh(&mut dice) } else { None };
        if let Some(input) = fresh {
            return input;
        }
        let mut input = dice.choice(pool).cloned().unwrap_or_default();
        // Mostly small steps, sometimes a leap.
        for _ in 0..=mostly_small(&mut dice, 5) {
            let other = dice.choice(pool).map_or(&[][..], |other| other);
            mutate(&mut input, other, self.target.dictionary(), &mut dice);
            input.truncate(T::LONGEST);
        }
        input
    }

    fn try_input(&self, input: &[u8]) -> Result<u64, Failure> {
        *self.now.lock().unwrap() = (Instant::now(), input.to_vec());
        attempt(|| self.target.check(input))
    }

    /// Takes out of a failing input whatever it fails without in the same way.
    fn found(&self, mut input: Vec<u8>, failure: Failure, iteration: u64) -> Found {
        let ends_at = Instant::now() + SHRINKING;
        let mut why = failure.why;
        let mut piece = input.len().div_ceil(2);
        while piece > 0 && Instant::now() < ends_at {
            let mut at = 0;
            while at < input.len() && Instant::now() < ends_at {
                let mut smaller = input.clone();
                smaller.drain(at..(at + piece).min(input.len()));
                match self.try_input(&smaller) {
                    Err(same) if same.place == failure.place => (input, why) = (smaller, same.why),
                    _ => at += piece,
                }
            }
            piece /= 2;
        }
        Found { input, why, seed: self.seed, iteration }
    }
}

/// A panic: where, and what it said.
#[derive(Clone, Default)]
struct Failure {
    place: String,
    why: String,
}

thread_local! {
    /// The panic of the input that this thread runs; nothing while it runs none.
    static CAUGHT: RefCell<Option<Failure>> = const { RefCell::new(None) };
}
/// Panics of threads that a target's code has started.
static STRAY: Mutex<Vec<Failure>> = Mutex::new(Vec::new());

fn attempt(check: impl FnOnce() -> u64) -> Result<u64, Failure> {
    CAUGHT.set(Some(Failure::default()));
    let result = catch_unwind(AssertUnwindSafe(check));
    let caught = CAUGHT.take().unwrap_or_default();
    match (result, STRAY.lock().unwrap().pop()) {
        (Ok(kind), None) => Ok(kind),
        (Ok(_), Some(stray)) => Err(stray),
        (Err(_), _) => Err(caught),
    }
}

/// Panics of inputs are noted instead of printed: making one small takes hundreds.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let why = panic.payload_as_str().unwrap_or_default();
            let failure = Failure { why: format!("{why} ({place})"), place };
            let is_input = CAUGHT
                .with_borrow_mut(|caught| caught.as_mut().map(|caught| *caught = failure.clone()).is_some());
            let is_own = std::thread::current().name().is_some_and(|name| name.starts_with("spool-"));
            if is_own && !is_input {
                STRAY.lock().unwrap().push(failure);
            } else if !is_input {
                usual(panic);
            }
        }));
    });
}
