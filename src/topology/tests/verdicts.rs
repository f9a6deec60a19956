//! A source that can block, and a judge that acts through it: no component of the product does so yet.

use tokio::sync::watch;

use super::*;
use crate::{
    component::{Configure, Context, Problem, Reference},
    networks::{Entry, NetworkMap, Networks},
    record::Id,
    topology::stores::Stores,
    verdict::{self, Answer, By, MemoryStore, Mode, Refusal, Scope, Store, Verdict},
};

/// Blocks, and sees the numbers 1 to 4.
struct Gate(Arc<Networks>);

/// Gives a verdict about 203.0.113.N for each number N.
struct Judge {
    via: Option<String>,
    answers: Answers,
}

type Answers = Arc<Mutex<Vec<Answer>>>;

struct Judging {
    store: Option<Arc<dyn Store>>,
    answers: Answers,
}

impl Configure for Gate {
    fn signature(&self) -> Signature {
        Signature::source(Kind::Raw)
    }

    fn takes_verdicts(&self) -> bool {
        true
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        let (_, networks) = watch::channel(Arc::clone(&self.0));
        let store = MemoryStore::new(3, Mode::Enforce, networks);
        Ok(Component::source_with_store(Numbers((1..=4).collect()), Arc::new(store)))
    }
}

impl Configure for Judge {
    fn signature(&self) -> Signature {
        Signature::transform(RAW, Carries::Inputs)
    }

    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn references(&self) -> Vec<Reference> {
        let reference = |id: &String| Reference { key: "via".to_owned(), id: id.clone() };
        self.via.iter().map(reference).collect()
    }

    fn build(&self, context: &Context) -> Result<Component, Error> {
        let store = self.via.as_ref().and_then(|via| context.stores.get(via)).cloned();
        Ok(Component::transform(Judging { store, answers: Arc::clone(&self.answers) }))
    }
}

impl Transform for Judging {
    fn apply(&mut self, batch: Batch, now: Timestamp, out: &mut Outbox<'_>) {
        for number in numbers(&batch.records) {
            let verdict = verdict(number);
            let answer = self.store.as_ref().map(|store| store.apply(verdict, now));
            lock(&self.answers).extend(answer);
        }
        out.push(Port::MAIN, batch);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn verdict(number: u64) -> Verdict {
    Verdict {
        id: Id::of("verdict", "test").number(number).finish(),
        network: format!("203.0.113.{number}/32").parse().unwrap(),
        action: verdict::Action::Drop,
        scope: Scope::All,
        port: None,
        ttl: Some(Duration::from_hours(1)),
        score: 85,
        offence: 0,
        reasons: Vec::new(),
        by: By::Score,
    }
}

/// Builds the two as [`build`] builds the components of a config, and runs them. Without `gate` another
/// source stands in its place, as in a replay.
async fn run(clock: Clock, gate: bool) -> (Vec<Answer>, Vec<String>) {
    let allowed = ("203.0.113.2/32".parse().unwrap(), Entry::default());
    let networks = Arc::new(Networks { allow: NetworkMap::new([allowed]), ..Networks::default() });
    let (_sender, watched) = watch::channel(Arc::clone(&networks));
    let mut stores = Stores::default();
    let mut pipeline = Pipeline::new(clock);
    let context = Context { clock, ..Context::alone(Meter::new("gate", "test")) };
    let source = if gate {
        let config = Gate(networks);
        let built = config.build(&context).unwrap();
        stores.offered("gate", &built);
        pipeline.add("gate", config.signature(), built, &[])
    } else {
        pipeline.source("captures", Numbers((1..=4).collect()))
    };
    let judge = Judge { via: Some("gate".to_owned()), answers: Answers::default() };
    let references = judge.references();
    let handed = stores.of(&references, clock, &watched).unwrap();
    let again = stores.of(&references, clock, &watched).unwrap();
    assert!(Arc::ptr_eq(&handed["gate"], &again["gate"]), "all who name it have the same");
    let built = judge.build(&Context { stores: handed, ..context }).unwrap();
    let judging = pipeline.add("judge", judge.signature(), built, &[(source, 0)]);
    let told = pipeline.collect("told", &[(judging, 0)]);
    assert!(pipeline.run().await.is_clean());
    assert_eq!(seen(&told), [1, 2, 3, 4]);
    let entries = again["gate"].list(Timestamp::from_nanos(i64::MAX - 1));
    assert!(entries.is_empty(), "an hour is over by then");
    let explained = (1..=4).flat_map(|number| {
        let address = format!("203.0.113.{number}").parse().unwrap();
        again["gate"].explain(address, Timestamp::from_nanos(i64::MAX - 1))
    });
    let explained = explained.map(|entry| entry.verdict.network.to_string()).collect();
    let answers = lock(&judge.answers).clone();
    (answers, explained)
}

#[tokio::test]
async fn a_verdict_goes_from_the_judge_to_the_store_that_the_source_offers() {
    let (answers, explained) = run(Clock::Wall, true).await;
    let applied = Answer::Applied(Mode::Enforce);
    assert_eq!([&answers[0], &answers[2], &answers[3]], [&applied; 3]);
    assert!(matches!(answers[1], Answer::Refused(Refusal::Allowed { .. })), "{answers:?}");
    assert_eq!(explained, ["203.0.113.1/32", "203.0.113.3/32", "203.0.113.4/32"]);
}

#[tokio::test]
async fn in_a_replay_a_store_in_memory_stands_in_and_blocks_nothing() {
    let (answers, explained) = run(Clock::Event, false).await;
    let applied = Answer::Applied(Mode::Observe);
    assert_eq!([&answers[0], &answers[2], &answers[3]], [&applied; 3]);
    assert!(matches!(answers[1], Answer::Refused(Refusal::Allowed { .. })), "{answers:?}");
    assert_eq!(explained.len(), 3);
}

#[test]
fn a_source_that_offers_no_store_is_named() {
    let (_sender, networks) = watch::channel(Arc::default());
    let references = [Reference { key: "via".to_owned(), id: "wire".to_owned() }];
    let built = Stores::default().of(&references, Clock::Wall, &networks);
    assert!(built.unwrap_err().to_string().contains("`wire`"));
    assert!(Stores::default().of(&[], Clock::Wall, &networks).unwrap().is_empty());
}
