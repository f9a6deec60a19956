//! What a consumer of Kafka sees of what the sink wrote.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use serde_json::{Value, json};
use tidegate::{codec::wire::Reader, record::Records};

use crate::harness::{
    Case, Outcome, Scene, delivery,
    kafka::{self, PASSWORD, USER},
    poll::SOON,
};

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_message_has_the_key_the_time_and_the_headers_of_its_record),
        Case::new(the_wire_form_comes_back_as_the_records_that_went),
        Case::new(tls_logins_and_certificates_are_taken),
    ]
}

fn a_message_has_the_key_the_time_and_the_headers_of_its_record(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let flows = delivery::flows(0..500);
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("seen-flow-{compression}");
        let keys = json!({"namespace": compression, "compression": compression});
        runtime.block_on(async {
            broker.create(&topic, 3, &[]).await?;
            let options = json!({"encoding": {"schema": "ecs"}});
            let template = "seen-{kind}-{namespace}";
            let sink = kafka::sink(scene, &broker.plain(), template, keys, options)?;
            sink.send_records(flows.clone()).await?;
            let balance = sink.finish(SOON).await?;
            assert_eq!((balance.delivered, balance.duplicated), (500, 0), "{balance:?}");
            Ok::<_, Failed>(())
        })?;
        let content = broker.read_of(&topic, 500_u64)?;
        assert_eq!(content.distinct(), (500, 0));
        let Records::Flows(sent) = &flows else { return Err("no flows".into()) };
        let by_id: BTreeMap<_, _> = sent.iter().map(|flow| (flow.id.to_string(), flow)).collect();
        let mut partitions = BTreeMap::new();
        for message in &content.messages {
            let flow = by_id[&message.headers["id"]];
            assert_eq!(message.key, Some(flow.community_id.to_string()));
            assert_eq!(message.millis, Some(flow.end.nanos() / 1_000_000));
            let document: Value = serde_json::from_slice(&message.payload)?;
            assert_eq!(document["network"]["community_id"], flow.community_id.to_string());
            let headers = ["content-type", "schema", "ecs.version", "kind", "observer", "sequence"];
            let values = headers.map(|name| message.headers[name].as_str());
            assert_eq!(values, ["application/json", "ecs", "9.4.0", "flow", "test", "0"]);
            *partitions.entry(message.partition).or_insert(0) += 1;
        }
        assert_eq!(partitions.len(), 3, "{partitions:?}");
    }
    Ok(())
}

fn the_wire_form_comes_back_as_the_records_that_went(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let flows = delivery::flows(0..1_000);
    runtime.block_on(async {
        broker.create("wire", 1, &[]).await?;
        let keys = json!({"compression": "zstd"});
        let options = json!({"encoding": {"codec": "wire"}, "request": {"concurrency": 1}});
        let sink = kafka::sink(scene, &broker.plain(), "wire", keys, options)?;
        sink.send_records(flows.clone()).await?;
        sink.finish(SOON).await.map(drop)
    })?;
    let mut reader = Reader::default();
    for message in broker.read_of("wire", 1_000_u64)?.messages {
        assert_eq!(message.headers["content-type"], "application/vnd.tidegate.wire");
        reader.read(&message.payload).map_err(|error| error.to_string())?;
    }
    let read = reader.take();
    assert_eq!(format!("{read:?}"), format!("{:?}", [("test", flows)]));
    Ok(())
}

fn tls_logins_and_certificates_are_taken(scene: &Scene) -> Outcome {
    let broker = kafka::broker()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(broker.create("secured", 1, &[]))?;
    let ca = scene.write("ca.pem", &broker.authority.pem);
    let [certificate, key] = broker.authority.client("tidegate");
    let cert = scene.write("client.pem", certificate);
    let key = scene.write("client.key", key);
    let scram = json!({"mechanism": "scram-sha-512", "user": USER, "password": PASSWORD});
    let plain = json!({"mechanism": "plain", "user": "flow", "password": "secret"});
    let ways = [
        (broker.tls(), json!({"tls": {"ca": ca}})),
        (broker.tls(), json!({"tls": {"verify": false}})),
        (broker.login(), json!({"tls": {"ca": ca}, "sasl": scram})),
        (broker.login(), json!({"tls": {"ca": ca}, "sasl": plain})),
        (broker.mutual(), json!({"tls": {"ca": ca, "cert": cert, "key": key}})),
    ];
    let mut sent = 0;
    for (at, (server, more)) in (0..).zip(ways) {
        let balance = runtime.block_on(async {
            let sink = kafka::sink(scene, &server, "secured", more, json!({}))?;
            sink.send_records(delivery::flows(at * 10..(at + 1) * 10)).await?;
            sink.finish(SOON).await
        })?;
        assert_eq!(balance.delivered, 10, "way {at}: {balance:?}");
        sent += 10;
    }
    assert_eq!(broker.read_of("secured", sent)?.distinct(), (sent, 0));
    Ok(())
}
