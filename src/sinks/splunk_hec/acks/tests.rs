//! What ends a request that waits, without anybody asked.

use super::*;
use crate::sinks::{
    http::{Authorization, BodyCompression, Connection, TlsConfig},
    secret::Secret,
};

fn acks(config: &Acknowledgements) -> Acks {
    let connection = Connection {
        authorization: Authorization::Splunk(&Secret::from("a-token")),
        tls: &TlsConfig::default(),
        secure: false,
        proxy: None,
        compression: BodyCompression::None,
        timeout: Duration::from_secs(1),
        cookies: true,
    };
    let ack = Url::parse("http://127.0.0.1:9/services/collector/ack").unwrap();
    let client = Arc::new(Client::new(&connection).unwrap());
    Acks::new(config, 4, ack, client, Meter::new("siem", "splunk_hec"))
}

fn errors(acks: &Acks) -> Vec<(&'static str, u64)> {
    acks.meter.balance().errors.into_iter().collect()
}

/// How a request has ended; `None` if it waits.
fn end(pending: &mut Option<Pending>) -> Option<bool> {
    use tokio::sync::oneshot::error::TryRecvError;
    match pending.as_mut().unwrap().0.try_recv() {
        Ok(confirmed) => Some(confirmed),
        Err(TryRecvError::Closed) => Some(false),
        Err(TryRecvError::Empty) => None,
    }
}

#[tokio::test]
async fn an_id_given_twice_ends_all_that_wait_on_its_channel() {
    let acks = acks(&Acknowledgements::default());
    let channel = acks.current();
    let mut pending = [0, 1, 0, 2].map(|id| acks.expect(&channel, AckId::Given(id)));
    assert_eq!(pending.each_mut().map(end), [Some(false); 4]);
    assert!(!Arc::ptr_eq(&channel, &acks.current()));
    assert_eq!(acks.questions().len(), 0);
    assert_eq!(errors(&acks), [("acknowledgement_ids_repeat", 2)]);
}

#[tokio::test]
async fn ids_repeat_on_another_channel() {
    let acks = acks(&Acknowledgements::default());
    let old = acks.current();
    acks.renew(&old);
    let mut pending = [old, acks.current()].map(|on| acks.expect(&on, AckId::Given(0)));
    assert_eq!(pending.each_mut().map(end), [None; 2]);
}

#[tokio::test]
async fn a_collector_that_counts_anew_is_noticed_however_long_it_has_counted() {
    for count in [1, 10, 10_000] {
        let acks = acks(&Acknowledgements::default());
        let channel = acks.current();
        let confirmed = |id| {
            let pending = acks.expect(&channel, AckId::Given(id));
            let all = json!({"acks": {id.to_string(): true}});
            acks.end_confirmed(&channel, &serde_json::from_value(all).unwrap());
            assert_eq!(end(&mut { pending }), Some(true), "{id} of {count}");
        };
        (0..count).for_each(confirmed);
        let mut waiting = acks.expect(&channel, AckId::Given(count));
        let mut anew = acks.expect(&channel, AckId::Given(0));
        assert_eq!((end(&mut waiting), end(&mut anew)), (Some(false), Some(false)), "{count}");
    }
}

#[tokio::test]
async fn an_answer_without_an_id_after_one_with_it_is_an_error_each_time() {
    let acks = acks(&Acknowledgements::default());
    let channel = acks.current();
    assert!(acks.expect(&channel, AckId::Absent).is_none());
    assert!(!acks.are_awaited());
    assert!(acks.expect(&channel, AckId::Given(0)).is_some());
    assert!(acks.are_awaited());
    assert!(acks.expect(&channel, AckId::Absent).is_none());
    assert!(acks.expect(&channel, AckId::Absent).is_none());
    assert_eq!(errors(&acks), [("acknowledgement_missing", 2)]);
}

#[tokio::test]
async fn an_id_nobody_can_read_is_none_and_an_error() {
    let acks = acks(&Acknowledgements::default());
    assert!(acks.expect(&acks.current(), AckId::Unreadable).is_none());
    assert_eq!(errors(&acks), [("acknowledgement_unreadable", 1)]);
}

#[tokio::test]
async fn an_id_nobody_wants_is_not_waited_for() {
    let acks = acks(&Acknowledgements { enabled: false, ..Acknowledgements::default() });
    assert!(acks.expect(&acks.current(), AckId::Given(0)).is_none());
    assert!(!acks.are_awaited());
}
